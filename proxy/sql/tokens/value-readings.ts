import {
  lastFour,
  lowerCase,
  NO_HASH,
  SEARCH_KINDS,
  type SearchKind,
  wordsOf,
} from "../../tokens/blind-index.ts";
import { looksLikeToken } from "../../tokens/sealed.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { COMPARED_KINDS, offers, PATTERN_KINDS, type PatternReading, type Reading } from "./blind-forms.ts";
import { type ValueColumn, valuesOf } from "./documents.ts";
import { type Seal, tokenGiven } from "./sealed-documents.ts";
import type { TokenColumn } from "./token-columns.ts";

/* What a given value is to the server: its tokens, or the hashes that the tokens of what it searches for carry. */

/** What makes tokens and hashes of values; undefined for a value that does not have the form of the column. */
export interface Seals extends Seal {
  /** Under every key of the ring, the active one first. */
  sealUnderAll(value: string, column: ValueColumn): readonly string[] | undefined;
  /** There are several keys: a value may have a token of each. */
  readonly isRotating: boolean;
  /** How many tokens a value of the column may have. */
  tokensOf(column: ValueColumn): number;
  /** Whether tokens of every key carry it. */
  carriesEverywhere(kind: SearchKind, column: ValueColumn): boolean;
  /** The hashes of texts under every key, the active one first. */
  hashesUnderAll(
    kind: SearchKind,
    texts: readonly string[],
    column: ValueColumn,
  ): readonly (readonly string[])[];
}

/** How many tokens a value of the column, or one inside of its documents, may have. */
export function mostTokens(column: TokenColumn, seals: Seals): number {
  return Math.max(1, ...valuesOf(column).map((each) => seals.tokensOf(each)));
}

export function isPatternReading(reading: Reading): reading is PatternReading {
  return Object.hasOwn(PATTERN_KINDS, reading);
}

/** What a value that is no pattern may equal: one text, or while keys are rotated one for each key. */
export function equalTexts(
  value: string,
  { column, reading }: { readonly column: ValueColumn; readonly reading: Exclude<Reading, PatternReading> },
  seals: Seals,
  isSearch: boolean,
): readonly string[] | Refusal {
  if (reading === "token") {
    if (looksLikeToken(value)) return tokenGiven(column);
    const one = isSearch ? undefined : seals.seal(value, column);
    const tokens = isSearch ? seals.sealUnderAll(value, column) : one === undefined ? undefined : [one];
    return tokens ?? notOfForm(column);
  }
  const text = comparedText(value, reading);
  if (text === undefined) return Array.from({ length: seals.tokensOf(column) }, () => NO_HASH);
  return seals.hashesUnderAll(COMPARED_KINDS[reading], [text], column).flat();
}

/** Undefined for a value that the computed side never has. */
function comparedText(
  value: string,
  reading: Exclude<Reading, PatternReading | "token">,
): string | undefined {
  switch (reading) {
    case "any case":
      return lowerCase(value);
    case "lower case":
      return lowerCase(value) === value ? value : undefined;
    case "last four":
      return lastFour(value);
    case "four":
      return lastFour(value) === value ? value : undefined;
  }
}

/** What a pattern searches by: the hashes are those of each key, the active one first. */
export interface PatternSearch {
  readonly kind: SearchKind;
  readonly hashes: readonly (readonly string[])[];
}

export function patternSearch(
  value: string,
  { column, reading }: { readonly column: ValueColumn; readonly reading: PatternReading },
  seals: Seals,
): PatternSearch | Refusal {
  const asked = reading === "tsquery" ? wordsAsked(value, column) : patternAsked(value, reading, column);
  if ("sqlstate" in asked) return asked;
  const { kind, texts } = asked;
  const lack = lackOf(kind, column, seals);
  return lack ?? { kind, hashes: seals.hashesUnderAll(kind, texts, column) };
}

/** Why tokens of the column cannot be searched in this way. */
export function lackOf(kind: SearchKind, column: ValueColumn, seals: Seals): Refusal | undefined {
  if (!offers(column, kind)) return notOffered(kind, column);
  return seals.carriesEverywhere(kind, column) ? undefined : notYetCarried(kind, column);
}

/** The kinds that a pattern given as a parameter may search by, in the order of their texts in it. */
export function kindsOfParameter(
  reading: PatternReading,
  column: ValueColumn,
  seals: Seals,
): readonly SearchKind[] {
  return SEARCH_KINDS.filter(
    (kind) =>
      PATTERN_KINDS[reading].includes(kind) && offers(column, kind) && seals.carriesEverywhere(kind, column),
  );
}

/** Why a pattern given as a parameter cannot search by anything. */
export function lackOfPattern(
  reading: PatternReading,
  column: ValueColumn,
  seals: Seals,
): Refusal | undefined {
  if (kindsOfParameter(reading, column, seals).length > 0) return undefined;
  const [kind = "case"] = PATTERN_KINDS[reading].filter((each) => offers(column, each));
  return lackOf(kind, column, seals);
}

interface AskedTexts {
  readonly kind: SearchKind;
  readonly texts: readonly string[];
}

function wordsAsked(value: string, column: ValueColumn): AskedTexts | Refusal {
  const texts = wordsOf(value);
  return texts === undefined || texts.length === 0 ? noWord(column) : { kind: "words", texts };
}

/** Characters of ASCII without case. */
const CASELESS = /^[ -@[-`{-~]*$/;
const LAST = 4;

function patternAsked(value: string, reading: "like" | "ilike", column: ValueColumn): AskedTexts | Refusal {
  const pieces = piecesOf(value);
  if (pieces === undefined) return notExact(reading, column);
  const isLiteral = (piece: PatternPiece | undefined) => piece !== undefined && "text" in piece;
  const literals = pieces.filter(isLiteral);
  const text = pieces.map((piece) => ("text" in piece ? piece.text : "")).join("");
  const hasOne = pieces.some((piece) => "wildcard" in piece && piece.wildcard === "_");
  const first = pieces.findIndex(isLiteral);
  const last = pieces.findLastIndex(isLiteral);
  // Wildcards at both ends alone.
  const isOneText = literals.length === 1 + last - first && !hasOne;
  const [before, after] = [first > 0, last >= 0 && last < pieces.length - 1];
  if (reading === "ilike" && pieces.length === literals.length)
    return { kind: "case", texts: [lowerCase(text)] };
  if (literals.length > 0 && isOneText && before) {
    const isLast = !after && literals.length === LAST;
    if (isLast && (reading === "like" || CASELESS.test(text))) return { kind: "last4", texts: [text] };
    if (after && reading === "ilike") return wordsAsked(text, column);
  }
  return notExact(reading, column);
}

type PatternPiece = { readonly text: string } | { readonly wildcard: "%" | "_" };

/** Characters and wildcards, where a backslash makes the next character literal. Undefined if none follows. */
function piecesOf(pattern: string): readonly PatternPiece[] | undefined {
  const pieces: PatternPiece[] = [];
  let isEscaped = false;
  for (const character of pattern) {
    if (!isEscaped && character === "\\") isEscaped = true;
    else {
      const isWildcard = !isEscaped && (character === "%" || character === "_");
      pieces.push(isWildcard ? { wildcard: character } : { text: character });
      isEscaped = false;
    }
  }
  return isEscaped ? undefined : pieces;
}

function notExact(reading: "like" | "ilike", { name, className }: ValueColumn): Refusal {
  return refuse("0A000", `${name} is stored as tokens, and cannot be searched by this pattern`, {
    hint:
      reading === "like"
        ? `LIKE works with a pattern of % and four characters. Write lower(column) = …, or ILIKE, which finds whole words ('%anna%') and values without regard to case, as "searches:" of class "${className}" says (docs/tokens.md).`
        : `ILIKE works without wildcards, with % and four digits, and with words between two %, as "searches:" of class "${className}" says (docs/tokens.md).`,
  });
}

function noWord({ name }: ValueColumn): Refusal {
  return refuse(
    "0A000",
    `${name} is stored as tokens, and what is searched for has no word in it, or too many`,
    {
      hint: "Tokens are searched by whole words of letters and digits, ten thousand at most (docs/tokens.md).",
    },
  );
}

function notOffered(kind: SearchKind, { name, className }: ValueColumn): Refusal {
  return refuse("42501", `${name} is stored as tokens, which cannot be searched by ${WHAT[kind]}`, {
    hint: `Its tokens would have to carry it: "searches:" of class "${className}" in the policy, with ${kind} (docs/tokens.md).`,
  });
}

function notYetCarried(kind: SearchKind, { name, className }: ValueColumn): Refusal {
  return refuse("55000", `not all tokens of ${name} can be searched by ${WHAT[kind]} yet`, {
    hint: `By "searches:" of class "${className}", tokens of an older key do not carry it. It works once "sluice tokens rotate" has been run under the new key, and the old one is retired.`,
  });
}

const WHAT: Readonly<Record<SearchKind, string>> = {
  case: "their values without regard to case",
  last4: "their last four characters",
  words: "their words",
};

export function notOfForm({ name, form }: ValueColumn): Refusal {
  return refuse("22023", `a value for ${name} does not have the form that is stored there (${form})`, {
    hint:
      form === "bytes"
        ? "Write it as \\x and hexadecimal digits. It may not begin like a token of the proxy."
        : form === "token"
          ? 'With "searches: [words]" of its class a value has ten thousand words at most.'
          : "Numbers have 6 to 64 digits, with spaces and + - . / ( ) between them. Other values need NULL, or a class with stored: token.",
  });
}
