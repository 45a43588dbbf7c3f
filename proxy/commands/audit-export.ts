import { hash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { AuditKeys } from "../audit/audit-keys.ts";
import type { BreachFigures } from "../audit/breach.ts";
import { collectEvidence, type Evidence } from "../audit/evidence/collect.ts";
import { WrongQuestion } from "../audit/question-words.ts";
import { verifyLog } from "../audit/verify-log.ts";
import { version } from "../version.ts";
import { ANCHOR_FLAGS, readKeptAnchors } from "./audit-anchors.ts";
import {
  LOG_FLAGS,
  LOG_HELP,
  type LogQuestion,
  readLogQuestion,
  recordQuestion,
  runQuestion,
} from "./audit-question.ts";
import { reportLine } from "./audit-verify.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit export --case FOLDER [FLAGS]

Writes the lines of a case to FOLDER/evidence, with the proof that they are in the log as they were written:
"node verify.mjs" there needs neither Sluice nor the secret. Earlier files are kept under the time when they were written.

  --case FOLDER      the case; without --user and --event the users of its breach.json ("sluice audit breach")
  --user NAME        all lines of this user, or about them; several for colluders
  --event ID         one line by its name, WRITER:NUMBER, as "sluice audit subject" prints it; several
  --anchors FILE     anchors that were kept elsewhere: JSON lines, or the operational log that has them. They prove the
                     lines as well, so that holders of anchors need to trust no key
  --redis URI        where the fleet's Redis keeps them
  --redis-ca FILE    the authorities (PEM) of a rediss:// address
${LOG_HELP}`;

const FLAGS = {
  case: { type: "string" },
  user: { type: "string", multiple: true, default: [] as string[] },
  event: { type: "string", multiple: true, default: [] as string[] },
  ...ANCHOR_FLAGS,
  ...LOG_FLAGS,
} as const;

/** `sluice audit export`: 0 when the evidence is written and the log is as it was written. */
export function auditExport(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "audit export", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const { values, positionals } = parseArgs({ args: [...args], options: FLAGS, allowPositionals: true });
  if (values.case === undefined) return misused("--case: missing; where does the evidence go?");
  for (const event of values.event)
    if (!/^[\w.-]+:\d+$/.test(event)) return misused(`--event: "${event}" is none; write WRITER:NUMBER`);
  const log = await readLogQuestion(values, positionals);
  if (isWrong(log)) return log;
  const kept = await readKeptAnchors(values);
  if (isWrong(kept)) return kept;
  const users = values.user.length > 0 || values.event.length > 0 ? values.user : await usersOf(values.case);
  if (isWrong(users)) return users;
  return exportCase(
    { log, users, events: values.event, folder: values.case, kept: kept?.anchors ?? [] },
    tell,
  );
}

interface Case {
  readonly log: LogQuestion;
  readonly users: readonly string[];
  readonly events: readonly string[];
  readonly folder: string;
  readonly kept: Parameters<typeof collectEvidence>[2];
}

async function exportCase(
  { log, users, events, folder, kept }: Case,
  tell: (line: string) => void,
): Promise<string | Wrong> {
  const [key] = log.keys;
  if (key === undefined) return misused("--key-file: missing");
  const trusted = new Map(log.keys.map(({ id, publicKey }) => [id, publicKey]));
  const wanted = { users: new Set(users), period: log.period, events: new Set(events) };
  const evidence = await collectEvidence(log.folder, wanted, kept, trusted);
  // Before it is on record: of a mistyped name the record would be a line.
  checkFound(evidence, events);
  for (const about of users.length > 0 ? users : [undefined])
    await recordQuestion(log, "export", about === undefined ? {} : { about });
  const reports = (await verifyLog(log.folder, trusted, kept)).filter(({ writer }) =>
    evidence.writers.has(writer),
  );
  const target = await emptyFolder(folder);
  const manifest = {
    ...{ made: Date.now(), by: log.by, sluice: version(), users, events },
    ...(log.period.since > 0 && { since: log.period.since }),
    ...(Number.isFinite(log.period.until) && { until: log.period.until }),
    lines: evidence.lines.length,
    unproved: evidence.unproved.map(({ lines, ...rest }) => ({ ...rest, lines: lines.length })),
    log: reports.map(reportLine),
  };
  await writeEvidence(target, evidence, manifest, key, log);
  for (const { writer, segment, lines, why } of manifest.unproved)
    tell(`${lines} lines of segment ${segment} of ${writer} are not proved: ${why}`);
  const wrong = reports.find(({ problem }) => problem !== undefined);
  if (wrong !== undefined)
    return { problem: `the evidence is in "${target}", but ${reportLine(wrong)}`, status: 1 };
  return `${manifest.lines} lines and their proofs are in "${target}"; "node ${join(target, "verify.mjs")}" verifies them.\n`;
}

function checkFound({ lines, unproved }: Evidence, events: readonly string[]): void {
  if (lines.length > 0 || unproved.length > 0) return;
  throw new WrongQuestion(
    events.length > 0
      ? `--event: this log has no ${events.join(", ")}`
      : "--user: no line of this log is of these users or about them",
  );
}

/** Whose case it is, as `sluice audit breach` has written down. */
async function usersOf(folder: string): Promise<readonly string[] | Wrong> {
  try {
    const { users } = JSON.parse(
      await readFile(join(folder, "breach.json"), "utf8"),
    ) as Partial<BreachFigures>;
    if (Array.isArray(users) && users.length > 0) return users;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" && !(error instanceof SyntaxError)) throw error;
  }
  return misused(`--user: missing, and "${folder}" has no breach.json that names users`);
}

/** The case's folder of evidence, empty; an earlier one stays beside it. */
async function emptyFolder(folder: string): Promise<string> {
  const target = join(folder, "evidence");
  await mkdir(target, { recursive: true, mode: 0o700 });
  if ((await readdir(target)).length === 0) return target;
  const text = await readFile(join(target, "manifest.json"), "utf8").catch(() => "{}");
  const { made } = JSON.parse(text) as { readonly made?: number };
  if (made === undefined)
    throw new WrongQuestion(`--case: "${target}" holds something else; name a new folder`);
  const stamp = new Date(made).toISOString().replaceAll(/[-:]/g, "");
  await rename(target, join(folder, `evidence-${stamp}`));
  await mkdir(target, { mode: 0o700 });
  return target;
}

async function writeEvidence(
  target: string,
  { lines, proofs, anchors, unproved }: Evidence,
  manifest: Readonly<Record<string, unknown>>,
  key: AuditKeys,
  { keys }: LogQuestion,
): Promise<void> {
  const jsonLines = (values: readonly unknown[]) =>
    values.map((value) => `${JSON.stringify(value)}\n`).join("");
  const files: [string, string | Buffer][] = [
    ["lines.jsonl", withFeeds(lines)],
    ["proofs.jsonl", jsonLines(proofs)],
    ["anchors.jsonl", jsonLines(anchors)],
    ["verify.mjs", await readFile(join(import.meta.dirname, "../audit/evidence/verify.mjs"))],
    ...keys.map(({ id, publicKey }): [string, string | Buffer] => [
      `audit-key-${id}.pem`,
      publicKey.export({ format: "pem", type: "spki" }),
    ]),
  ];
  if (unproved.length > 0) files.push(["unproved.jsonl", withFeeds(unproved.flatMap((one) => one.lines))]);
  const digests = Object.fromEntries(files.map(([name, content]) => [name, hash("sha256", content)]));
  const text = `${JSON.stringify({ ...manifest, files: digests }, null, 2)}\n`;
  const signature = Buffer.from(key.sign(`sluice audit evidence 1\n${text}`), "base64url").toString("hex");
  files.push(["manifest.json", text], ["manifest.sig", `${key.id} ${signature}\n`]);
  for (const [name, content] of files) await writeFile(join(target, name), content, { mode: 0o600 });
}

function withFeeds(lines: readonly Buffer[]): Buffer {
  return Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]));
}
