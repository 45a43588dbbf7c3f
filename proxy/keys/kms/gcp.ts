import type { Kms, KmsAccess } from "./access.ts";
import { ask, bytesIn, fieldOf, isSafe, KmsError, said } from "./kms-request.ts";

/** A key of Cloud KMS (REST v1), by its resource name. */
export function gcpKms(name: string, access: KmsAccess): Kms | undefined {
  if (!NAME.test(name)) return undefined;
  const url = endpointOf(access.endpoint);
  if (url === undefined) return undefined;
  const call = async (action: "encrypt" | "decrypt", body: object): Promise<unknown> => {
    const { status, body: answer } = await ask({
      url: new URL(`/v1/${name}:${action}`, url),
      method: "POST",
      headers: { authorization: `Bearer ${await tokenOf(access)}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      ca: access.ca,
    });
    if (status === 200) return answer;
    throw new KmsError(`GCP answers with status ${status}${said(fieldOf(answer, "error", "message"))}`);
  };
  return {
    async wrap(secret) {
      const made = fieldOf(await call("encrypt", { plaintext: secret.toString("base64") }), "ciphertext");
      return bytesIn(made, "ciphertext").toString("base64");
    },
    async unwrap(wrapped) {
      return bytesIn(fieldOf(await call("decrypt", { ciphertext: wrapped }), "plaintext"), "plaintext");
    },
  };
}

const NAME = /^projects\/[\w.:-]+\/locations\/[\w-]+\/keyRings\/[\w-]+\/cryptoKeys\/[\w-]+$/;

function endpointOf(given: string | undefined): URL | undefined {
  const url = new URL(given ?? "https://cloudkms.googleapis.com");
  return isSafe(url) ? url : undefined;
}

/** From the file of credentials; on a machine of GCP's, that of its service account. */
async function tokenOf({ credentials, env }: KmsAccess): Promise<string> {
  if (credentials !== undefined) return credentials;
  const host = env.GCE_METADATA_HOST ?? "metadata.google.internal";
  // The metadata server is a part of the machine, and has no TLS.
  const url = new URL(`http://${host}/computeMetadata/v1/instance/service-accounts/default/token`);
  const { status, body } = await ask({ url, method: "GET", headers: { "metadata-flavor": "Google" } });
  const token = fieldOf(body, "access_token");
  if (status === 200 && typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new KmsError(
    `the metadata server gives no token (status ${status}): --kms-credentials-file names one`,
  );
}
