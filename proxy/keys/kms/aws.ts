import type { Kms, KmsAccess } from "./access.ts";
import { type AwsCredentials, signed } from "./aws-signature.ts";
import { ask, bytesIn, fieldOf, isSafe, KmsError, said } from "./kms-request.ts";

/** A key of AWS KMS (its JSON 1.1 protocol), by the ARN of a key or an alias, which names the region. */
export function awsKms(arn: string, access: KmsAccess): Kms | undefined {
  const [, partition, region = ""] = ARN.exec(arn) ?? [];
  const host = `kms.${region}.amazonaws.com${partition === "aws-cn" ? ".cn" : ""}`;
  const url = new URL(access.endpoint ?? `https://${host}`);
  if (partition === undefined || !isSafe(url)) return undefined;
  const call = async (action: "Encrypt" | "Decrypt", asked: object): Promise<unknown> => {
    const body = JSON.stringify({ KeyId: arn, ...asked });
    const { status, body: answer } = await ask({
      url: new URL("/", url),
      method: "POST",
      headers: signed(
        {
          method: "POST",
          host: url.host,
          headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `TrentService.${action}` },
          body,
        },
        { ...credentialsOf(access), region, service: "kms" },
        access.now(),
      ),
      body,
      ca: access.ca,
    });
    if (status === 200) return answer;
    const type = fieldOf(answer, "__type");
    const name = typeof type === "string" ? type.slice(type.lastIndexOf("#") + 1) : undefined;
    throw new KmsError(
      `AWS answers with status ${status}${said(name)}${said(fieldOf(answer, "message") ?? fieldOf(answer, "Message"))}`,
    );
  };
  return {
    async wrap(secret) {
      const made = fieldOf(await call("Encrypt", { Plaintext: secret.toString("base64") }), "CiphertextBlob");
      return bytesIn(made, "CiphertextBlob").toString("base64");
    },
    async unwrap(wrapped) {
      return bytesIn(fieldOf(await call("Decrypt", { CiphertextBlob: wrapped }), "Plaintext"), "Plaintext");
    },
  };
}

const ARN = /^arn:(aws(?:-[a-z-]+)?):kms:([a-z0-9-]+):\d{12}:(?:key\/[\w-]+|alias\/[\w/-]+)$/;

/** AWS's credentials file, its section "default" or that of AWS_PROFILE; without a file, the variables. */
function credentialsOf({ credentials, env }: KmsAccess): AwsCredentials {
  const from = credentials === undefined ? env : variablesIn(credentials, env.AWS_PROFILE ?? "default");
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: session } = from;
  if (!id || !secret)
    throw new KmsError(
      "there are no credentials for AWS: --kms-credentials-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  return { id, secret, ...(session && { session }) };
}

function variablesIn(text: string, profile: string): Readonly<Record<string, string | undefined>> {
  const found: Record<string, string> = {};
  let isOurs = true;
  for (const line of text.split("\n")) {
    const [, section] = /^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/.exec(line) ?? [];
    if (section !== undefined) isOurs = section === profile;
    const [, name = "", value = ""] = /^\s*(aws_[a-z_]+)\s*=\s*(\S+)\s*$/.exec(line) ?? [];
    if (isOurs && name !== "") found[name.toUpperCase()] = value;
  }
  return found;
}
