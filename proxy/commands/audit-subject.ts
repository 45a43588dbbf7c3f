import { parseArgs } from "node:util";
import { hashesOf } from "../audit/subject-list.ts";
import { readingsOf } from "../audit/who-read.ts";
import {
  complain,
  isFolder,
  isWrong,
  misused,
  readKeys,
  readPeriod,
  STANDARD,
  type Streams,
} from "./audit-arguments.ts";
import { withoutForgotten } from "./audit-forget.ts";
import { eventsText } from "./audit-who-read.ts";

const HELP = `usage: sluice audit subject ID [FLAGS]

Says who read one person: every event, in the order of time.

  --table NAME       where the id comes from, as the policy's "subject" leads to (public.customers.id)
  --audit FOLDER     the audit log (audit/)
  --since, --until   a day or a time: 2026-05-01, 2026-05-01T08:00Z
  --user NAME        only what this user read
  --key-file FILE    the fleet's secret (or SLUICE_KEY); several, if it changed
  --json             for programs
`;

/** `sluice audit subject`: 0 when it could say, whatever it said. */
export async function auditSubject(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  const fail = (problem: string, status: 1 | 2) => complain("audit subject", { problem, status }, streams);
  try {
    const { values, positionals } = readArguments(args);
    const [id, ...rest] = positionals;
    if (id === undefined || rest.length > 0) return fail("give one id", 2);
    const period = readPeriod(values.since, values.until);
    if (isWrong(period)) return complain("audit subject", period, streams);
    const keys = readKeys(values["key-file"], process.env);
    if (isWrong(keys)) return complain("audit subject", keys, streams);
    if (keys.length === 0) {
      return complain(
        "audit subject",
        misused("--key-file: missing; people stand in the log as hashes"),
        streams,
      );
    }
    if (!(await isFolder(values.audit))) return fail(`--audit: "${values.audit}" is no folder`, 1);
    const asked = hashesOf([id], values.table, keys);
    const tell = (line: string) => streams.errors.write(`sluice audit subject: ${line}\n`);
    const people = new Set((await withoutForgotten(values.audit, keys, asked, tell)).keys());
    const events = await readingsOf(values.audit, period, people, values.user);
    streams.output.write(values.json ? `${JSON.stringify(events, null, 2)}\n` : eventsText(events));
    return 0;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return fail(message, code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1);
  }
}

function readArguments(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      table: { type: "string", default: "public.customers.id" },
      audit: { type: "string", default: "audit/" },
      since: { type: "string" },
      until: { type: "string" },
      user: { type: "string" },
      "key-file": { type: "string", multiple: true, default: [] },
      json: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
}
