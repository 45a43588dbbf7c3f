import { userInfo } from "node:os";
import { parseArgs } from "node:util";
import { openFileLog } from "../audit/file-log.ts";
import { forget, readForgotten } from "../audit/forgotten.ts";
import type { AuditKeys } from "../audit/keys.ts";
import { hashesOf } from "../audit/subject-list.ts";
import { deriveKeys, loadSecret } from "../keys.ts";
import { createLog } from "../log.ts";
import { complain, isFolder, isWrong, readKeys, STANDARD, type Streams } from "./audit-arguments.ts";

const HELP = `usage: sluice audit forget ID [ID …] [FLAGS]

From now on "who-read" and "subject" find no event of these people, past or to come. That it was done, by whom
and for how many is on record; for whom is not. The log itself stays as it is, or its chain would break: with
the secret and a program of his own somebody could still find them, until the secret was changed, the old one
destroyed, and the retention is over.

  --table NAME       where the ids come from, as the policy's "subject" leads to (public.customers.id)
  --audit FOLDER     the audit log (audit/)
  --by NAME          who does it (your own name here)
  --key-file FILE    the fleet's secret (or SLUICE_KEY); several, if it changed: the one in use comes first
`;

/** `sluice audit forget`: 0 when they are forgotten. */
export async function auditForget(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  const fail = (problem: string, status: 1 | 2) => complain("audit forget", { problem, status }, streams);
  try {
    const { values, positionals: ids } = parseArgs({
      args: [...args],
      options: {
        table: { type: "string", default: "public.customers.id" },
        audit: { type: "string", default: "audit/" },
        by: { type: "string" },
        "key-file": { type: "string", multiple: true, default: [] },
      },
      allowPositionals: true,
    });
    if (ids.length === 0) return fail("give one id or several", 2);
    const keys = readKeys(values["key-file"], process.env);
    if (isWrong(keys)) return complain("audit forget", keys, streams);
    const [current] = keys;
    if (current === undefined) return fail("--key-file: missing; people stand in the log as hashes", 2);
    if (!(await isFolder(values.audit))) return fail(`--audit: "${values.audit}" is no folder`, 1);
    const hashes = [...hashesOf(ids, values.table, keys).keys()];
    // First the record: nobody is forgotten without one.
    await record(values.audit, values["key-file"][0], values.by ?? userInfo().username, ids.length);
    await forget(values.audit, current, hashes, Date.now());
    streams.output.write(`${ids.length} forgotten.\n`);
    return 0;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return fail(message, code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1);
  }
}

async function record(
  folder: string,
  keyFile: string | undefined,
  by: string,
  people: number,
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
  log.write({ kind: "people forgotten", time: Date.now(), by, people });
  await log.close();
  if (lost > 0) throw new Error("the audit log cannot be written");
}

/** Takes those out of a question who are forgotten, and says so. */
export async function withoutForgotten(
  folder: string,
  keys: readonly AuditKeys[],
  hashes: ReadonlyMap<string, number>,
  tell: (line: string) => void,
): Promise<ReadonlyMap<string, number>> {
  const trusted = new Map(keys.map(({ id, publicKey }) => [id, publicKey]));
  const { hashes: forgotten, strange } = await readForgotten(folder, trusted);
  if (strange > 0)
    tell(`${strange} lines of forgotten.jsonl bear no signature of these keys and hide nobody`);
  const gone = new Set([...hashes].filter(([hash]) => forgotten.has(hash)).map(([, person]) => person));
  if (gone.size > 0) tell(`${gone.size} of these people are forgotten and are not looked for`);
  return new Map([...hashes].filter(([, person]) => !gone.has(person)));
}
