import { kmsAccess } from "../app/kms-access.ts";
import type { KmsAccess } from "../keys/kms/access.ts";
import { unwrapRing } from "../keys/kms/kms.ts";
import { readSecretText } from "../keys/secret-file.ts";
import { parseTokenRing, type TokenKeys, type TokenRing } from "../keys/token-keys.ts";
import { isWrong, type Wrong } from "./streams.ts";

/** The options of commands that read a key ring, for `parseArgs`. */
export const KEY_OPTIONS = {
  "token-keys-file": { type: "string" },
  "kms-credentials-file": { type: "string" },
  "kms-ca": { type: "string" },
  "kms-endpoint": { type: "string" },
} as const;

export type KeyOptions = { readonly [Name in keyof typeof KEY_OPTIONS]?: string | undefined };

export const KMS_USAGE = `  --token-keys-file FILE       the key ring (or SLUICE_TOKEN_KEYS)
  --kms-credentials-file FILE  for keys that a KMS has wrapped: a token of Vault or GCP, or AWS's credentials file (or
                               SLUICE_KMS_CREDENTIALS); without it VAULT_TOKEN, AWS_ACCESS_KEY_ID and its like, or GCP's
                               metadata server
  --kms-ca FILE                authorities (PEM) of the KMS's certificate (or SLUICE_KMS_CA)
  --kms-endpoint URL           the address of AWS KMS or GCP KMS (or SLUICE_KMS_ENDPOINT)
`;

/** As `serve` has it by its settings. */
export function accessBy(options: KeyOptions, env: NodeJS.ProcessEnv): KmsAccess | Wrong {
  const file = options["kms-credentials-file"] ?? env.SLUICE_KMS_CREDENTIALS_FILE;
  const read = file === undefined ? undefined : readSecretText(file);
  if (read?.ok === false) return { problem: read.problem, status: 1 };
  try {
    return kmsAccess(
      {
        kmsCredentials: read?.text.trim() ?? env.SLUICE_KMS_CREDENTIALS,
        kmsCa: options["kms-ca"] ?? env.SLUICE_KMS_CA,
        kmsEndpoint: options["kms-endpoint"] ?? env.SLUICE_KMS_ENDPOINT,
      },
      env,
    );
  } catch (error) {
    return { problem: error instanceof Error ? error.message : "--kms-ca cannot be read", status: 1 };
  }
}

/** The ring of the options or the environment, as it is written. */
export function ringBy(options: KeyOptions, env: NodeJS.ProcessEnv): TokenRing | Wrong {
  const file = options["token-keys-file"] ?? env.SLUICE_TOKEN_KEYS_FILE;
  if (file === undefined && !env.SLUICE_TOKEN_KEYS)
    return { problem: "the key ring is missing: --token-keys-file FILE, or SLUICE_TOKEN_KEYS", status: 1 };
  const text =
    file === undefined ? ({ ok: true, text: env.SLUICE_TOKEN_KEYS ?? "" } as const) : readSecretText(file);
  if (!text.ok) return { problem: text.problem, status: 1 };
  const read = parseTokenRing(text.text);
  return read.ok ? read.ring : { problem: `${file ?? "SLUICE_TOKEN_KEYS"}: ${read.problem}`, status: 1 };
}

/** Its keys, as the KMS unwraps them. */
export async function keysBy(options: KeyOptions, env: NodeJS.ProcessEnv): Promise<TokenKeys | Wrong> {
  const ring = ringBy(options, env);
  if (isWrong(ring)) return ring;
  const access = accessBy(options, env);
  if (isWrong(access)) return access;
  const unwrapped = await unwrapRing(ring, access);
  return unwrapped.ok ? unwrapped.keys : { problem: unwrapped.problem, status: 1 };
}
