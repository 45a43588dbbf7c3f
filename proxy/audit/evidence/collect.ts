import { type Anchor, isGenuine } from "../anchor.ts";
import type { TrustedKeys } from "../audit-keys.ts";
import { linkOf } from "../chain.ts";
import type { Period } from "../log-lines.ts";
import { WholeTree } from "../merkle.ts";
import { recordOf } from "../records.ts";
import { intactLink, linesOf, listSegments, readSegments, type SegmentFile } from "../segments.ts";

/** Which lines belong to a case: those that these users wrote or that are about them, and single ones. */
export interface Wanted {
  readonly users: ReadonlySet<string>;
  readonly period: Period;
  /** `writer:sequence`, as `sluice audit subject` prints them. */
  readonly events: ReadonlySet<string>;
}

/** Leads from a line to an anchor's root; `index` is its place in the anchor's tree, `anchor` that in the list of anchors. */
export interface Proof {
  readonly index: number;
  readonly path: readonly string[];
  readonly anchor: number;
}

export interface Evidence {
  readonly lines: readonly Buffer[];
  /** For each line: from the log's own next checkpoint, and from an anchor that was kept elsewhere, where there is one. */
  readonly proofs: readonly (readonly Proof[])[];
  readonly anchors: readonly Anchor[];
  readonly unproved: readonly Unproved[];
  /** Writers of any of these lines. */
  readonly writers: ReadonlySet<string>;
}

export interface Unproved {
  readonly writer: string;
  readonly segment: number;
  readonly lines: readonly Buffer[];
  readonly why: "younger than the last checkpoint" | "of an older version, without a tree" | "damaged";
}

/** Takes the lines of a case out of the log. `kept`: anchors that were kept elsewhere. */
export async function collectEvidence(
  folder: string,
  wanted: Wanted,
  kept: readonly Anchor[],
  trusted: TrustedKeys,
): Promise<Evidence> {
  const lines: Buffer[] = [];
  const proofs: (readonly Proof[])[] = [];
  const anchors = new Map<Anchor, number>();
  const unproved: Unproved[] = [];
  const writers = new Set<string>();
  for await (const { file, content } of readSegments(await listSegments(folder))) {
    if (content instanceof Error) continue;
    const found = segmentEvidence(file, content, wanted, kept, trusted);
    if (found === undefined) continue;
    writers.add(file.writer);
    if (found.unproved !== undefined) unproved.push(found.unproved);
    for (const { line, proved } of found.proved) {
      lines.push(line);
      proofs.push(
        proved.map(({ index, path, anchor }) => {
          const number = anchors.get(anchor) ?? anchors.size;
          anchors.set(anchor, number);
          return { index, path, anchor: number };
        }),
      );
    }
  }
  return { lines, proofs, anchors: [...anchors.keys()], unproved, writers };
}

interface Proved {
  readonly line: Buffer;
  readonly proved: readonly {
    readonly index: number;
    readonly path: readonly string[];
    readonly anchor: Anchor;
  }[];
}

/** Undefined where none of its lines belongs to the case. */
function segmentEvidence(
  file: SegmentFile,
  content: Buffer,
  wanted: Wanted,
  kept: readonly Anchor[],
  trusted: TrustedKeys,
): { readonly proved: readonly Proved[]; readonly unproved: Unproved | undefined } | undefined {
  const { hashes, own, chosen, damaged } = readLines(file, content, wanted);
  if (chosen.length === 0) return undefined;
  const tree = new WholeTree(hashes);
  const inSegment = (anchor: Anchor) =>
    anchor.writer === file.writer && anchor.tree?.segment === file.number && isGenuine(anchor, trusted);
  const sources = [own, kept].map((anchors) =>
    anchors.filter(inSegment).toSorted((a, b) => (a.tree?.size ?? 0) - (b.tree?.size ?? 0)),
  );
  const proved: Proved[] = [];
  const left: Buffer[] = [];
  for (const { index, line, intact } of chosen) {
    const found = (intact ? sources : []).flatMap((anchors) => {
      const anchor = anchors.find((one) => (one.tree?.size ?? 0) > index);
      const size = anchor?.tree?.size ?? 0;
      // An anchor of more lines than there are: they were cut off, as `verify` says.
      if (anchor === undefined || size > hashes.length) return [];
      return [{ index, path: tree.path(index, size), anchor }];
    });
    if (found.length > 0) proved.push({ line, proved: found });
    else left.push(line);
  }
  const why = whyNot(own, damaged);
  const { writer, number: segment } = file;
  return { proved, unproved: left.length === 0 ? undefined : { writer, segment, lines: left, why } };
}

function whyNot(own: readonly Anchor[], damaged: boolean): Unproved["why"] {
  if (damaged) return "damaged";
  return own.length === 0 ? "of an older version, without a tree" : "younger than the last checkpoint";
}

interface Chosen {
  readonly index: number;
  readonly line: Buffer;
  /** It still is what was hashed when it was written. */
  readonly intact: boolean;
}

function readLines(file: SegmentFile, content: Buffer, wanted: Wanted) {
  const hashes: string[] = [];
  const own: Anchor[] = [];
  const chosen: Chosen[] = [];
  let damaged = false;
  for (const line of linesOf(content)) {
    const link = intactLink(line);
    damaged ||= link === undefined && !line.torn;
    const record = recordOf(line.bytes);
    if (record !== undefined && "anchor" in record && record.anchor !== undefined) own.push(record.anchor);
    if (isWanted(line.bytes, file.writer, wanted))
      chosen.push({ index: hashes.length, line: line.bytes, intact: link !== undefined });
    hashes.push(link?.hash ?? linkOf(line.bytes)?.hash ?? "0".repeat(64));
  }
  return { hashes, own, chosen, damaged };
}

/** What of a line says whose it is. */
interface Names {
  readonly time?: number;
  readonly actor?: {
    readonly user?: { readonly name?: string; readonly account?: { readonly name?: string } };
  };
  readonly unmapped?: { readonly user?: string };
}

function isWanted(line: Buffer, writer: string, { users, period, events }: Wanted): boolean {
  if (events.size > 0 && events.has(`${writer}:${linkOf(line)?.sequence ?? 0}`)) return true;
  // Most lines are of others, and parsing costs more than looking.
  if (![...users].some((user) => line.includes(JSON.stringify(user)))) return false;
  try {
    const { time = 0, actor, unmapped } = JSON.parse(line.toString("utf8")) as Names;
    const names = [actor?.user?.name, actor?.user?.account?.name, unmapped?.user];
    return (
      time >= period.since &&
      time < period.until &&
      names.some((name) => name !== undefined && users.has(name))
    );
  } catch {
    return false;
  }
}
