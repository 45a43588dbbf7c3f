import { userInfo } from "node:os";
import type { AuditEvent } from "../audit/event.ts";
import { openFileLog } from "../audit/file-log.ts";
import { deriveKeys, loadSecret } from "../keys/secret.ts";
import { createLog } from "../log.ts";

/** Puts what a command does on record in a log of files; throws when it is not on disk afterwards. */
export async function putOnRecord(
  folder: string,
  keyFile: string | undefined,
  event: AuditEvent,
): Promise<void> {
  const loaded = loadSecret({ keyFile: keyFile ?? process.env.SLUICE_KEY_FILE, env: process.env.SLUICE_KEY });
  if (!loaded.ok || loaded.secret === undefined) throw new Error("the secret cannot be read");
  let lost = 0;
  const log = await openFileLog({
    folder,
    key: deriveKeys(loaded.secret).audit,
    log: createLog({ level: "silent" }),
    onLost: (events) => {
      lost += events;
    },
  });
  log.write(event);
  await log.close();
  if (lost > 0) throw new Error("the audit log cannot be written");
}

/** Who runs the command, so far as the system knows. */
export function operator(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "unknown"}`;
  }
}
