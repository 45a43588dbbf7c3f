import { parseArgs } from "node:util";
import type { AuditKeys } from "../audit/audit-keys.ts";
import { forget } from "../audit/forgotten.ts";
import { type Hold, readHolds } from "../audit/holds.ts";
import { listSegments, mayHold, readSegments } from "../audit/segments.ts";
import { hashesOf, kindOfValues } from "../audit/subject-list.ts";
import { isFolder, readKeys } from "./audit-arguments.ts";
import { operator, putOnRecord } from "./audit-record.ts";
import { complain, isWrong, STANDARD, type Streams } from "./streams.ts";
import { printable } from "./text-table.ts";

const HELP = `usage: sluice audit forget ID [ID …] [FLAGS]

From now on "who-read" and "subject" find no event of these people, past or future. The log records that this was
done, by whom and for how many people, but not for which. The log itself does not change, or its chain would break:
with the secret and their own program someone could still find these people, until the secret is changed, the old
one destroyed, and the retention time over. People under a hold ("sluice audit hold") cannot be forgotten.

  --table NAME       where the ids come from, as the policy's "subject" leads to (public.customers.id)
  --audit FOLDER     the audit log (audit/)
  --by NAME          who does it (your own name by default)
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
    if (current === undefined) return fail("--key-file: missing; the log has people as hashes", 2);
    if (!(await isFolder(values.audit))) return fail(`--audit: "${values.audit}" is no folder`, 1);
    const kind = kindOfValues(ids);
    if (kind !== undefined) return fail(`these are ${kind}, not ids of ${values.table}`, 2);
    if (!(await knowsPeopleOf(values.audit, values.table)))
      return fail(`--table: this log knows no people of "${values.table}"`, 2);
    const hashes = [...hashesOf(ids, values.table, keys).keys()];
    const hold = await holdOn(values.audit, keys, hashes);
    if (hold !== undefined)
      return fail(
        `hold ${hold.id} (${printable(hold.why)}) is on lines that speak of these people; forget them when it is lifted`,
        1,
      );
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

/** Whether the log names people there; of one that does not say where, it is taken for granted. */
async function knowsPeopleOf(folder: string, namespace: string): Promise<boolean> {
  let says = false;
  for await (const { content } of readSegments(await listSegments(folder))) {
    if (content instanceof Error) continue;
    if (content.includes(JSON.stringify(namespace))) return true;
    says ||= content.includes('"people_of":[') || content.includes('"namespaces":[');
  }
  return !says;
}

/** The hold that keeps lines about any of these people (GDPR Art. 17(3)(e)). */
async function holdOn(
  folder: string,
  keys: readonly AuditKeys[],
  hashes: readonly string[],
): Promise<Hold | undefined> {
  const { inForce } = await readHolds(folder, new Map(keys.map(({ id, publicKey }) => [id, publicKey])));
  if (inForce.length === 0) return undefined;
  for await (const { file, content } of readSegments(await listSegments(folder))) {
    const hold = inForce.find(({ period }) => mayHold(file, period));
    // In what cannot be read they may stand as well.
    if (hold !== undefined && (content instanceof Error || hashes.some((hash) => content.includes(hash))))
      return hold;
  }
  return undefined;
}
