import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type AuditKeys, auditKeys } from "../audit/audit-keys.ts";
import type { Period } from "../audit/readings.ts";
import { listSegments } from "../audit/segments.ts";
import { timeOf } from "../audit/time-text.ts";
import { deriveKeys, loadSecret } from "../keys/secret.ts";
import { misused, type Wrong } from "./streams.ts";

/**
 * Keys from the files that `--key-file` names, or from `SLUICE_KEY`. Several, because the secret may have been
 * changed while the log grew.
 */
export function readKeys(
  files: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): readonly AuditKeys[] | Wrong {
  const sources = files.length > 0 ? files : [env.SLUICE_KEY_FILE];
  const keys: AuditKeys[] = [];
  for (const keyFile of sources) {
    const loaded = loadSecret({ keyFile, env: env.SLUICE_KEY });
    if (!loaded.ok) return { problem: loaded.problem, status: 1 };
    if (loaded.secret !== undefined) keys.push(auditKeys(deriveKeys(loaded.secret).audit));
  }
  return keys;
}

/** `--since` and `--until`: a day (UTC; the day of `until` is in it) or a time of ISO 8601. */
export function readPeriod(since: string | undefined, until: string | undefined): Period | Wrong {
  const from = since === undefined ? 0 : timeOf(since)?.start;
  const to = until === undefined ? Number.POSITIVE_INFINITY : timeOf(until)?.end;
  if (from === undefined)
    return misused(`--since: "${since}" is no time; write 2026-05-01 or 2026-05-01T08:00Z`);
  if (to === undefined)
    return misused(`--until: "${until}" is no time; write 2026-05-31 or 2026-05-31T18:00Z`);
  if (from >= to) return misused("--since is not before --until");
  return { since: from, until: to };
}

/** A folder, named once, by itself or by --audit; the problem with what was given in its place. */
export async function readFolder(given: readonly string[], byDefault?: string): Promise<string | Wrong> {
  const [folder = byDefault, ...others] = given;
  if (folder === undefined) return misused("name one folder");
  if (others.length > 0)
    return misused("--audit: more than one folder; a question is put to one, so ask each by itself");
  return (await isFolder(folder)) ? folder : { problem: `--audit: "${folder}" is no folder`, status: 1 };
}

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

/** The same of a folder that has to hold a log. */
export async function readLogFolder(given: readonly string[]): Promise<string | Wrong> {
  const folder = await readFolder(given, "audit/");
  if (typeof folder !== "string") return folder;
  if ((await listSegments(folder)).length > 0) return folder;
  const inner: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory() && (await listSegments(join(folder, entry.name))).length > 0)
      inner.push(entry.name);
  const hint = inner.length === 0 ? "" : `; ${inner.slice(0, 5).join(", ")} in it do: ask each by itself`;
  return { problem: `--audit: "${folder}" holds no audit log${hint}`, status: 1 };
}
