import { type AuditKeys, isSigned, type TrustedKeys } from "./audit-keys.ts";
import type { Head } from "./chain.ts";
import type { Tree } from "./merkle.ts";

/** The end of a chain as it is sent elsewhere, so that a missing tail shows. */
export interface Anchor {
  readonly writer: string;
  readonly sequence: number;
  readonly hash: string;
  /** Unix time, milliseconds. */
  readonly time: number;
  /** The tree of its segment up to this line, from which single lines are proved; older anchors have none. */
  readonly tree?: SegmentTree;
  readonly signedBy: string;
  readonly signature: string;
}

export interface SegmentTree extends Tree {
  readonly segment: number;
}

/** Takes anchors to where who can cut the log cannot reach. */
export type AnchorSink = (anchor: Anchor) => void | Promise<void>;

/** What an anchor's signature covers. */
export function anchorText(anchor: Omit<Anchor, "signedBy" | "signature">): string {
  const { writer, sequence, hash, time, tree } = anchor;
  return tree === undefined
    ? ["sluice audit anchor 1", writer, sequence, hash, time].join("\n")
    : ["sluice audit anchor 2", writer, sequence, hash, time, tree.segment, tree.size, tree.root].join("\n");
}

/** The fleet's key signs it: the chain's own keys could not vouch for an end that was cut off. */
export function makeAnchor(
  keys: AuditKeys,
  writer: string,
  head: Head,
  tree: SegmentTree | undefined,
  time: number,
): Anchor {
  const anchor = { writer, ...head, time, ...(tree !== undefined && { tree }) };
  return { ...anchor, signedBy: keys.id, signature: keys.sign(anchorText(anchor)) };
}

export function isGenuine(anchor: Anchor, trusted: TrustedKeys): boolean {
  return isSigned(trusted, anchor.signedBy, anchorText(anchor), anchor.signature);
}

export interface AnchorFile {
  readonly anchors: readonly Anchor[];
  /** Lines that speak of an anchor and are none. */
  readonly broken: readonly number[];
}

/** Anchors out of JSON lines: each an anchor, or a line of the operational log with an `anchor` in it. */
export function readAnchors(text: string): AnchorFile {
  const anchors: Anchor[] = [];
  const broken: number[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (!line.includes('"signature"')) continue;
    const anchor = anchorOf(line);
    if (anchor === undefined) broken.push(i + 1);
    else anchors.push(anchor);
  }
  return { anchors, broken };
}

function anchorOf(line: string): Anchor | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    const given = isObject(parsed) && isObject(parsed.anchor) ? parsed.anchor : parsed;
    if (!isObject(given)) return undefined;
    const { writer, sequence, hash, time, signedBy, signature } = given;
    if (typeof writer !== "string" || typeof hash !== "string" || typeof signedBy !== "string")
      return undefined;
    if (typeof sequence !== "number" || typeof time !== "number" || typeof signature !== "string")
      return undefined;
    const tree = treeOf(given.tree);
    if (given.tree !== undefined && tree === undefined) return undefined;
    return { writer, sequence, hash, time, signedBy, signature, ...(tree !== undefined && { tree }) };
  } catch {
    return undefined;
  }
}

function treeOf(given: unknown): SegmentTree | undefined {
  if (!isObject(given)) return undefined;
  const { segment, size, root } = given;
  if (typeof segment !== "number" || typeof size !== "number" || typeof root !== "string") return undefined;
  return { segment, size, root };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
