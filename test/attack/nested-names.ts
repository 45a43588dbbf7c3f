import { Draw } from "../harness/draw.ts";
import { entropy, LACKING, TABLES } from "./grammar.ts";

/**
 * Writes whose subqueries name columns without saying of what: of their own relations, of the write's target, of both,
 * of none. Most of them are allowed, as the target's protected columns are seldom named where they are surely meant.
 */
export const nestedWrites = entropy.map((choices) => {
  const draw = new Draw(choices);
  const made = write(draw);
  return draw.chance(15) ? `WITH w AS (${made}) SELECT 1 FROM w` : made;
});

/** The clear columns of what is written; the protected ones have names that other relations have as well. */
const TARGETS: Readonly<Record<string, readonly string[]>> = {
  customers: ["id", "country", "birth_date"],
  tickets: ["id", "customer_id", "status", "region"],
};
const SETTABLE: Readonly<Record<string, string>> = { customers: "country", tickets: "status" };
const SOURCES = ["contacts", "places", "contacts", "places", "contact_log", "payments", "notes", "shops"];
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(
    Object.entries({ ...TABLES, ...LACKING }).map(([name, columns]) => [
      name,
      columns.map((each) => each.name),
    ]),
  ),
  notes: ["id", "body"],
  shops: ["id", "phone", "name", "t"],
};
const NAMES = [
  "email",
  "phone",
  "name",
  "address",
  "subject",
  "body",
  "t",
  "customers",
  "card_number",
  "note",
];
const ALIASES = ["t", "c", "customers", "email", "phone", "contacts", "note"];

function write(draw: Draw): string {
  const table = draw.of(Object.keys(TARGETS));
  const alias = draw.chance(50) ? draw.of(ALIASES) : table;
  const clear = TARGETS[table] ?? [];
  const name = alias === table ? table : `${table} AS "${alias}"`;
  const where = `WHERE "${alias}".id IN (7, 8)${draw.chance(40) ? ` AND ${condition(draw, clear, 0)}` : ""}`;
  const items = draw.many(2, () =>
    draw.chance(25)
      ? draw.of(["*", `"${alias}".*`, draw.of(clear), draw.of(NAMES)])
      : `(${subquery(draw, clear, 0)}) AS r`,
  );
  const returning = draw.chance(85) ? ` RETURNING ${items.join(", ")}` : "";
  if (table === "tickets" && draw.chance(30)) return `DELETE FROM ${name} ${where}${returning}`;
  const value = draw.chance(30) ? `(SELECT max(note) FROM places WHERE ${condition(draw, clear, 1)})` : "'x'";
  return `UPDATE ${name} SET ${SETTABLE[table]} = ${value} ${where}${returning}`;
}

function subquery(draw: Draw, outer: readonly string[], depth: number): string {
  const { sql, columns } = source(draw, outer, depth);
  const names = [...columns, ...columns, ...outer, ...(draw.chance(50) ? NAMES : [])];
  const value = expression(draw, names);
  const where = draw.chance(40) ? ` WHERE ${condition(draw, names, depth + 1)}` : "";
  switch (draw.below(6)) {
    case 0:
      return `SELECT ${value} FROM ${sql}${where} ORDER BY ${draw.of(names)} LIMIT 1`;
    case 1:
      return `SELECT max((${value})::text) FROM ${sql}${where}`;
    case 2:
      return `SELECT min(${draw.of(columns)}::text) FROM ${sql}${where} GROUP BY ${draw.of(columns)} HAVING max(${draw.of(names)}::text) > 'a' LIMIT 1`;
    case 3:
      return `SELECT ${value} AS ${draw.of(NAMES)} FROM ${sql}${where} UNION ALL SELECT NULL LIMIT 1`;
    default:
      return `SELECT ${value} FROM ${sql}${where} LIMIT 1`;
  }
}

function source(
  draw: Draw,
  outer: readonly string[],
  depth: number,
): { sql: string; columns: readonly string[] } {
  const table = draw.of(SOURCES);
  const columns = COLUMNS[table] ?? [];
  const alias = draw.of(ALIASES);
  switch (depth >= 2 ? 6 : draw.below(8)) {
    case 0: {
      const name = draw.of([...columns, ...NAMES]);
      return { sql: `(SELECT id, ${name} FROM ${table}) AS "${alias}"`, columns: ["id", name] };
    }
    case 1:
      return {
        sql: `(${subquery(draw, outer, depth + 1)}) AS "${alias}" (${draw.of(NAMES)})`,
        columns: [draw.of(NAMES)],
      };
    case 2:
      return { sql: `${table} JOIN notes USING (id)`, columns: [...columns, "body"] };
    case 3:
      return { sql: `${table} NATURAL JOIN ${draw.of(SOURCES)} AS "${alias}"`, columns };
    case 4:
      return { sql: `(${table} JOIN notes ON true) AS "${alias}"`, columns };
    case 5:
      return { sql: `${table} AS "${alias}", LATERAL (SELECT ${draw.of(columns)}) AS l`, columns };
    case 6:
      return { sql: table, columns };
    default:
      return { sql: `${table} AS "${alias}"`, columns };
  }
}

function expression(draw: Draw, names: readonly string[]): string {
  const name = draw.of(names);
  switch (draw.below(6)) {
    case 0:
      return `upper((${name})::text)`;
    case 1:
      return `coalesce(${name}::text, 'none')`;
    case 2:
      return `"${draw.of(ALIASES)}".${name}`;
    case 3:
      return draw.of(ALIASES);
    default:
      return name;
  }
}

function condition(draw: Draw, names: readonly string[], depth: number): string {
  switch (depth >= 2 ? draw.below(2) : draw.below(4)) {
    case 0:
      return `${expression(draw, names)} IS NOT NULL`;
    case 1:
      return `(${draw.of(names)})::text <> 'a'`;
    case 2:
      return `EXISTS (${subquery(draw, names, depth + 1)})`;
    default:
      return `(${subquery(draw, names, depth + 1)}) IS NULL`;
  }
}
