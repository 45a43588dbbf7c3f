import type { Kms, KmsAccess } from "./access.ts";
import { ask, bytesIn, fieldOf, isSafe, KmsError, said } from "./kms-request.ts";

/**
 * A key of Vault's transit engine (Vault's HTTP API, "Transit Secrets Engine"; OpenBao has the same):
 * `https://vault.internal:8200/transit/sluice?namespace=team`. The last part of the path is the key, those before it
 * the mount.
 */
export function vaultKms(name: string, { credentials, env, ca }: KmsAccess): Kms | undefined {
  const place = placeOf(name);
  if (place === undefined) return undefined;
  const { origin, mount, key, namespace } = place;
  const call = async (action: "encrypt" | "decrypt", body: object): Promise<unknown> => {
    const token = credentials ?? env.VAULT_TOKEN;
    if (!token) throw new KmsError("there is no token for Vault: --kms-credentials-file, or VAULT_TOKEN");
    const { status, body: answer } = await ask({
      url: new URL(`${origin}/v1/${mount}/${action}/${key}`),
      method: "POST",
      headers: {
        "x-vault-token": token,
        "x-vault-request": "true",
        "content-type": "application/json",
        ...(namespace !== undefined && { "x-vault-namespace": namespace }),
      },
      body: JSON.stringify(body),
      ca,
    });
    if (status === 200) return fieldOf(answer, "data");
    const errors = fieldOf(answer, "errors");
    throw new KmsError(
      `Vault answers with status ${status}${said(Array.isArray(errors) ? errors[0] : undefined)}`,
    );
  };
  return {
    async wrap(secret) {
      const made = fieldOf(await call("encrypt", { plaintext: secret.toString("base64") }), "ciphertext");
      // A ring has words between blanks.
      if (typeof made !== "string" || !/^vault:v\d+:[A-Za-z0-9+/=]+$/.test(made))
        throw new KmsError("Vault's answer has no ciphertext");
      return made;
    },
    async unwrap(wrapped) {
      return bytesIn(fieldOf(await call("decrypt", { ciphertext: wrapped }), "plaintext"), "plaintext");
    },
  };
}

const PART = /^[\w.-]{1,128}$/;

function placeOf(name: string) {
  if (!URL.canParse(name)) return undefined;
  const url = new URL(name);
  const parts = url.pathname.split("/").slice(1);
  const [key, ...mount] = parts.toReversed();
  const isPath = parts.length >= 2 && parts.every((part) => PART.test(part));
  const namespace = url.searchParams.get("namespace") ?? undefined;
  const hasOthers = [...url.searchParams.keys()].some((each) => each !== "namespace") || url.hash !== "";
  const isNamespace = namespace === undefined || namespace.split("/").every((part) => PART.test(part));
  if (!isSafe(url) || !isPath || hasOthers || !isNamespace) return undefined;
  return { origin: url.origin, mount: mount.toReversed().join("/"), key, namespace };
}
