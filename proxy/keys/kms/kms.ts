import { randomBytes } from "node:crypto";
import type { LoadedTokenKeys, TokenRing } from "../token-keys.ts";
import type { Kms, KmsAccess } from "./access.ts";
import { awsKms } from "./aws.ts";
import { gcpKms } from "./gcp.ts";
import { KmsError } from "./kms-request.ts";
import { vaultKms } from "./vault.ts";

const SHORTEST = 32;

const PROVIDERS: Readonly<Record<string, (name: string, access: KmsAccess) => Kms | undefined>> = {
  vault: vaultKms,
  aws: awsKms,
  gcp: gcpKms,
};

export const KMS_FORMS =
  "vault:https://HOST:PORT/MOUNT/KEY, aws:ARN (of a key or an alias) or gcp:projects/…/cryptoKeys/KEY";

/** Throws a KmsError for what is no key of a known service; it does not repeat the name, which may hold a password. */
export function kmsNamed(name: string, access: KmsAccess): Kms {
  const [, provider = "", rest = ""] = /^([a-z]+):(.+)$/.exec(name) ?? [];
  const kms = Object.hasOwn(PROVIDERS, provider) ? PROVIDERS[provider]?.(rest, access) : undefined;
  if (kms === undefined) throw new KmsError(`this names no key of a KMS: write ${KMS_FORMS}`);
  return kms;
}

/** A new key that only the KMS can unwrap; or this one, wrapped. */
export async function wrappedKey(kms: Kms, secret = randomBytes(SHORTEST)): Promise<string> {
  const wrapped = await kms.wrap(secret);
  // What cannot be unwrapped would be known as lost only after values were sealed under it.
  if (!secret.equals(await kms.unwrap(wrapped)))
    throw new KmsError("the KMS does not unwrap to what was wrapped");
  return wrapped;
}

/** Has the KMS unwrap what it has wrapped. All keys of the ring, or none: a value could be sealed under each. */
export async function unwrapRing(
  { active, keys, retired }: TokenRing,
  access: KmsAccess,
): Promise<LoadedTokenKeys> {
  const secrets = new Map<number, Buffer>();
  for (const [version, key] of keys) {
    if (Buffer.isBuffer(key)) {
      secrets.set(version, key);
      continue;
    }
    try {
      const secret = await kmsNamed(key.kms, access).unwrap(key.wrapped);
      if (secret.length < SHORTEST)
        throw new KmsError(`it has ${secret.length} bytes, at least ${SHORTEST} are needed`);
      secrets.set(version, secret);
    } catch (error) {
      // Other errors could quote an answer, and with it the key.
      const why = error instanceof KmsError ? error.message : "the KMS could not be asked";
      return { ok: false, problem: `the key of version ${version} cannot be unwrapped: ${why}` };
    }
  }
  return { ok: true, keys: { active, secrets, retired } };
}
