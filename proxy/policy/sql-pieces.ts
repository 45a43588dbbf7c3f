/* Parts of SQL for masks. Each name has its schema, and each operator its parentheses: see masks/mask.ts. */

import { quoteLiteral } from "../pg/quote.ts";

/** Type names that the grammar itself turns into a type of pg_catalog; `pg_catalog.integer` does not exist. */
const GRAMMAR_TYPES: ReadonlySet<string> = new Set(
  "bigint bit boolean character decimal double integer interval numeric real smallint time timestamp varchar".split(
    " ",
  ),
);

/**
 * A type name from `format_type`, made safe under any search_path: `format_type` omits the schema if the control
 * connection's own search_path finds the type.
 */
export function castType(type: string): string {
  const first = /^[a-z_][a-z0-9_]*/.exec(type)?.[0];
  const rest = type.slice(first?.length ?? 0);
  if (type === '"char"' || type === '"char"[]') return `pg_catalog.${type}`;
  if (first === undefined || rest.startsWith(".") || GRAMMAR_TYPES.has(first)) return type;
  return `pg_catalog.${type}`;
}

export function binary(left: string, operator: string, right: string): string {
  return `((${left}) OPERATOR(pg_catalog.${operator}) (${right}))`;
}

export function concat(left: string, right: string): string {
  return binary(left, "||", right);
}

export function minus(left: string, right: string): string {
  return binary(left, "-", right);
}

export function length(value: string): string {
  return `pg_catalog.char_length(${value})`;
}

export function utf8(value: string): string {
  return `pg_catalog.convert_to(${value}, 'UTF8')`;
}

export function hex(value: string): string {
  return `pg_catalog.encode(${value}, 'hex')`;
}

export function bytes(value: Buffer): string {
  return `pg_catalog.decode('${value.toString("hex")}', 'hex')`;
}

/** A literal that has the same value whether `standard_conforming_strings` is on or off. */
export function text(value: string): string {
  return `(${quoteLiteral(value)})::pg_catalog.text`;
}
