import type { KeyObject } from "node:crypto";
import { type Anchor, isGenuine } from "./anchor.ts";
import { isSigned, keyId, publicKeyOf, type TrustedKeys } from "./audit-keys.ts";
import type { Head } from "./chain.ts";
import type { Tree } from "./merkle.ts";
import {
  type Checkpoint,
  checkpointText,
  type Footer,
  footerText,
  type Opening,
  openingText,
} from "./records.ts";

/** Where a record stands. */
export interface RecordPlace {
  /** The line before it. */
  readonly before: Head;
  /** The lines of its segment before it. */
  readonly lines: Tree;
}

/**
 * Follows the keys of one writer's chain: each record is signed with the key that the one before names, and the first
 * opening with a trusted one. Methods give what is wrong, or undefined.
 */
export class Succession {
  readonly #writer: string;
  readonly #trusted: TrustedKeys;
  #key: { readonly id: string; readonly key: KeyObject } | undefined;
  #moves: boolean;

  /** `nextKey`: what the segment before the first one named, where retention has dropped it. */
  constructor(writer: string, trusted: TrustedKeys, nextKey: string | undefined) {
    this.#writer = writer;
    this.#trusted = trusted;
    this.#moves = nextKey !== undefined;
    this.#follow(nextKey);
  }

  /** The chain names its keys. Those of older versions were signed with the fleet's. */
  get moves(): boolean {
    return this.#moves;
  }

  opening(record: Opening, { before }: RecordPlace): string | undefined {
    if (record.nextKey === undefined)
      return this.#moves ? "the segment's opening names no key, as those before it do" : undefined;
    const text = openingText(this.#writer, record, before);
    const wrong = this.#signedWrong(record, text);
    this.#moves = true;
    this.#follow(record.nextKey);
    return wrong && `the signature of the segment's opening ${wrong}`;
  }

  checkpoint(record: Checkpoint, place: RecordPlace): string | undefined {
    const wrong =
      this.#anchorWrong(record.anchor, record.segment, place) ??
      this.#signedWrong(record, checkpointText(record));
    this.#follow(record.nextKey);
    return wrong && `the checkpoint's signature ${wrong}`;
  }

  footer(record: Footer, place: RecordPlace): string | undefined {
    const text = footerText(this.#writer, record, place.before.hash);
    const wrong =
      (record.count === place.lines.size ? undefined : MISFIT) ??
      this.#rootWrong(record, place) ??
      this.#signedWrong(record, text);
    this.#follow(record.nextKey);
    return wrong && `the segment's signature ${wrong}`;
  }

  #rootWrong({ segment, root, anchor, nextKey }: Footer, place: RecordPlace): string | undefined {
    if (!this.#moves) return root === undefined ? undefined : MISFIT;
    return root === place.lines.root && nextKey !== undefined
      ? this.#anchorWrong(anchor, segment, place)
      : MISFIT;
  }

  #anchorWrong(
    anchor: Anchor | undefined,
    segment: number,
    { before, lines }: RecordPlace,
  ): string | undefined {
    const tree = anchor?.tree;
    const fits =
      this.#moves &&
      anchor?.writer === this.#writer &&
      anchor.sequence === before.sequence &&
      anchor.hash === before.hash &&
      tree?.segment === segment &&
      tree.size === lines.size &&
      tree.root === lines.root;
    if (!fits || anchor === undefined) return MISFIT;
    if (!this.#trusted.has(anchor.signedBy)) return unknownKey(anchor.signedBy);
    return isGenuine(anchor, this.#trusted) ? undefined : MISFIT;
  }

  #follow(nextKey: string | undefined): void {
    const key = nextKey === undefined ? undefined : publicKeyOf(nextKey);
    this.#key = key && { id: keyId(key), key };
  }

  #signedWrong(
    { signedBy, signature = "" }: { readonly signedBy: string; readonly signature?: string },
    text: string,
  ): string | undefined {
    const named: TrustedKeys = new Map(this.#key && [[this.#key.id, this.#key.key]]);
    const keys = this.#moves ? named : this.#trusted;
    if (!keys.has(signedBy)) return unknownKey(signedBy);
    return isSigned(keys, signedBy, text, signature) ? undefined : MISFIT;
  }
}

const MISFIT = "does not fit";

function unknownKey(id: string): string {
  return `is of an unknown key, ${id}`;
}
