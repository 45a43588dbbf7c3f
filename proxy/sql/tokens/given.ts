import type { A_Const } from "libpg-query";
import { arrayText, arrayValues } from "../../pg/array-text.ts";
import { quoteLiteral } from "../../pg/quote.ts";
import { looksLikeToken } from "../../tokens/sealed.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { type Span, spanOf } from "../emit/spans.ts";
import { word } from "../emit/tokens.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { Source } from "../parse/source.ts";
import type { Edit } from "../verdict.ts";
import type { TokenColumn } from "./columns.ts";
import { leavesOf, type ValueColumn } from "./documents.ts";
import { type Seal, sealDocument, tokenGiven } from "./sealed-documents.ts";
import type { GivenAt, SealedConstant, SealedParameter } from "./uses.ts";

/*
 * Values that a text gives become tokens. While keys are rotated a row may hold the token of each key of the ring: what is
 * searched for is looked for under all of them, what is stored is stored under the active one.
 */

/** What makes tokens of values; undefined for a value that does not have the form of the column. */
export interface Seals extends Seal {
  /** Under every key of the ring, the active one first. */
  sealUnderAll(value: string, column: ValueColumn): readonly string[] | undefined;
  /** There are several keys: a value may have a token of each. */
  readonly isRotating: boolean;
  /** How many tokens a value of the column may have. */
  tokensOf(column: ValueColumn): number;
}

/** How many tokens a value of the column, or one inside of its documents, may have. */
export function mostTokens(column: TokenColumn, seals: Seals): number {
  const columns = column.form === "document" ? leavesOf(column) : [column];
  return Math.max(1, ...columns.map((each) => seals.tokensOf(each)));
}

/** A parameter that gives values of a token column. */
export interface TokenParameter extends Pick<SealedParameter, "column" | "form"> {
  /** It is sent as its tokens under every key: as more elements of an array, or with commas between them. */
  readonly isSearch: boolean;
}

/** Between the tokens of a value: no token has it. */
export const BETWEEN = ",";

export function placeConstant(
  source: Source,
  { node, column, form, at }: SealedConstant,
  seals: Seals,
): Edit | Refusal {
  const isSearch = at.place !== "stored" && mostTokens(column, seals) > 1;
  if (isSearch && at.place === "single") return takesOne(column);
  const value = (nodeOf(node)[1] as A_Const).sval?.sval ?? "";
  if (column.form === "document") {
    const document = sealDocument(value, column, seals, at.place === "stored" ? "stored" : "searched");
    const own = spanOf(source, node);
    if (typeof document !== "string") return document;
    return own === undefined
      ? notUnderstood("a constant")
      : { at: own.start, end: own.end, text: ` ${quoteLiteral(document)}` };
  }
  const values = form === "array" ? arrayValues(value) : [value];
  if (values === undefined) return notUnderstood("an array of several dimensions");
  if (values.some((each) => each !== null && looksLikeToken(each))) return tokenGiven(column);
  const sealed: (string | null)[] = [];
  for (const each of values) {
    const tokens =
      each === null ? [null] : isSearch ? seals.sealUnderAll(each, column) : [seals.seal(each, column)];
    for (const token of tokens ?? [undefined]) {
      if (token === undefined) return notOfForm(column);
      sealed.push(token);
    }
  }
  // Neither holds a quote or a backslash that would mean something.
  const list = `'${arrayText(sealed)}'`;
  const quoted = sealed.map((token) => `'${token}'`).join(", ");
  const [span, text] =
    !isSearch || form === "array"
      ? [spanOf(source, node), form === "array" ? list : quoted]
      : [
          wholeSpan(source, at),
          at.place === "item"
            ? quoted
            : `${quantifier(at)} (${list}::pg_catalog.${column.form === "bytes" ? "bytea" : "text"}[])`,
        ];
  return span === undefined
    ? notUnderstood("a constant")
    : { at: span.start, end: span.end, text: ` ${text}` };
}

export function placeParameter(
  source: Source,
  { column, form, at }: SealedParameter,
  seals: Seals,
): { readonly parameter: TokenParameter; readonly edits: readonly Edit[] } | Refusal {
  const count = mostTokens(column, seals);
  if (column.form === "document") {
    const isSearched = at.some(({ place }) => place !== "stored");
    if (count > 1 && isSearched) return takesOne(column);
    return { parameter: { column, form, isSearch: isSearched }, edits: [] };
  }
  const isSearch = count > 1 && at.some(({ place }) => place !== "stored");
  const parameter = { column, form, isSearch };
  if (!isSearch) return { parameter, edits: [] };
  if (at.some(({ place }) => place === "single")) return takesOne(column);
  if (column.form === "bytes" && form === "value") return takesAList(column);
  const edits: Edit[] = [];
  // An array has more elements, and its place is the same.
  for (const each of form === "array" ? [] : at) {
    const own = spanOf(source, each.whole);
    const span = wholeSpan(source, each);
    if (own === undefined || span === undefined) return notUnderstood("a parameter");
    const value = source.slice(own.start, own.end);
    const part = (index: number) => `pg_catalog.split_part(${value}, '${BETWEEN}', ${index + 1})`;
    const text =
      each.place === "stored"
        ? part(0)
        : each.place === "item"
          ? Array.from({ length: count }, (_, index) => part(index)).join(", ")
          : `${quantifier(each)} (pg_catalog.string_to_array(${value}, '${BETWEEN}'))`;
    edits.push({ at: span.start, end: span.end, text: ` ${text}` });
  }
  return { parameter, edits };
}

function quantifier({ place }: GivenAt): string {
  return place === "equal" ? "ANY" : "ALL";
}

/** The value with the parentheses around it: `ANY (…)` cannot stand in them, and several values would be a row. */
function wholeSpan(source: Source, { whole, list, place }: GivenAt): Span | undefined {
  const span = spanOf(source, whole);
  if (span === undefined || place === "stored") return span;
  let first = source.tokenAt(span.start);
  let last = first;
  while ((source.token(last)?.end ?? span.end) < span.end) last++;
  const outermost = list === undefined ? -1 : source.tokenAt(list);
  while (first - 1 > outermost && word(source, first - 1) === "(" && word(source, last + 1) === ")") {
    first--;
    last++;
  }
  const [start, end] = [source.token(first)?.start, source.token(last)?.end];
  return start === undefined || end === undefined ? undefined : { start, end };
}

function takesOne({ name }: TokenColumn): Refusal {
  return refuse(
    "55000",
    `a value of ${name} may have several tokens while keys are rotated, and this comparison takes one`,
    {
      hint: `Write it as column = value, <>, IN, = ANY or <> ALL, with the column on the left, or wait for the end of the rotation.`,
    },
  );
}

/** A text can hold several tokens on its way to the server, and bytes cannot. */
function takesAList({ name }: TokenColumn): Refusal {
  return refuse(
    "55000",
    `a value of ${name} may have several tokens while keys are rotated, and a parameter holds one`,
    {
      hint: "Send it in a list (column = ANY ($1), column <> ALL ($1)), write it as a constant, or wait for the end of the rotation.",
    },
  );
}

export function notUnderstood(what: string): Refusal {
  return refuse(
    "42501",
    `this statement names a table with tokens and uses syntax that Sluice does not know (${what})`,
    {
      hint: "Sluice cannot tell which of its values have to be turned into tokens. Write it in another way.",
    },
  );
}

export function notOfForm({ name, form }: TokenColumn): Refusal {
  return refuse("22023", `a value for ${name} does not have the form that is stored there (${form})`, {
    hint:
      form === "bytes"
        ? "Write it as \\x and hexadecimal digits. It may not begin like a token of the proxy."
        : "Numbers have 6 to 64 digits, with spaces and + - . / ( ) between them. Other values need NULL, or a class with stored: token.",
  });
}
