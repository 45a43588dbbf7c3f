/**
 * Prints what a verdict costs that is not in the cache: parse, bind, judge, rewrite and verify.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/analyse.js
 */
import { readCatalog } from "../proxy/catalog/snapshot.ts";
import { analyse } from "../proxy/sql/analyse.ts";
import { bindStatement } from "../proxy/sql/bind/bind-statement.ts";
import { nothingAbsent } from "../proxy/sql/bind/environment.ts";
import { parseText, scanTokens } from "../proxy/sql/parse/parse-text.ts";
import type { Scope } from "../proxy/sql/scope.ts";
import { scopeFor, withDatabase } from "./database.ts";

/** 200 bytes: what an agent's screen asks. */
const SHORT = `SELECT c.id, c.name, c.email, t.id AS ticket, t.status, t.created_at FROM customers c
  JOIN tickets t ON t.customer_id = c.id WHERE c.id = 4711 AND t.status = 'open' ORDER BY t.created_at DESC LIMIT 50`;

/** 5 kB: what an object mapper or a report makes. */
const LONG = `WITH recent AS (SELECT customer_id, count(*) AS tickets FROM tickets GROUP BY customer_id)
SELECT c.id, c.name, c.email, c.phone, c.country, r.tickets${Array.from(
  { length: 25 },
  (_, n) =>
    `,\n  (SELECT count(*) FROM payments p${n} WHERE p${n}.customer_id = c.id AND p${n}.amount_cents BETWEEN ${n * 100} AND ${n * 100 + 99}) AS band_${n}`,
).join("")}
FROM customers c LEFT JOIN recent r ON r.customer_id = c.id
WHERE ${Array.from({ length: 15 }, (_, n) => `(c.country = 'DE' AND c.created_at > '2023-01-${n + 10}' AND c.name <> 'x${n}')`).join("\n   OR ")}
ORDER BY c.id LIMIT 100`;

/** Median of the microseconds that each of many calls takes. */
function median(call: () => unknown): number {
  for (let warm = 0; warm < 300; warm++) call();
  const times = Array.from({ length: 600 }, () => {
    const start = performance.now();
    call();
    return (performance.now() - start) * 1000;
  });
  return times.sort((a, b) => a - b)[times.length / 2] ?? 0;
}

/** Binds the text's one statement. */
function bindOf(sql: string, { catalog, searchPath }: Scope): () => unknown {
  const parsed = parseText(sql);
  const [statement] = parsed.ok ? parsed.statements : [];
  if (statement === undefined) throw new Error("not a statement");
  return () => bindStatement(statement.node, { catalog, searchPath, absent: nothingAbsent });
}

await withDatabase(async (client) => {
  const scope = scopeFor(await readCatalog(client));
  for (const [name, sql] of [
    ["short", SHORT],
    ["long", LONG],
  ] as const) {
    const verdict = analyse(sql, scope);
    if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
    const rewritten = verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
    console.log(`${name} (${sql.length} bytes, rewritten ${rewritten.length}):`);
    console.log(`  parse            ${median(() => parseText(sql)).toFixed(0)} µs`);
    console.log(`  parse, rewritten ${median(() => parseText(rewritten)).toFixed(0)} µs`);
    console.log(`  scan             ${median(() => scanTokens(sql)).toFixed(0)} µs`);
    console.log(`  bind             ${median(bindOf(sql, scope)).toFixed(0)} µs`);
    console.log(`  verdict          ${median(() => analyse(sql, scope)).toFixed(0)} µs`);
  }
});
