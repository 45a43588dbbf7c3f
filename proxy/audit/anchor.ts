import type { Head } from "./chain.ts";
import { type AuditKeys, isSigned, type TrustedKeys } from "./keys.ts";

/** What is told to somebody else of a chain's end, so that a cut tail shows. */
export interface Anchor {
  readonly writer: string;
  readonly sequence: number;
  readonly hash: string;
  /** Unix time, milliseconds. */
  readonly time: number;
  readonly signedBy: string;
  readonly signature: string;
}

/** Takes anchors to where who can cut the log cannot reach. */
export type AnchorSink = (anchor: Anchor) => void | Promise<void>;

function anchorText(anchor: Omit<Anchor, "signedBy" | "signature">): string {
  return ["sluice audit anchor 1", anchor.writer, anchor.sequence, anchor.hash, anchor.time].join("\n");
}

export function makeAnchor(keys: AuditKeys, writer: string, head: Head, time: number): Anchor {
  const anchor = { writer, ...head, time };
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
    return { writer, sequence, hash, time, signedBy, signature };
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
