import { arrayText } from "../../pg/array-text.ts";
import { fieldOf, NO_HASH, PART_MARK, type SearchKind, WORD_MARK } from "../../tokens/blind-index.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { spanOf } from "../emit/spans.ts";
import type { Source } from "../parse/source.ts";
import type { Edit } from "../verdict.ts";
import type { ComputedSide, PatternReading } from "./blind-forms.ts";
import type { ValueColumn } from "./documents.ts";
import type { GivenAt } from "./given-places.ts";
import { notUnderstood } from "./not-understood.ts";
import { kindsOfParameter, lackOfPattern, type PatternSearch, type Seals } from "./value-readings.ts";

/* Searches by blind indexes, as the server is sent them. An index on the same expressions serves them (docs/tokens.md). */

/** The part of a column's tokens that a kind of search compares. */
export function partOf(column: string, kind: SearchKind): string {
  return `pg_catalog.split_part(${column}, '${PART_MARK}', ${fieldOf(kind)})`;
}

/** The words among the parts, as a list. */
export function wordsPart(column: string): string {
  return `pg_catalog.string_to_array(${partOf(column, "words")}, '${WORD_MARK}')`;
}

/** `lower(column)` becomes the part of its tokens. */
export function placeComputed(source: Source, { call, column, kind }: ComputedSide): Edit | Refusal {
  const [span, inner] = [spanOf(source, call), spanOf(source, column)];
  if (span === undefined || inner === undefined) return notUnderstood("a call");
  return {
    at: span.start,
    end: span.end,
    text: ` ${partOf(source.slice(inner.start, inner.end), kind)}`,
  };
}

type PlacedPattern = NonNullable<GivenAt["pattern"]>;

/** A condition with a constant pattern. */
export function constantPattern(
  source: Source,
  at: GivenAt,
  { kind, hashes }: PatternSearch,
): Edit | Refusal {
  const list = (texts: readonly string[]) => `'${arrayText(texts)}'::pg_catalog.text[]`;
  return placeCondition(source, at, (column) =>
    kind === "words"
      ? hashes.map((each) => hasWords(column, list(each)))
      : [isAny(partOf(column, kind), list(hashes.flat()))],
  );
}

/** A condition with a parameter, of whose value it is not known yet what it searches by. */
export function parameterPattern(source: Source, at: GivenAt, value: string, seals: Seals): Edit | Refusal {
  const reading = at.reading as PatternReading;
  const { column: of } = at;
  if (of.form === "document") return notUnderstood("a pattern");
  const lack = lackOfPattern(reading, of, seals);
  if (lack !== undefined) return lack;
  const kinds = kindsOfParameter(reading, of, seals);
  let next = 0;
  const list = () =>
    `pg_catalog.string_to_array(pg_catalog.split_part(${value}, '${BETWEEN_LISTS}', ${++next}), '${BETWEEN_HASHES}')`;
  return placeCondition(source, at, (column) =>
    kinds.flatMap((kind) =>
      kind === "words"
        ? Array.from({ length: seals.tokensOf(of) }, () => hasWords(column, list()))
        : [isAny(partOf(column, kind), list())],
    ),
  );
}

const BETWEEN_LISTS = "|";
const BETWEEN_HASHES = ",";

/** The text of such a parameter: the lists in the order of their conditions, of which those of one kind can find something. */
export function patternText(
  { kind, hashes }: PatternSearch,
  reading: PatternReading,
  column: ValueColumn,
  seals: Seals,
): string {
  const lists = kindsOfParameter(reading, column, seals).flatMap((each): readonly (readonly string[])[] => {
    if (each === "words") return hashes.map((words) => (kind === each ? words : [NO_HASH]));
    return [kind === each ? hashes.flat() : [NO_HASH]];
  });
  return lists.map((list) => list.join(BETWEEN_HASHES)).join(BETWEEN_LISTS);
}

function isAny(part: string, list: string): string {
  return `${part} OPERATOR(pg_catalog.=) ANY (${list})`;
}

function hasWords(column: string, list: string): string {
  return `${wordsPart(column)} OPERATOR(pg_catalog.@>) ${list}`;
}

/** In place of the whole condition. */
function placeCondition(
  source: Source,
  { whole, pattern }: GivenAt,
  make: (column: string) => readonly string[],
): Edit | Refusal {
  const { column, isNegated } = pattern as PlacedPattern;
  const [span, inner] = [spanOf(source, whole), spanOf(source, column)];
  if (span === undefined || inner === undefined) return notUnderstood("a pattern");
  const conditions = make(source.slice(inner.start, inner.end));
  const any = `(${conditions.join(" OR ")})`;
  return { at: span.start, end: span.end, text: isNegated ? ` (NOT ${any})` : ` ${any}` };
}
