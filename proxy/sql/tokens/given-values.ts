import type { A_Const, Node } from "libpg-query";
import { arrayText, arrayValues } from "../../pg/array-text.ts";
import { quoteLiteral } from "../../pg/quote.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { word } from "../emit/source-tokens.ts";
import { type Span, spanOf } from "../emit/spans.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { Source } from "../parse/source.ts";
import type { Edit } from "../verdict.ts";
import { COMPARED_KINDS, type Reading } from "./blind-forms.ts";
import { constantPattern, parameterPattern, patternText } from "./blind-text.ts";
import type { DocumentColumn, ValueColumn } from "./documents.ts";
import { type GivenAt, isSameReading, type SealedConstant, type SealedParameter } from "./given-places.ts";
import { notUnderstood } from "./not-understood.ts";
import { sealDocument } from "./sealed-documents.ts";
import type { TokenColumn } from "./token-columns.ts";
import {
  equalTexts,
  isPatternReading,
  lackOf,
  mostTokens,
  patternSearch,
  type Seals,
} from "./value-readings.ts";

/*
 * Values that a text gives become tokens, or hashes of what is searched by. While keys are rotated a row may hold the token
 * of each key of the ring: what is searched for is looked for under all of them, what is stored is stored under the active
 * one.
 */

/** One text that a parameter is to the server. */
export interface TokenReading {
  readonly column: TokenColumn;
  readonly reading: Reading;
  /** It is given under every key: as more elements of an array, or with commas between them. */
  readonly isSearch: boolean;
}

/** A parameter that gives values of token columns: each reading is a part of its text. */
export interface TokenParameter extends Pick<SealedParameter, "form"> {
  readonly readings: readonly [TokenReading, ...TokenReading[]];
}

/** Between the tokens of a value, and between the readings of a parameter: no token and no hash has either. */
const BETWEEN = ",";
const BETWEEN_READINGS = ";";

export function placeConstant(
  source: Source,
  { node, form, at }: SealedConstant,
  seals: Seals,
): Edit | Refusal {
  const { column, reading } = at;
  const value = (nodeOf(node)[1] as A_Const).sval?.sval ?? "";
  if (column.form === "document") return constantDocument(source, { node, value, at }, column, seals);
  if (isPatternReading(reading)) {
    const search = patternSearch(value, { column, reading }, seals);
    return "sqlstate" in search ? search : constantPattern(source, at, search);
  }
  const lack = lackOfReading(reading, column, seals);
  if (lack !== undefined) return lack;
  const isSearch = at.place !== "stored" && seals.tokensOf(column) > 1;
  if (isSearch && at.place === "single") return takesOne(column);
  const values = form === "array" ? arrayValues(value) : [value];
  if (values === undefined) return notUnderstood("an array of several dimensions");
  const sealed: (string | null)[] = [];
  for (const each of values) {
    const texts = each === null ? [null] : equalTexts(each, { column, reading }, seals, isSearch);
    if ("sqlstate" in texts) return texts;
    sealed.push(...texts);
  }
  // Neither holds a quote or a backslash that would mean something.
  const list = `'${arrayText(sealed)}'`;
  const quoted = sealed.map((token) => `'${token}'`).join(", ");
  const isCalled = reading === "any case" || reading === "last four";
  const [span, text] =
    !isSearch || form === "array"
      ? [spanOf(source, isCalled ? at.whole : node), form === "array" ? list : quoted]
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

/** A document with its values as tokens. */
function constantDocument(
  source: Source,
  { node, value, at }: { readonly node: Node; readonly value: string; readonly at: GivenAt },
  column: DocumentColumn,
  seals: Seals,
): Edit | Refusal {
  const lack = lackOfDocument(column, at.place, seals);
  if (lack !== undefined) return lack;
  const document = sealDocument(value, column, seals, at.place === "stored" ? "stored" : "searched");
  if (typeof document !== "string") return document;
  const span = spanOf(source, node);
  return span === undefined
    ? notUnderstood("a constant")
    : { at: span.start, end: span.end, text: ` ${quoteLiteral(document)}` };
}

/** One document has one token of each value. */
function lackOfDocument(column: DocumentColumn, place: GivenAt["place"], seals: Seals): Refusal | undefined {
  return place !== "stored" && mostTokens(column, seals) > 1 ? takesOne(column) : undefined;
}

/** Why the tokens of a column cannot be compared in this way. */
function lackOfReading(reading: Reading, column: ValueColumn, seals: Seals): Refusal | undefined {
  return reading === "token" || isPatternReading(reading)
    ? undefined
    : lackOf(COMPARED_KINDS[reading], column, seals);
}

export function placeParameter(
  source: Source,
  { form, at }: SealedParameter,
  seals: Seals,
): { readonly parameter: TokenParameter; readonly edits: readonly Edit[] } | Refusal {
  const firsts = at.filter((each, index) => at.findIndex((other) => isSameReading(each, other)) === index);
  const readings = firsts.map((first): TokenReading => {
    const places = at.filter((each) => isSameReading(first, each)).map(({ place }) => place);
    const isSearch =
      (first.column.form === "document" || seals.tokensOf(first.column) > 1) &&
      places.some((place) => place !== "stored");
    return { column: first.column, reading: first.reading, isSearch };
  });
  const [first, ...more] = readings;
  if (first === undefined) return notUnderstood("a parameter");
  if (first.column.form === "document")
    return (
      lackOfDocument(first.column, first.isSearch ? "single" : "stored", seals) ?? {
        parameter: { form, readings: [first] },
        edits: [],
      }
    );
  const edits: Edit[] = [];
  for (const each of at) {
    const index = firsts.findIndex((one) => isSameReading(one, each));
    const edit = placeOne(source, form, each, { readings, index }, seals);
    if (edit === undefined) continue;
    if ("sqlstate" in edit) return edit;
    edits.push(edit);
  }
  return { parameter: { form, readings: [first, ...more] }, edits };
}

/** Undefined: its text is right as it is. */
function placeOne(
  source: Source,
  form: SealedParameter["form"],
  at: GivenAt,
  { readings, index }: { readonly readings: readonly TokenReading[]; readonly index: number },
  seals: Seals,
): Edit | Refusal | undefined {
  const { column, reading } = at;
  if (column.form === "document") return notUnderstood("a document among values");
  const isSearch = readings[index]?.isSearch === true;
  const lack = lackOfReading(reading, column, seals);
  if (lack !== undefined) return lack;
  if (isSearch && at.place === "single") return takesOne(column);
  if (isSearch && column.form === "bytes" && form === "value") return takesAList(column);
  // An array has more elements, and its place is the same.
  if (form === "array") return undefined;
  const own = spanOf(source, at.value);
  if (own === undefined) return notUnderstood("a parameter");
  const whole = source.slice(own.start, own.end);
  const isOnly = readings.length === 1;
  const value = isOnly ? whole : splitPart(whole, BETWEEN_READINGS, index);
  if (isPatternReading(reading)) return parameterPattern(source, at, value, seals);
  if (!isSearch && isOnly && at.whole === at.value) return undefined;
  const span = isSearch ? wholeSpan(source, at) : spanOf(source, at.whole);
  if (span === undefined) return notUnderstood("a parameter");
  const text = !isSearch
    ? value
    : at.place === "stored"
      ? splitPart(value, BETWEEN, 0)
      : at.place === "item"
        ? Array.from({ length: seals.tokensOf(column) }, (_, each) => splitPart(value, BETWEEN, each)).join(
            ", ",
          )
        : `${quantifier(at)} (pg_catalog.string_to_array(${value}, '${BETWEEN}'))`;
  return { at: span.start, end: span.end, text: ` ${text}` };
}

function splitPart(value: string, mark: string, index: number): string {
  return `pg_catalog.split_part(${value}, '${mark}', ${index + 1})`;
}

/** The texts of one value of a parameter, as the places of the parameter take them. */
export function parameterTexts(
  value: string,
  { readings }: TokenParameter,
  seals: Seals,
): readonly string[] | Refusal {
  const texts: string[] = [];
  for (const { column, reading, isSearch } of readings) {
    if (column.form === "document") return notUnderstood("a document among values");
    if (isPatternReading(reading)) {
      const search = patternSearch(value, { column, reading }, seals);
      if ("sqlstate" in search) return search;
      texts.push(patternText(search, reading, column, seals));
      continue;
    }
    const made = equalTexts(value, { column, reading }, seals, isSearch);
    if ("sqlstate" in made) return made;
    if (readings.length === 1) return made;
    texts.push(made.join(BETWEEN));
  }
  return readings.length === 1 ? texts : [texts.join(BETWEEN_READINGS)];
}

/** The texts of one value where a parameter is no array: one text. */
export function joinedTexts(texts: readonly string[]): string {
  return texts.join(BETWEEN);
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
