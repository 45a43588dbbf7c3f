import { join } from "node:path";
import { type AuditKeys, isSigned, type TrustedKeys } from "./audit-keys.ts";
import { appendLines, linesOf } from "./side-file.ts";

/** A person whom no question of ours matches any more. */
export interface Forgotten {
  readonly hash: string;
  /** Unix time, milliseconds. */
  readonly time: number;
  readonly signedBy: string;
  readonly signature: string;
}

/** Beside the log: its lines are a chain, and what stands in them cannot be taken out. */
export function forgottenFile(folder: string): string {
  return join(folder, "forgotten.jsonl");
}

function signedText({ hash, time }: Pick<Forgotten, "hash" | "time">): string {
  return ["sluice audit forgotten 1", hash, time].join("\n");
}

/** Signed: anyone who can write to the folder could otherwise hide whose data they took. */
export async function forget(
  folder: string,
  keys: AuditKeys,
  hashes: Iterable<string>,
  time: number,
): Promise<void> {
  const lines = [...hashes].map((hash) => {
    const entry: Forgotten = {
      hash,
      time,
      signedBy: keys.id,
      signature: keys.sign(signedText({ hash, time })),
    };
    return JSON.stringify(entry);
  });
  await appendLines(forgottenFile(folder), lines);
}

export interface ForgottenList {
  readonly hashes: ReadonlySet<string>;
  /** Lines that no trusted key has signed: they hide nobody. */
  readonly strange: number;
}

export async function readForgotten(folder: string, trusted: TrustedKeys): Promise<ForgottenList> {
  const hashes = new Set<string>();
  let strange = 0;
  for (const line of await linesOf(forgottenFile(folder))) {
    const entry = entryOf(line);
    if (entry !== undefined && isSigned(trusted, entry.signedBy, signedText(entry), entry.signature))
      hashes.add(entry.hash);
    else strange += 1;
  }
  return { hashes, strange };
}

function entryOf(line: string): Forgotten | undefined {
  try {
    const { hash, time, signedBy, signature } = JSON.parse(line) as Partial<Forgotten>;
    if (typeof hash !== "string" || typeof time !== "number") return undefined;
    if (typeof signedBy !== "string" || typeof signature !== "string") return undefined;
    return { hash, time, signedBy, signature };
  } catch {
    return undefined;
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
    tell(`${strange} lines of forgotten.jsonl have no signature of these keys and have no effect`);
  return hashes;
}
