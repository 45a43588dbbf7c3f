import { createPublicKey, type KeyObject } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Anchor } from "../audit/anchor.ts";
import { keyId } from "../audit/audit-keys.ts";
import type { WriterReport } from "../audit/chain-check.ts";
import { verifyLog } from "../audit/verify-log.ts";
import { ANCHOR_FLAGS, readKeptAnchors } from "./audit-anchors.ts";
import { readFolder, readKeys } from "./audit-arguments.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit verify FOLDER [FLAGS]

Checks the audit log of a folder, compressed segments too, and names the first event of each writer that was
changed, removed, inserted, moved or cut off. The exit status is 0 when nothing is wrong, else 1.

  --audit FOLDER      another way to name the folder
  --anchors FILE      anchors, the ends of the chains as they were sent elsewhere: JSON lines, or the operational
                      log that has them; only they show that the newest events were removed
  --redis URI         where the fleet's Redis keeps them
  --redis-ca FILE     the authorities (PEM) of a rediss:// address
  --public-key FILE   a key (PEM) that may have signed; may be given several times
  --key-file FILE     the fleet's secret (or SLUICE_KEY), from which the key is made; may be given several times

Without a key, the keys in the folder are trusted: then anyone who can write to the folder can sign as well.
`;

interface VerifyArguments {
  readonly folder: string;
  readonly anchors: readonly Anchor[];
  readonly trusted: ReadonlyMap<string, KeyObject>;
  readonly warnings: readonly string[];
}

/** `sluice audit verify`: 0 when the log is as it was written. */
export async function auditVerify(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  const question = await readQuestion(args);
  if (isWrong(question)) return complain("audit verify", question, streams);
  for (const warning of question.warnings) streams.errors.write(`sluice audit verify: ${warning}\n`);
  const reports = await verifyLog(question.folder, question.trusted, question.anchors);
  if (reports.length === 0) {
    return complain(
      "audit verify",
      { problem: `"${question.folder}" holds no audit log`, status: 1 },
      streams,
    );
  }
  for (const report of reports) streams.output.write(`${reportLine(report)}\n`);
  return reports.some(({ problem }) => problem !== undefined) ? 1 : 0;
}

/** What was found out about a writer, as a line to read. */
export function reportLine(report: WriterReport): string {
  const { writer, problem, lines, segments, open, anchors } = report;
  if (problem !== undefined) return `${writer}: WRONG: ${problem}`;
  const state = open ? "the last one is not closed yet" : "all closed and signed";
  return `${writer}: ok: ${lines} lines in ${segments} segments, ${state}; ${anchors} anchors agree`;
}

async function readQuestion(args: readonly string[]): Promise<VerifyArguments | Wrong> {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        audit: { type: "string", multiple: true, default: [] as string[] },
        ...ANCHOR_FLAGS,
        "public-key": { type: "string", multiple: true, default: [] },
        "key-file": { type: "string", multiple: true, default: [] },
      },
      allowPositionals: true,
    });
    const folder = await readFolder([...positionals, ...values.audit]);
    if (isWrong(folder)) return folder;
    const keys = readKeys(values["key-file"], process.env);
    if (isWrong(keys)) return keys;
    const trusted = new Map(keys.map(({ id, publicKey }) => [id, publicKey]));
    for (const file of values["public-key"]) trust(trusted, await readFile(file));
    const warnings: string[] = [];
    if (trusted.size === 0) {
      warnings.push("no key was given; those in the folder are trusted (--key-file, --public-key)");
      for (const name of await readdir(folder)) {
        if (/^audit-key-[0-9a-f]{16}\.pem$/.test(name)) trust(trusted, await readFile(join(folder, name)));
      }
    }
    const read = await readKeptAnchors(values);
    if (isWrong(read)) return read;
    if (read === undefined)
      warnings.push("no anchors were given; a cut tail does not show (--anchors, --redis)");
    if (read?.broken.length) warnings.push(`line ${read.broken[0]} of the anchors is none`);
    return { folder, anchors: read?.anchors ?? [], trusted, warnings };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code?.startsWith("ERR_PARSE_ARGS") ? misused(message) : { problem: message, status: 1 };
  }
}

function trust(trusted: Map<string, KeyObject>, pem: Buffer): void {
  const key = createPublicKey(pem);
  trusted.set(keyId(key), key);
}
