import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import type { AuditKeys } from "../audit/audit-keys.ts";
import { type Hold, liftHold, placeHold, readHolds } from "../audit/holds.ts";
import { readKeys, readLogFolder, readPeriod } from "./audit-arguments.ts";
import { operator, putOnRecord } from "./audit-record.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";
import { minute, printable, table } from "./text-table.ts";

const HELP = `usage: sluice audit hold                                  lists what is on hold
       sluice audit hold --why TEXT [--since T] [--until T]  places a hold
       sluice audit hold --lift ID --why TEXT                lifts one

While a hold is in force, retention drops no segment of its time (and none after it), and "audit forget" forgets no
person named in lines of its time. Placing and lifting a hold are events of the log.

  --why TEXT         for which case
  --since, --until   a day or a time: 2026-05-01, 2026-05-01T08:00Z; all of the log, and future events, if left out
  --lift ID          the hold, as the list names it
  --audit FOLDER     the audit log (audit/)
  --by NAME          who does it (your own name by default)
  --key-file FILE    the fleet's secret (or SLUICE_KEY); several, if it changed: the one in use comes first
  --json             the list for programs
`;

const FLAGS = {
  why: { type: "string" },
  since: { type: "string" },
  until: { type: "string" },
  lift: { type: "string" },
  audit: { type: "string", multiple: true, default: [] as string[] },
  by: { type: "string" },
  "key-file": { type: "string", multiple: true, default: [] as string[] },
  json: { type: "boolean", default: false },
} as const;

/** `sluice audit hold`: 0 when it is placed, lifted or listed. */
export async function auditHold(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  try {
    const said = await answer(args, (line) => streams.errors.write(`sluice audit hold: ${line}\n`));
    if (isWrong(said)) return complain("audit hold", said, streams);
    streams.output.write(said);
    return 0;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const status = code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1;
    return complain("audit hold", { problem: message, status }, streams);
  }
}

/** Somebody's order about holds. */
interface Order {
  readonly folder: string;
  readonly key: AuditKeys;
  readonly keyFile: string | undefined;
  readonly by: string;
  readonly why: string;
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const { values } = parseArgs({ args: [...args], options: FLAGS });
  const { why, lift, since, until } = values;
  const keys = readKeys(values["key-file"], process.env);
  if (isWrong(keys)) return keys;
  const [key] = keys;
  if (key === undefined)
    return misused("--key-file: missing (or SLUICE_KEY); a hold is signed with the fleet's key");
  const period = readPeriod(since, until);
  if (isWrong(period)) return period;
  const folder = await readLogFolder(values.audit);
  if (isWrong(folder)) return folder;
  const trusted = new Map(keys.map(({ id, publicKey }) => [id, publicKey]));
  const { inForce, strange } = await readHolds(folder, trusted);
  if (strange > 0)
    tell(
      `${strange} lines of holds.jsonl cannot be read or bear no signature of these keys: they lift nothing`,
    );
  if (why === undefined) {
    if (lift !== undefined || since !== undefined || until !== undefined)
      return misused("--why: missing; for which case?");
    return values.json ? `${JSON.stringify(inForce, null, 2)}\n` : listText(inForce);
  }
  if (why.trim() === "") return misused("--why: empty; for which case?");
  const order = { folder, key, keyFile: values["key-file"][0], by: values.by ?? operator(), why };
  if (lift === undefined) return place(order, period);
  if (since !== undefined || until !== undefined) return misused("--lift: lifts a hold whole");
  const held = inForce.find(({ id }) => id === lift);
  return held === undefined
    ? { problem: `--lift: no hold "${lift}" is in force; "sluice audit hold" lists them`, status: 1 }
    : liftOne(order, held);
}

/** First the hold, then its record: between the two nothing is dropped. */
async function place({ folder, key, keyFile, by, why }: Order, period: Hold["period"]): Promise<string> {
  const hold: Hold = { id: randomBytes(4).toString("hex"), time: Date.now(), by, why, period };
  await placeHold(folder, key, hold);
  await putOnRecord(folder, keyFile, {
    kind: "hold placed",
    time: hold.time,
    by,
    why,
    id: hold.id,
    ...bounds(hold),
  });
  return `Hold ${hold.id} is in force: ${timesOf(hold)}.\n`;
}

/** First the record: nothing is let go without one. */
async function liftOne({ folder, key, keyFile, by, why }: Order, hold: Hold): Promise<string> {
  const { id } = hold;
  const time = Date.now();
  await putOnRecord(folder, keyFile, { kind: "hold lifted", time, by, why, id, ...bounds(hold) });
  await liftHold(folder, key, { id, time, by, why });
  return `Hold ${id} is lifted.\n`;
}

function bounds({ period }: Hold): { readonly since?: number; readonly until?: number } {
  const { since, until } = period;
  return { ...(since > 0 && { since }), ...(Number.isFinite(until) && { until }) };
}

function listText(holds: readonly Hold[]): string {
  if (holds.length === 0) return "Nothing is on hold.\n";
  const rows = holds.map((hold) => [
    hold.id,
    timesOf(hold),
    minute(hold.time),
    printable(hold.by),
    printable(hold.why),
  ]);
  return table([["hold", "of the log", "since", "by", "why"], ...rows]);
}

function timesOf({ period: { since, until } }: Hold): string {
  const from = since > 0 ? `from ${minute(since)}` : "from its beginning";
  return `${from} ${Number.isFinite(until) ? `to ${minute(until)}` : "on"}`;
}
