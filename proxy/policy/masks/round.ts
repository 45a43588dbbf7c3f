import { z } from "zod";
import { binary } from "../sql-pieces.ts";
import { type Masked, type MaskedType, type MaskSql, maskKind, typed, unfit } from "./mask.ts";

export const round = maskKind("round", {
  mapping: {
    key: "round",
    value: z
      .number({ error: "A number above 0." })
      .min(1e-6, { error: "A number from 0.000001 to 1e12." })
      .max(1e12, { error: "A number from 0.000001 to 1e12." }),
    compile: (to) => ({ kind: "round", to }),
  },
  examples: [{ round: 1000 }],
  about: "To a multiple of the number.",
  fits: "integer, numeric and floating-point",
  sql: ({ to }, masked) => rounded(to, masked),
  text: ({ to }) => `rounded to ${to}`,
});

const INTEGER_MAX: ReadonlyMap<string, bigint> = new Map([
  ["int2", 32_767n],
  ["int4", 2_147_483_647n],
  ["int8", 9_223_372_036_854_775_807n],
]);

function rounded(to: number, { column, type }: Masked): MaskSql {
  const largest = INTEGER_MAX.get(type.name);
  if (largest !== undefined) {
    if (!Number.isInteger(to) || to < 2) {
      return {
        ok: false,
        problem: `rounding ${type.sql} to ${to} shows the number itself; take a whole number above 1`,
      };
    }
    // The last multiple below the type's maximum: rounding up beyond it would be out of range.
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
    // At both ends of the type the quotient underflows or the product overflows, which would raise an error.
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
  // numeric(5,2) ends at 999.99: a value that would round up to 1000 stays at the last multiple below.
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

/** A number in SQL notation without an exponent. */
function decimal(value: number): string {
  return value.toFixed(12).replace(/\.?0+$/, "");
}
