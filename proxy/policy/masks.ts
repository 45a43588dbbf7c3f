import { createHmac } from "node:crypto";
import { splice, valueReferences } from "./expressions.ts";
import type { Mask } from "./policy.ts";
import { binary, bytes, castType, concat, hex, length, minus, text, utf8 } from "./sql-pieces.ts";

/*
 * Masks as SQL. They run in any session, under any search_path, with nothing installed: so only built-in
 * functions, operators and types, each with its schema. OPERATOR() has another precedence than the operator
 * itself (Postgres docs, "Operator Precedence"), so each one stands in parentheses. CASE, COALESCE, GREATEST,
 * LEAST and IS NULL are grammar and look nothing up by name.
 *
 * No mask may fail on any value: an error message would show the value. And where a pattern does not match,
 * nothing of the value may fall through.
 */

/** The type of a masked column. */
export interface MaskedType {
  /** `format_type` with the modifier, castable: `character varying(20)`. Of a domain: its base type's. */
  readonly sql: string;
  /** pg_type.typcategory. */
  readonly category: string;
  /** Name in pg_catalog (text, varchar, int4, timestamptz …), `citext`, or other. */
  readonly name: string;
  /** Set, as SQL, when the column has another collation than its type. */
  readonly collation?: string;
}

export type MaskSql =
  | { readonly ok: true; readonly sql: string }
  | { readonly ok: false; readonly problem: string };

/**
 * The masked value of a column, as one SQL expression of the column's exact type.
 *
 * @param column an SQL reference, quoted where needed: `c."email"`
 * @param key of `token` masks
 */
export function maskSql(mask: Mask, column: string, type: MaskedType, key: Buffer | undefined): MaskSql {
  switch (mask.kind) {
    case "null":
      return { ok: true, sql: hiddenSql(type.sql) };
    case "sql":
      return typed(column, ownExpression(mask.expression, column), type);
    case "constant":
      return onText(column, type, () => text(mask.value));
    case "initials":
      return onText(column, type, initials);
    case "email":
      return onText(column, type, email);
    case "first":
      return onText(column, type, (value) => showFirst(value, mask.count));
    case "last":
      return onText(column, type, (value) => showLast(value, mask.count));
    case "hash":
      return hash(column, type);
    case "token":
      return token(column, type, mask.prefix, key);
    case "round":
      return round(column, type, mask.to);
    case "truncate":
      return truncateTime(column, type, mask.to);
  }
}

/** What stands for a column that is hidden whole: NULL of its type. */
export function hiddenSql(type: string): string {
  return `(NULL)::${castType(type)}`;
}

/** `value` in an `{ sql: … }` mask, replaced by the column. Only references of that name are; literals stay. */
export function ownExpression(expression: string, column: string): string {
  return splice(
    expression,
    valueReferences(expression).map(({ start, end }) => ({ start, end, text: `(${column})` })),
  );
}

// --- text ---------------------------------------------------------------------------------------------------

const TEXT_TYPES: ReadonlySet<string> = new Set(["text", "varchar", "bpchar", "name", "citext"]);

function onText(column: string, type: MaskedType, mask: (value: string) => string): MaskSql {
  if (!TEXT_TYPES.has(type.name)) return unfit(type, "text");
  return typed(column, mask(textOf(column, type)), type);
}

function textOf(column: string, type: MaskedType): string {
  const value = `(${column})::pg_catalog.text`;
  // Pattern functions fail on nondeterministic collations; the "C" collation serves all.
  return type.collation === undefined ? value : `(${value} COLLATE pg_catalog."C")`;
}

/** Alice Ng: A. N.; four words at most, for in a text of one-letter words nothing else would be hidden. */
function initials(value: string): string {
  const words = `pg_catalog.regexp_replace(${value}, '([^[:space:]])[^[:space:]]*[[:space:]]*', E'\\\\1. ', 'g')`;
  return `pg_catalog.rtrim(pg_catalog.left(pg_catalog.ltrim(${words}), 12))`;
}

/** alice@example.com: a***@example.com; a@example.com: ***@example.com; anything else is hidden whole. */
function email(value: string): string {
  const first = `COALESCE(pg_catalog.substring(${value}, '^([^@[:space:]]).+@[^@[:space:]]+$'), '')`;
  const domain = `pg_catalog.substring(${value}, '^[@[:space:]]*[^@[:space:]].*@([^@[:space:]]+)$')`;
  return `COALESCE(${concat(concat(first, "'***@'"), domain)}, '[redacted]')`;
}

function showFirst(value: string, count: number): string {
  const stars = `pg_catalog.repeat('*', ${minus(length(value), String(count))})`;
  return longerThan(value, count, concat(`pg_catalog.left(${value}, ${count})`, stars));
}

function showLast(value: string, count: number): string {
  const stars = `pg_catalog.repeat('*', ${minus(length(value), String(count))})`;
  return longerThan(value, count, concat(stars, `pg_catalog.right(${value}, ${count})`));
}

/** A value that is no longer than what would be shown is hidden whole. */
function longerThan(value: string, count: number, shown: string): string {
  const hidden = `pg_catalog.repeat('*', ${length(value)})`;
  return `CASE WHEN ${binary(length(value), ">", String(count))} THEN ${shown} ELSE ${hidden} END`;
}

// --- digests --------------------------------------------------------------------------------------------------

const HASH_LENGTH = 64;
const TOKEN_LENGTH = 16;

function hash(column: string, type: MaskedType): MaskSql {
  if (!TEXT_TYPES.has(type.name)) return unfit(type, "text");
  const room = capacity(type);
  if (room < HASH_LENGTH)
    return { ok: false, problem: `a hash has ${HASH_LENGTH} characters, the column ${room}` };
  return typed(column, hex(`pg_catalog.sha256(${utf8(textOf(column, type))})`), type);
}

/**
 * HMAC-SHA-256 (RFC 2104) written out, for Postgres has none built in. The key's inner and outer block stand
 * in the statement as constants; they belong to this prefix alone, and no other key can be had from them.
 */
function token(column: string, type: MaskedType, prefix: string, key: Buffer | undefined): MaskSql {
  if (key === undefined) return { ok: false, problem: "a token mask needs the secret key of the proxy" };
  const blocks = hmacBlocks(createHmac("sha256", key).update(`sluice token mask\0${prefix}`).digest());
  const digest = (value: string) => {
    const inner = `pg_catalog.sha256(${concat(bytes(blocks.inner), utf8(value))})`;
    return hex(`pg_catalog.sha256(${concat(bytes(blocks.outer), inner)})`);
  };
  const plain = `(${column})::pg_catalog.text`;
  if (TEXT_TYPES.has(type.name)) {
    const room = capacity(type);
    const needed = prefix.length + TOKEN_LENGTH;
    // A cut token would be the same for different people.
    if (room < needed) return { ok: false, problem: `a token has ${needed} characters, the column ${room}` };
    return typed(
      column,
      concat(text(prefix), `pg_catalog.left(${digest(textOf(column, type))}, ${TOKEN_LENGTH})`),
      type,
    );
  }
  switch (type.name) {
    case "uuid":
      return typed(column, `pg_catalog.left(${digest(plain)}, 32)`, type);
    case "int8":
      // 60 bits: never negative, and collisions are out of reach.
      return typed(
        column,
        `(${concat("'x'", `pg_catalog.left(${digest(plain)}, 15)`)})::pg_catalog.bit(60)`,
        type,
      );
    case "int4":
    case "int2":
      return {
        ok: false,
        problem: `a token of type ${type.sql} would be the same for different people: it has too few digits`,
      };
    default:
      return unfit(type, "text, uuid or bigint");
  }
}

function hmacBlocks(key: Buffer): { readonly inner: Buffer; readonly outer: Buffer } {
  // The key is shorter than SHA-256's block of 64 bytes: it is filled up with zeros.
  const block = Buffer.concat([key], 64);
  return {
    inner: block.map((byte) => byte ^ 0x36) as Buffer,
    outer: block.map((byte) => byte ^ 0x5c) as Buffer,
  };
}

// --- numbers --------------------------------------------------------------------------------------------------

const INTEGER_MAX: ReadonlyMap<string, bigint> = new Map([
  ["int2", 32_767n],
  ["int4", 2_147_483_647n],
  ["int8", 9_223_372_036_854_775_807n],
]);

function round(column: string, type: MaskedType, to: number): MaskSql {
  const largest = INTEGER_MAX.get(type.name);
  if (largest !== undefined) {
    if (!Number.isInteger(to) || to < 2) {
      return {
        ok: false,
        problem: `rounding ${type.sql} to ${to} shows the number itself; take a whole number above 1`,
      };
    }
    // The last multiple below the type's end: rounding up from there would be out of range.
    const bound = (largest / BigInt(to)) * BigInt(to);
    return typed(column, clamp(toMultiple(numericOf(column), decimal(to)), bound.toString()), type);
  }
  if (type.name === "numeric") return roundNumeric(column, type, to);
  if (type.name === "float4" || type.name === "float8") {
    const value = `(${column})::pg_catalog.float8`;
    const multiple = `(${decimal(to)})::pg_catalog.float8`;
    const absolute = `pg_catalog.abs(${value})`;
    const nearZero = binary(absolute, "<", binary(multiple, "/", "(4)::pg_catalog.float8"));
    const small = binary(absolute, "<", "(1e30)::pg_catalog.float8");
    const rounded = binary(`pg_catalog.round(${binary(value, "/", multiple)})`, "*", multiple);
    // At both ends of the type the quotient underflows or the product overflows, which would be an error.
    const zero = "(0)::pg_catalog.float8";
    return typed(column, `CASE WHEN ${nearZero} THEN ${zero} WHEN ${small} THEN ${rounded} END`, type);
  }
  return unfit(type, "integer, numeric and floating-point");
}

function roundNumeric(column: string, type: MaskedType, to: number): MaskSql {
  const rounded = toMultiple(numericOf(column), decimal(to));
  const [, precision, scale = "0"] = /\((\d+)(?:,(-?\d+))?\)$/.exec(type.sql) ?? [];
  if (precision === undefined) return typed(column, rounded, type);
  const step = 10 ** -Number(scale);
  if (to <= step) return { ok: false, problem: `rounding ${type.sql} to ${to} shows the number itself` };
  // numeric(5,2) ends at 999.99: what rounds up to 1000 stays at the last multiple below.
  const end = `pg_catalog.trunc(${binary(`(1e${Number(precision) - Number(scale)})::pg_catalog.numeric`, "-", `(1e${-Number(scale)})::pg_catalog.numeric`)}, ${Math.max(0, Number(scale))})`;
  const steps = `pg_catalog.trunc(${binary(end, "/", `(${decimal(to)})::pg_catalog.numeric`)})`;
  const bound = binary(steps, "*", `(${decimal(to)})::pg_catalog.numeric`);
  return typed(column, clamp(rounded, bound), type);
}

function numericOf(column: string): string {
  return `(${column})::pg_catalog.numeric`;
}

function toMultiple(value: string, to: string): string {
  const multiple = `(${to})::pg_catalog.numeric`;
  return binary(`pg_catalog.round(${binary(value, "/", multiple)})`, "*", multiple);
}

function clamp(value: string, bound: string): string {
  const end = `(${bound})::pg_catalog.numeric`;
  return `GREATEST(LEAST(${value}, ${end}), (OPERATOR(pg_catalog.-) ${end}))`;
}

/** A number as SQL reads it, without an exponent's surprises. */
function decimal(value: number): string {
  return value.toFixed(12).replace(/\.?0+$/, "");
}

// --- dates ----------------------------------------------------------------------------------------------------

const FIRST_DAY = "'0001-01-01'";
const LAST_DAY = "'9999-12-31'";

/**
 * The beginning of the year or month. For timestamptz in UTC, never in the session's time zone: who could
 * move the zone could see the month tip over, and so learn the exact moment.
 */
function truncateTime(column: string, type: MaskedType, to: "year" | "month"): MaskSql {
  switch (type.name) {
    case "date":
    case "timestamp": {
      const value = `(${column})::pg_catalog.timestamp`;
      return typed(column, withinYears(column, type.name, `pg_catalog.date_trunc('${to}', ${value})`), type);
    }
    case "timestamptz": {
      // timezone() both ways instead of date_trunc's third argument: both are immutable in every version.
      const utc = `pg_catalog.timezone('UTC', (${column})::pg_catalog.timestamptz)`;
      const cut = `pg_catalog.timezone('UTC', pg_catalog.date_trunc('${to}', ${utc}))`;
      return typed(column, withinYears(column, type.name, cut), type);
    }
    default:
      return unfit(type, "date, timestamp and timestamptz");
  }
}

/** Dates reach further than timestamps: what lies outside of common years is hidden, or it could fail. */
function withinYears(column: string, name: string, masked: string): string {
  const zone = name === "timestamptz" ? (day: string) => day.replace(/'$/, " UTC'") : (day: string) => day;
  const after = binary(column, ">=", `(${zone(FIRST_DAY)})::pg_catalog.${name}`);
  const before = binary(column, "<=", `(${zone(LAST_DAY)})::pg_catalog.${name}`);
  return `CASE WHEN (${after} AND ${before}) THEN ${masked} END`;
}

/** NULL stays NULL, anything else becomes the mask, and the type is the column's own. */
function typed(column: string, masked: string, type: MaskedType): MaskSql {
  const cast = `(CASE WHEN (${column}) IS NOT NULL THEN (${masked}) END)::${castType(type.sql)}`;
  return {
    ok: true,
    sql: type.collation === undefined ? `(${cast})` : `(${cast} COLLATE ${type.collation})`,
  };
}

function unfit(type: MaskedType, fits: string): MaskSql {
  return { ok: false, problem: `this mask is for ${fits} columns, not for ${type.sql}` };
}

/** Characters that fit into a text column. */
function capacity(type: MaskedType): number {
  // NAMEDATALEN less the terminating zero.
  if (type.name === "name") return 63;
  const modifier = /\((\d+)\)$/.exec(type.sql)?.[1];
  return modifier === undefined ? Number.POSITIVE_INFINITY : Number(modifier);
}
