import type { KmsAccess } from "../keys/kms/access.ts";
import type { Settings } from "../settings/settings.ts";
import { readAuthorities } from "../wire/tls.ts";

type KmsSettings = Pick<Settings, "kmsCredentials" | "kmsCa" | "kmsEndpoint">;

/** How the settings, and the variables that every client of the service knows, reach the KMS. Throws for a bad file. */
export function kmsAccess(
  { kmsCredentials, kmsCa, kmsEndpoint }: KmsSettings,
  env: NodeJS.ProcessEnv,
): KmsAccess {
  return {
    credentials: kmsCredentials,
    ca: kmsCa === undefined ? undefined : readAuthorities(kmsCa, "--kms-ca"),
    endpoint: kmsEndpoint,
    env,
    now: Date.now,
  };
}
