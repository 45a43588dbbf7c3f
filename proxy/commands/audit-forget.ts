import { parseArgs } from "node:util";
import { forget, readForgotten } from "../audit/forgotten.ts";
import type { AuditKeys } from "../audit/keys.ts";
import { hashesOf } from "../audit/subject-list.ts";
import { complain, isFolder, isWrong, readKeys, STANDARD, type Streams } from "./audit-arguments.ts";
import { operator, putOnRecord } from "./audit-record.ts";

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
    const by = values.by ?? operator();
    await putOnRecord(values.audit, values["key-file"][0], {
      ...{ kind: "people forgotten", time: Date.now(), by, people: ids.length },
    });
    await forget(values.audit, current, hashes, Date.now());
    streams.output.write(`${ids.length} forgotten.\n`);
    return 0;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return fail(message, code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1);
  }
}

/** The hashes of people who are forgotten: no question finds them. Says so of lines that nobody has signed. */
export async function forgottenHashes(
  folder: string,
  keys: readonly AuditKeys[],
  tell: (line: string) => void,
): Promise<ReadonlySet<string>> {
  const trusted = new Map(keys.map(({ id, publicKey }) => [id, publicKey]));
  const { hashes, strange } = await readForgotten(folder, trusted);
  if (strange > 0)
    tell(`${strange} lines of forgotten.jsonl bear no signature of these keys and hide nobody`);
  return hashes;
}
