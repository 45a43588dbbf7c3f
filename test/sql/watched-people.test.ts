import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { extraFields } from "../../proxy/sql/verdict.ts";
import { entropy, selects } from "../attack/grammar.ts";
import { Draw } from "../harness/draw.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/*
 * Each protected value of a watched account's database says whose it is. Where nothing of a row is charged by its size, the row
 * must name everybody whose values are in it, and the client gets the rows that it would get of the server.
 */

const RUNS = Number(process.env.SLUICE_WATCHED_RUNS ?? 60);
const SEED = process.env.SLUICE_ATTACK_SEED;

const OWNED = `
  UPDATE customers SET name = '~p' || id || '~', email = '~p' || id || '~e', phone = '~p' || id || '~', address = '~p' || id || '~';
  UPDATE tickets SET subject = '~p' || customer_id || '~', body = '~p' || customer_id || '~b';
  UPDATE payments SET card_number = '~p' || customer_id || '~';
  UPDATE contact_log SET email = '~p' || customer_id || '~';
  ANALYZE;
`;

let judged: Judged;
let client: pg.Client;
beforeAll(async () => {
  const policy = POLICY.replace("sees: all\n", "sees: all\n    watch: true\n");
  judged = await openJudged({ policy, setup: OWNED });
  client = new pg.Client({ connectionString: judged.database.uri });
  await client.connect();
  await client.query("SET statement_timeout = '2s'");
});
afterAll(async () => {
  await client?.end();
  await judged?.close();
});

const ROWS = [
  ["c", "customers c", ["c.name", "c.email", "c.id::text", "c.country"], "c.id"],
  ["t", "tickets t", ["t.subject", "t.body", "t.customer_id::text", "t.status"], "t.customer_id"],
  ["p", "payments p", ["p.card_number", "p.customer_id::text"], "p.customer_id"],
] as const;

/** A query whose rows have a text `x` and a number `k`, which may be a person's key. */
function gathering(draw: Draw, depth: number): string {
  const from = draw.many(2, () => source(draw, depth));
  const names = from.map((_, i) => `s${i}`);
  const sides = from.map((sql, i) => `(${sql}) ${names[i]}`);
  const on = draw.of([
    `${names.map((name) => `${name}.k`).join(" = ")}${names.length === 1 ? " = s0.k" : ""}`,
    "true",
    `s0.k = ${1 + draw.below(5)}`,
  ]);
  const join = draw.of(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT JOIN LATERAL"]);
  const joined =
    sides.length === 1
      ? sides[0]
      : `${sides[0]} ${join} ${sides[1]} ON ${join === "FULL JOIN" ? "s0.k = s1.k" : on}`;
  const name = draw.of(names);
  const where = draw.chance(60)
    ? ` WHERE ${draw.of(names)}.k ${draw.of(["= 3", "< 4", "IN (2, 3)", "> 996"])}`
    : "";
  const x = draw.of([
    `${name}.x`,
    `json_agg(${name}.x)::text`,
    `string_agg(${name}.x, ',')`,
    `string_agg(${name}.x, ',') FILTER (WHERE ${name}.k > 2)`,
    `string_agg(${name}.x, ',') OVER ()`,
    `lag(${name}.x) OVER (ORDER BY ${name}.k)`,
    `max(${name}.x)`,
    `row_to_json(${name})::text`,
    `(SELECT string_agg(z.subject, ',') FROM tickets z WHERE z.customer_id = ${name}.k)`,
    `(SELECT z.name FROM customers z WHERE z.id = ${name}.k + ${draw.below(2)})`,
    `array_to_string(ARRAY(SELECT z.name FROM customers z WHERE z.id < ${name}.k LIMIT 2), ',')`,
  ]);
  const isGathered = /^(json_agg|string_agg|max).*(?<!OVER \(\))$/.test(x);
  const key = isGathered ? draw.of([`min(${name}.k)`, `${name}.k`, "count(*)"]) : `${name}.k`;
  const group = isGathered && key === `${name}.k` ? ` GROUP BY ${draw.of([key, `ROLLUP (${key})`])}` : "";
  const distinct = isGathered ? "" : draw.of(["", "", "", "DISTINCT ", `DISTINCT ON (${name}.k) `]);
  const limit = draw.chance(15) ? " ORDER BY 1, 2 LIMIT 3" : "";
  return `SELECT ${distinct}${x} AS x, ${key} AS k FROM ${joined}${where}${group}${limit}`;
}

function source(draw: Draw, depth: number): string {
  if (depth > 0 && draw.chance(40)) return gathering(draw, depth - 1);
  const [, table, columns, key] = draw.of(ROWS);
  const inner = `SELECT ${draw.of(columns)} AS x, ${draw.of([key, key, key, "1", `${key} + 1`])} AS k FROM ${table} WHERE ${key} < 9`;
  return draw.chance(10) ? `${inner} UNION ALL SELECT name, id FROM customers WHERE id < 3` : inner;
}

const gatherings = entropy.map((choices) => {
  const draw = new Draw(choices);
  const sql = gathering(draw, 2);
  if (draw.chance(20))
    return `WITH w AS (${sql}) SELECT ${draw.of(["*", "json_agg(w)::text", "w.x"])} FROM w`;
  return draw.chance(20)
    ? `SELECT ${draw.of(["json_agg(o)", "o.x", "DISTINCT o.x", "o"])} FROM (${sql}) o`
    : sql;
});

const parameters = { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) };

test.each([
  ["from the grammar of the attacks", selects],
  ["that gather, number and pass on", gatherings],
] as const)(
  "each row of statements %s names all whose values it shows",
  async (_, statements) => {
    await fc.assert(
      fc.asyncProperty(statements, async (sql) => {
        const people = await peopleOf(sql);
        if (people === undefined) return;
        for (const { shown, told } of people) {
          const untold = [...shown].filter((person) => !told.has(person));
          expect(untold, sql).toEqual([]);
        }
      }),
      parameters,
    );
  },
  Math.max(60_000, RUNS * 200),
);

test.each([
  "SELECT x FROM (SELECT name AS x, id FROM customers WHERE id < 4) s",
  // Postgres 16 and newer sort a group's rows for an aggregate with DISTINCT.
  "SELECT json_agg(s.x) FROM (SELECT name AS x, id FROM customers WHERE id < 13 ORDER BY id DESC) s",
  "SELECT country, string_agg(s.x, ',') FROM (SELECT name AS x, id, country FROM customers WHERE id < 13 ORDER BY id DESC) s GROUP BY country",
  "SELECT c.*, count(t.id) FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id WHERE c.id < 9 GROUP BY c.id ORDER BY c.id DESC",
  "SELECT t.*, count(*) FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE c.id < 9 GROUP BY t.id ORDER BY t.id LIMIT 5",
])("and by name, in the order of the client's own rows: %s", async (sql) => {
  const rows = await peopleOf(sql);
  expect(rows?.length).toBeGreaterThan(0);
  for (const { shown, told } of rows ?? []) {
    expect(shown.size).toBeGreaterThan(0);
    expect([...told].toSorted()).toEqual([...shown].toSorted());
  }
});

/** Of each row, whose values it shows and whom it names. Undefined: it is charged by its size, or the server refuses it. */
async function peopleOf(sql: string) {
  const verdict = judged.judge("helpdesk_app", sql);
  const [statement] = verdict.statements;
  if (verdict.kind === "refuse" || statement === undefined) return undefined;
  const sent = verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
  const [rows, plain] = [await rowsOf(sent), await rowsOf(sql)];
  expect(typeof rows, sql).toBe(typeof plain);
  if (rows === undefined || plain === undefined) return undefined;
  const extra = extraFields(statement);
  const texts = rows.map((row) => JSON.stringify(row.slice(0, row.length - extra)));
  if (!/LIMIT|DISTINCT ON|OVER|LATERAL/.test(sql))
    expect(texts.toSorted(), sql).toEqual(plain.map((row) => JSON.stringify(row)).toSorted());
  const { metering } = statement;
  if (metering !== undefined && (metering.unknown > 0 || metering.price?.bySize === true)) return undefined;
  return rows.map((row, i) => {
    const fields = row.slice(row.length - extra).map((field) => (typeof field === "string" ? field : ""));
    const told = metering?.groups === undefined ? fields : fields.flatMap(namesIn);
    const shown = [...(texts[i] ?? "").matchAll(/~p(\d+)~/g)].map(([, person]) => person ?? "");
    return { shown: new Set(shown), told: new Set(told) };
  });
}

function namesIn(field: string): readonly string[] {
  const names: unknown = field === "" ? [] : JSON.parse(field);
  return Array.isArray(names) ? names.map(String) : [];
}

async function rowsOf(text: string): Promise<readonly unknown[][] | undefined> {
  try {
    const { rows } = await client.query<unknown[]>({ text, rowMode: "array" });
    return rows;
  } catch (error) {
    if (error instanceof pg.DatabaseError) return undefined;
    throw error;
  }
}
