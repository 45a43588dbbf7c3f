/**
 * Runs the SELECTs of Postgres's regression tests over their own tables as they are, and as the analyser
 * rewrites them with masks that show the real value: every difference is printed. It takes a minute.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/differential.js
 */
import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { readCatalog } from "../proxy/catalog/snapshot.ts";
import type { TablePolicy } from "../proxy/policy/policy.ts";
import { analyse } from "../proxy/sql/analyse.ts";
import { mapPosition } from "../proxy/sql/position.ts";
import type { Scope } from "../proxy/sql/scope.ts";
import { isSystemSchema } from "../proxy/sql/system-relations.ts";
import { type CorpusStatement, groupOf, readCorpus } from "../test/sql/corpus.ts";
import { scopeFor, withDatabase } from "./database.ts";

/** What would take the objects away again, or reach beyond the database. */
const LEFT_OUT =
  /^\s*(?:--.*\n\s*)*(?:drop|alter (?:system|role|user|database)|truncate|delete|create (?:database|role|user|tablespace|subscription)|do|call|load)\b/i;
const SLOW = /pg_sleep|pg_terminate|generate_series\(1,\s*\d{6}/;

const corpus = await readCorpus("regress");
if (corpus === undefined) {
  console.log("The corpus is not here: say where it is by SLUICE_CORPUS.");
  process.exit(1);
}

await withDatabase(async (client) => {
  await load(client, corpus);
  // Temporary tables and a search_path that the tests have set would give names another meaning.
  await client.query("ROLLBACK");
  await client.query("DISCARD ALL");
  await client.query("SET statement_timeout = '2s'");
  const scope = seeingThrough(scopeFor(await readCatalog(client)));
  let [compared, different] = [0, 0];
  for (const { source, sql } of corpus) {
    if (groupOf(sql) !== "select" || SLOW.test(sql)) continue;
    const verdict = analyse(sql, scope);
    if (verdict.kind !== "rewrite" || verdict.statements.some(({ reads }) => reads.some(isView))) continue;
    const direct = await outcome(client, sql, (position) => position);
    if (!isDeepStrictEqual(direct, await outcome(client, sql, (position) => position))) continue;
    const { sql: text, edits } = verdict;
    const rewritten = await outcome(client, text.toString(), (position) =>
      mapPosition(Buffer.from(sql), text, edits, position),
    );
    compared++;
    if (isDeepStrictEqual(direct, rewritten)) continue;
    different++;
    console.log(`${source}: ${sql}\n  as it is:  ${short(direct)}\n  rewritten: ${short(rewritten)}`);
  }
  console.log(`${compared} compared, ${different} different`);

  // A view's column has no condition of its own: it is masked for good.
  function isView(key: string): boolean {
    return scope.catalog.relations.get(key)?.lineage !== undefined;
  }
});

async function load(client: pg.Client, statements: readonly CorpusStatement[]): Promise<void> {
  await client.query("SET statement_timeout = '2s'");
  for (const { sql } of statements) {
    if (LEFT_OUT.test(sql) || !["definition", "write"].includes(groupOf(sql))) continue;
    // Many are meant to fail.
    await client.query(sql).catch(() => undefined);
  }
}

/** Every column of every table has a class, which the role sees in all rows: wrapped, and yet the real value. */
function seeingThrough(base: Scope): Scope {
  const place = { file: "differential", line: 1, column: 1 };
  const tables = new Map<string, TablePolicy>();
  for (const [name, { schema, columns }] of base.catalog.relations)
    if (!isSystemSchema(schema))
      tables.set(name, {
        ...{ name, documents: new Map(), place },
        columns: new Map(columns.map((column) => [column.name, "all"])),
      });
  const classes = new Map([["all", { name: "all", mask: { kind: "null" } as const, cost: 1, place }]]);
  return {
    ...base,
    // Operators that the tests make over built-in types would refuse most statements.
    catalog: { ...base.catalog, operatorsOutside: new Map() },
    policy: { ...base.policy, classes, tables },
    role: {
      ...base.role,
      sees: new Map([["all", { sql: "true", place }]]),
      limits: { onExcess: "error", pushed: false },
    },
  };
}

async function outcome(
  client: pg.Client,
  text: string,
  place: (position: number) => number | undefined,
): Promise<unknown> {
  await client.query("BEGIN; SELECT pg_catalog.setseed(0.5); SET TRANSACTION READ ONLY");
  try {
    const result = await client.query({ text, rowMode: "array" });
    // Without ORDER BY another plan may give another order.
    return [result].flat().map(({ fields, rows }: pg.QueryArrayResult) => ({
      columns: fields.map(({ name, dataTypeID }) => [name, dataTypeID]),
      rows: rows.map((row) => JSON.stringify(row)).sort(),
    }));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    // A qualified name is told with its schema: the code and the place must be the same.
    const { code, position } = error;
    return { code, position: position === undefined ? undefined : place(Number(position)) };
  } finally {
    await client.query("ROLLBACK");
  }
}

function short(result: unknown): string {
  return JSON.stringify(result).slice(0, 200);
}
