import { createHmac } from "node:crypto";
import { binary, bytes, castType, concat, hex, minus, text, utf8 } from "../../policy/sql-pieces.ts";
import { SUM_TYPES, withoutModifier } from "../rules/summary-calls.ts";

/*
 * Noise for `aggregates_only`: fixed random rounding as used by statistical offices (Statistics Canada rounds to a base
 * of 5; the FRR3 of Statistics New Zealand is "fixed": the same cell is always rounded the same way), with the cell
 * keys of the ABS TableBuilder (Fraser and Wooton 2005; Thompson, Broadfoot and Elazar 2013), and for magnitudes a base
 * that follows the largest contribution (as Giessing and Tent 2019 scale their noise).
 *
 * Each person has a record key: a keyed hash. The cell key is the smallest record key of a group. It depends on who is
 * in the group and not on how the query is written. When one more person joins a group of n, it stays the same in all
 * but one of about n cases. That matters: if the noise changed with every person, the change itself would reveal that
 * there was one (Gadotti et al. 2019 did so to Diffix). A keyed SHA-256 of the cell key sets the point between two
 * multiples of the base at which the rounding turns from down to up.
 *
 * All of this is SQL with built-in functions in place of the aggregate call, so that it applies to every form of an
 * answer (text, binary, COPY, cursors) and to HAVING and ORDER BY. See docs/aggregates.md for what it protects against.
 */

/** The keys of one fleet's noise, and the size of the noise. */
export interface Noise {
  /** The base: an answer is off by less than this many of the group's largest contributions. */
  readonly base: number;
  readonly cellKey: Buffer;
  /** Seed of the record keys, as an SQL literal of a bigint. */
  readonly recordSeed: string;
}

/** `secret` is the key of masks; the keys that appear in statements reveal nothing about it. */
export function noiseOf(base: number, secret: Buffer): Noise {
  const derive = (purpose: string) =>
    createHmac("sha256", secret).update(`sluice aggregates ${purpose} 1`).digest();
  return { base, cellKey: derive("cell"), recordSeed: String(derive("record").readBigInt64BE(0)) };
}

/** The parts of a summary, as SQL at the level of the group. */
export interface Summary {
  readonly name: "count" | "sum" | "avg";
  /** Undefined for `count(*)`. */
  readonly argument: string | undefined;
  readonly distinct: boolean;
  /** Type of the argument; for sums and averages one of `SUM_TYPES`. */
  readonly type: string | undefined;
  /** The people of the group, one expression for each relation that has people: each of them is hidden. */
  readonly people: readonly string[];
}

/**
 * The rounded summary. It is a subquery with one named column, so that the output column keeps its name (FigureColname
 * of parser/parse_target.c). It is inside CAST, because `x IN ((SELECT …))` is a different IN, and the client may have
 * put parentheses around it.
 */
export function noisySql(summary: Summary, noise: Noise): string {
  const each = summary.people.map(
    (person) => `SELECT * FROM (${contributionsSql(summary, person, noise)}) AS o`,
  );
  const largest = `pg_catalog.max(o.largest)`;
  // DISTINCT: a table that is joined to itself by the person has the same people, and must not round the figure
  // differently.
  const turns = "pg_catalog.sum(DISTINCT o.turn)";
  const turn = minus(turns, `pg_catalog.floor(${turns})`);
  const group =
    `SELECT ${baseSql(largest, summary, noise)} AS ${BASE}, ${turn} AS ${TURN} ` +
    `FROM (${each.join(" UNION ALL ")}) AS o`;
  const subquery = `(SELECT ${roundedSql(summary)} AS "${summary.name}" FROM (${group}) AS ${OF_GROUP})`;
  return `CAST(${subquery} AS ${resultOf(summary)})`;
}

/** Our own names, which must not clash with the client's names in an argument. */
const [OF_GROUP, OF_ROW] = ['"sluice group"', '"sluice row"'];
const [BASE, TURN, PERSON, VALUE] = ['"sluice base"', '"sluice turn"', '"sluice of"', '"sluice value"'];

function resultOf({ name, type }: Summary): string {
  if (name === "count") return "bigint";
  return SUM_TYPES.get(withoutModifier(type ?? ""))?.[name] ?? "numeric";
}

function roundedSql(summary: Summary): string {
  const { name, argument, distinct, type, people } = summary;
  if (name === "count") {
    // count(*) has no argument to determine which level's rows it counts; here it must count the group's.
    const truth =
      argument === undefined
        ? `pg_catalog.cardinality(pg_catalog.array_agg(${people[0]}))`
        : `pg_catalog.count(${distinct ? "DISTINCT " : ""}${argument})`;
    return rounded(`(${truth})::numeric`);
  }
  const truth = `pg_catalog.${name}(${argument})`;
  if (isFloat(type)) return rounded(`(${truth})::double precision`);
  const exact = `(${truth})::numeric`;
  return `pg_catalog.round(${rounded(exact)}, pg_catalog.scale(${exact}))`;
}

/** Rounds down to a multiple of the base or up to the next one, depending on the cell key: correct on average. */
function rounded(value: string): string {
  const [base, turn] = [`${OF_GROUP}.${BASE}`, `${OF_GROUP}.${TURN}`];
  const steps = `pg_catalog.floor(${binary(binary(value, "/", base), "+", turn)})`;
  return `CASE WHEN ${binary(base, "=", "0")} THEN ${value} ELSE ${binary(steps, "*", base)} END`;
}

/**
 * The largest of 1, 2, 5, 10, 20 … that does not exceed `noise.base` largest contributions. 0 if people contribute
 * nothing; NULL, and therefore a NULL answer, if numbers are so large that arithmetic could fail.
 */
function baseSql(largest: string, summary: Summary, noise: Noise): string {
  const number = numberOf(summary);
  const most = binary(largest, "*", `(${noise.base})::${number}`);
  const power = `pg_catalog.power((10)::${number}, pg_catalog.floor(pg_catalog.log(${most})))`;
  const digit = binary(most, "/", power);
  const step =
    `CASE WHEN ${binary(digit, "<", "2")} THEN 1 WHEN ${binary(digit, "<", "5")} THEN 2 ` +
    `WHEN ${binary(digit, "<", "10")} THEN 5 ELSE 10 END`;
  return (
    `CASE WHEN ${binary(largest, "<", "1e-9")} THEN 0 ` +
    `WHEN ${binary(largest, "<", "1e100")} THEN ${binary(`(${step})::${number}`, "*", power)} END`
  );
}

function isFloat(type: string | undefined): boolean {
  return type === "real" || type === "double precision";
}

/** The type in which its contributions are computed. */
function numberOf({ name, type }: Summary): "numeric" | "double precision" {
  return isFloat(type) && name !== "count" ? "double precision" : "numeric";
}

/**
 * The largest contribution of a person, and the point where the rounding turns. The contribution is part of the record:
 * several summaries of the same people are each rounded independently, so that one with a known true value reveals
 * nothing about the others.
 */
function contributionsSql(summary: Summary, person: string, noise: Noise): string {
  const { contribution, told } = contributionOf(summary);
  const number = numberOf(summary);
  const values = gathered(summary);
  const arrays = [person, ...values].map((each) => `pg_catalog.unnest(pg_catalog.array_agg(${each}))`);
  const columns = values.length === 0 ? PERSON : `${PERSON}, ${VALUE}`;
  const of = `${OF_ROW}.${PERSON}`;
  const each =
    `SELECT (${of})::pg_catalog.text AS p, ${contribution} AS n, ${told} AS t ` +
    `FROM ROWS FROM (${arrays.join(", ")}) AS ${OF_ROW}(${columns}) WHERE ${of} IS NOT NULL GROUP BY 1`;
  const record = concat(concat("i.p", "' '"), "COALESCE(i.t, '')");
  const turn = uniform("turn", `pg_catalog.min(${recordKey(record, noise)})`, noise);
  return `SELECT pg_catalog.max(pg_catalog.abs(i.n)) AS largest, (${turn})::${number} AS turn FROM (${each}) AS i`;
}

/** What a group's rows are aggregated by in addition to their people. */
function gathered({ name, argument, distinct }: Summary): readonly string[] {
  if (argument === undefined) return [];
  if (name !== "count") return [argument];
  return [distinct ? `(${argument})::pg_catalog.text` : `pg_catalog.num_nonnulls(${argument})`];
}

/** How much one person's rows change the summary, and that contribution as text for the cell key. */
function contributionOf({ name, argument, distinct, type }: Summary): {
  readonly contribution: string;
  readonly told: string;
} {
  const asText = (value: string) => `(${value})::pg_catalog.text`;
  const value = `${OF_ROW}.${VALUE}`;
  if (name === "count") {
    const count =
      argument === undefined
        ? "pg_catalog.count(*)"
        : distinct
          ? `pg_catalog.count(DISTINCT ${value})`
          : `pg_catalog.sum(${value})`;
    return { contribution: `(${count})::numeric`, told: asText(count) };
  }
  const sum = `pg_catalog.sum(${value})`;
  // The last digits of a sum of floats depend on the order of its rows; the noise must not.
  const told = isFloat(type) ? `pg_catalog.to_char((${sum})::double precision, '9.9999EEEE')` : asText(sum);
  const number = isFloat(type) ? "double precision" : "numeric";
  const own = `(COALESCE(${sum}, 0))::${number}`;
  if (name === "sum") return { contribution: own, told };
  // Without a person's rows, the average would differ by approximately this much.
  const average = `(pg_catalog.avg(${argument}))::${number}`;
  const rows = `(pg_catalog.count(${argument}))::${number}`;
  const expected = binary(average, "*", `(pg_catalog.count(${value}))::${number}`);
  return { contribution: binary(minus(own, expected), "/", `NULLIF(${rows}, 0)`), told };
}

/** The seed is secret, so no one knows whose record key is the smallest. */
function recordKey(record: string, { recordSeed }: Noise): string {
  return `pg_catalog.hashtextextended((${record}) COLLATE pg_catalog."C", (${quoted(recordSeed)})::bigint)`;
}

function quoted(number: string): string {
  return `'${number}'`;
}

/** A number in [0, 1) that is determined by a cell's key. */
function uniform(purpose: string, key: string, { cellKey }: Noise): string {
  const message = concat(text(`${purpose} `), `(${key})::pg_catalog.text`);
  const digest = hex(`pg_catalog.sha256(${concat(bytes(cellKey), utf8(message))})`);
  const bits = `((${concat("'x'", `pg_catalog.left(${digest}, 8)`)})::${castType("bit(32)")})::bigint`;
  return binary(`(${bits})::double precision`, "/", "4294967296");
}

/**
 * Whether a group has enough people: `least` plus a number below the base that depends on its cell key. A user who adds
 * people with known answers until the group appears does not learn how many it needed.
 */
export function enoughSql(
  person: string,
  least: number,
  noise: (Noise & { readonly identity: string }) | undefined,
): string {
  const count = `pg_catalog.count(DISTINCT ${person})`;
  if (noise === undefined) return `${count} OPERATOR(pg_catalog.>=) ${least}`;
  const key = `pg_catalog.min(${recordKey(`(${noise.identity})::pg_catalog.text`, noise)})`;
  const more = `pg_catalog.floor(${binary(uniform("least", key, noise), "*", String(noise.base))})`;
  return `${count} OPERATOR(pg_catalog.>=) ${binary(String(least), "+", more)}`;
}
