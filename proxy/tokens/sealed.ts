import { hkdfSync } from "node:crypto";
import type { TokenKeys } from "../keys/token-keys.ts";
import { addressLength, addressOf, bytesOf } from "./addresses.ts";
import {
  ANY_PARTS,
  BlindIndex,
  type Carried,
  carriedBy,
  partsShape,
  type SearchKind,
} from "./blind-index.ts";
import {
  BYTES_MARK,
  bytesOfText,
  bytesStart,
  bytesToken,
  hexText,
  looksLikeBytesToken,
  sealedBytesIn,
} from "./byte-values.ts";
import { countryPrefix, Digits, type Direction } from "./digits.ts";
import { Siv } from "./siv.ts";

/*
 * Sealed values: AES-SIV (RFC 5297) with AES-256. It is deterministic, so that equal values of one column have equal
 * tokens and the server can compare, join and index them; and it is authenticated, so that a token is known as one of
 * this column, or is none. Numbers can keep their format (digits.ts), and are then not authenticated.
 * docs/decisions/038-tokens-at-rest.md says what that reveals.
 */

/**
 * "token": any text; "bytes": any bytes, of a bytea column; "email": any text, in the form of an address; "digits" and
 * "phone": numbers, in their own format.
 */
export type TokenForm = "token" | "bytes" | "email" | "digits" | "phone";

/** What a column's values are sealed with. */
export interface Storage {
  /** Columns that share it can be compared. */
  readonly associated: string;
  readonly form: TokenForm;
  /** The key of forms whose tokens do not name their key. */
  readonly version: number;
  /** Of the form "token": the blind indexes that its tokens carry. */
  readonly carried?: Carried | undefined;
}

/** Begins each token of the forms that have a mark: a value that begins so is not taken as cleartext. */
export const MARKS: Readonly<Record<TokenForm, string | undefined>> = {
  token: "slt1_",
  bytes: BYTES_MARK,
  email: "slt1-",
  digits: undefined,
  phone: undefined,
};

/** `slt1_`, the version of the key, `_`, the synthetic IV and ciphertext as base64url, and the blind indexes. */
const TOKEN = new RegExp(`^slt1_([1-9][0-9]{0,3})_([A-Za-z0-9_-]{22,})${ANY_PARTS}$`);
/** The beginning of a token in the form of an address. */
const ADDRESS_MARK = /^slt1-([1-9][0-9]{0,3})-/;

const SIV_BYTES = 16;
/** Two keys of AES-256: one authenticates, one encrypts. */
const KEY_BYTES = 64;
const FF1_KEY_BYTES = 32;
const BLIND_KEY_BYTES = 32;

/** Whether a value looks like a token, of whatever column and key. */
export function looksLikeToken(text: string): boolean {
  return text.startsWith("slt1_") || text.startsWith("slt1-") || text.startsWith(BYTES_MARK);
}

/** How tokens of a form that has a mark begin under a key. */
export function tokenStart(form: TokenForm, version: number): string {
  const mark = MARKS[form] ?? "";
  return form === "bytes" ? bytesStart(version) : `${mark}${version}${mark.slice(-1)}`;
}

/** The longest token of a text of so many bytes of UTF-8, without blind indexes: columns of limited length have none. */
export function tokenLength(bytes: number, form: TokenForm = "token"): number {
  const start = "slt1_9999_".length;
  if (form === "bytes") return 1 + start + SIV_BYTES + bytes;
  if (form === "token") return start + Math.ceil(((SIV_BYTES + bytes) * 4) / 3);
  return form === "email" ? addressLength(start, SIV_BYTES + bytes) : bytes;
}

/** The version of the key that a token names. */
export function versionOf(token: string): number | undefined {
  const [, version] = TOKEN.exec(token) ?? ADDRESS_MARK.exec(token) ?? [];
  return version === undefined ? sealedBytesIn(token)?.version : Number(version);
}

/** A regular expression of Postgres for the tokens that are written under a key: their form alone. */
export function tokenShape(version: number, carried: Carried | undefined): string {
  return `^slt1_${version}_[A-Za-z0-9_-]+${partsShape(carriedBy(carried, version))}$`;
}

interface Keys {
  readonly siv: Buffer;
  readonly ff1: Buffer;
  readonly blind: Buffer;
}

/** Turns values into tokens and back. */
export class Sealer {
  #active = 0;
  #keys: ReadonlyMap<number, Keys> = new Map();
  /** Other versions that columns may hold. */
  #others: readonly number[] = [];
  /** By version and column. */
  readonly #digits = new Map<string, Digits>();
  /** The same. */
  readonly #sivs = new Map<string, Siv>();
  /** The same. */
  readonly #indexes = new Map<string, BlindIndex>();
  #generation = 0;

  constructor(keys: TokenKeys) {
    this.use(keys);
  }

  /** From now on these are the keys. */
  use({ active, secrets, retired }: TokenKeys): void {
    const derive = (secret: Buffer, purpose: string, length: number) =>
      Buffer.from(hkdfSync("sha256", secret, "", purpose, length));
    this.#active = active;
    this.#keys = new Map(
      [...secrets].map(([version, secret]) => [
        version,
        {
          siv: derive(secret, "sluice sealed tokens 1", KEY_BYTES),
          ff1: derive(secret, "sluice ff1 tokens 1", FF1_KEY_BYTES),
          blind: derive(secret, "sluice blind indexes 1", BLIND_KEY_BYTES),
        },
      ]),
    );
    this.#others = [...secrets.keys()].filter((each) => each !== active && retired?.has(each) !== true);
    this.#digits.clear();
    this.#sivs.clear();
    this.#indexes.clear();
    this.#generation++;
  }

  /** Changes with the keys: what was sealed before may be sealed otherwise now. */
  get generation(): number {
    return this.#generation;
  }

  /** The version under which values are written. */
  get active(): number {
    return this.#active;
  }

  /** The versions of keys under which values are looked for: those of the ring that are not retired. */
  get searched(): readonly number[] {
    return [this.#active, ...this.#others];
  }

  /** Under the active key. Undefined if the value does not have the form of the column. */
  seal(text: string, storage: Storage): string | undefined {
    return this.#sealUnder(this.#active, text, storage);
  }

  /** There are several keys: what is in the database may be sealed under any of them. */
  get isRotating(): boolean {
    return this.#others.length > 0;
  }

  /** Every token that the value may have in the database: that of the active key first. */
  sealUnderAll(text: string, storage: Storage): readonly string[] | undefined {
    const versions = [this.#active, ...this.#othersOf(storage)];
    const made = versions.map((version) => this.#sealUnder(version, text, storage));
    return made.every((token) => token !== undefined) ? made : undefined;
  }

  /** How many tokens a value may have: while keys are rotated, one for each key of the ring. */
  tokensOf(storage: Storage): number {
    return 1 + this.#othersOf(storage).length;
  }

  /** Whether tokens of every key that is searched carry this: otherwise a search would lack rows. */
  carriesEverywhere(kind: SearchKind, { carried }: Storage): boolean {
    return this.searched.every((version) => carriedBy(carried, version).has(kind));
  }

  /** The hashes of texts under every key that is searched, the active one first. */
  hashesUnderAll(
    kind: SearchKind,
    texts: readonly string[],
    { associated }: Storage,
  ): readonly (readonly string[])[] {
    return this.searched.map((version) => {
      const index = this.#indexOf(version, associated);
      return texts.map((text) => index.hash(kind, text));
    });
  }

  /** Whether a token is what its value would be sealed as under its own key; undefined: it cannot be opened. */
  isAsWritten(token: string, storage: Storage): boolean | undefined {
    const version = versionOf(token);
    const value = this.open(token, storage);
    if (value === undefined) return undefined;
    return version === undefined || this.#sealUnder(version, value, storage) === token;
  }

  /** Numbers have one key. */
  #othersOf({ form }: Storage): readonly number[] {
    return MARKS[form] === undefined ? [] : this.#others;
  }

  #sealUnder(active: number, text: string, storage: Storage): string | undefined {
    const { associated, form, version } = storage;
    if (form === "digits" || form === "phone") return this.#turn(text, associated, form, version, "encrypt");
    const siv = this.#sivOf(active, associated);
    if (siv === undefined) throw new Error("the active key is not in the ring");
    const value = form === "bytes" ? bytesOfText(text) : Buffer.from(text);
    if (value === undefined || (form === "bytes" && looksLikeBytesToken(value))) return undefined;
    const sealed = siv.seal(value);
    if (form === "bytes") return bytesToken(active, sealed);
    if (form !== "token") return addressOf(`slt1-${active}-`, sealed);
    const kinds = carriedBy(storage.carried, active);
    const parts = kinds.size === 0 ? "" : this.#indexOf(active, associated).partsOf(text, kinds);
    return parts === undefined ? undefined : `slt1_${active}_${sealed.toString("base64url")}${parts}`;
  }

  #indexOf(version: number, associated: string): BlindIndex {
    const name = `${version} ${associated}`;
    let index = this.#indexes.get(name);
    if (index === undefined) {
      const keys = this.#keys.get(version);
      if (keys === undefined) throw new Error("a key of a token is not in the ring");
      index = new BlindIndex(keys.blind, associated);
      this.#indexes.set(name, index);
    }
    return index;
  }

  /** The value, of bytes as `\x` and hexadecimal digits; undefined if this is no token of this column under a key of the ring. */
  open(token: string, { associated, form, version }: Storage): string | undefined {
    if (form === "digits" || form === "phone") return this.#turn(token, associated, form, version, "decrypt");
    const sealed =
      form === "token" ? sealedIn(token) : form === "bytes" ? sealedBytesIn(token) : addressed(token);
    const value = sealed && this.#sivOf(sealed.version, associated)?.open(sealed.bytes);
    if (value === undefined) return undefined;
    return form === "bytes" ? hexText(value) : value.toString("utf8");
  }

  /** Undefined if the ring does not have the key. */
  #sivOf(version: number, associated: string): Siv | undefined {
    const name = `${version} ${associated}`;
    let siv = this.#sivs.get(name);
    if (siv === undefined) {
      const keys = this.#keys.get(version);
      if (keys === undefined) return undefined;
      siv = new Siv(keys.siv, Buffer.from(associated));
      this.#sivs.set(name, siv);
    }
    return siv;
  }

  #turn(
    text: string,
    associated: string,
    form: "digits" | "phone",
    version: number,
    direction: Direction,
  ): string | undefined {
    const name = `${version} ${associated}`;
    let digits = this.#digits.get(name);
    if (digits === undefined) {
      const keys = this.#keys.get(version);
      if (keys === undefined) return undefined;
      digits = new Digits(keys.ff1, associated);
      this.#digits.set(name, digits);
    }
    const kept = form === "phone" ? countryPrefix(text) : "";
    return kept === undefined ? undefined : digits.turn(text, kept.length, direction);
  }
}

interface SealedBytes {
  readonly version: number;
  readonly bytes: Buffer;
}

function sealedIn(token: string): SealedBytes | undefined {
  const [, version, body] = TOKEN.exec(token) ?? [];
  if (version === undefined || body === undefined) return undefined;
  const bytes = Buffer.from(body, "base64url");
  // Another spelling of the same bytes would be another value to the server.
  return bytes.toString("base64url") === body ? { version: Number(version), bytes } : undefined;
}

function addressed(token: string): SealedBytes | undefined {
  const [mark, version] = ADDRESS_MARK.exec(token) ?? [];
  const bytes = mark && bytesOf(mark, token);
  return bytes && bytes.length >= SIV_BYTES ? { version: Number(version), bytes } : undefined;
}
