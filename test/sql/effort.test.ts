import { afterAll, beforeAll, expect, test } from "vitest";
import { type Judged, openJudged } from "./judged.ts";

/*
 * A statement is analysed on the event loop: during that time no other session of the process is served. Each of these
 * texts is shorter than the limit, and used to take from several seconds to some minutes.
 */

/** Milliseconds. For refused texts most of the time is Postgres's parser; slow machines need some room. */
const SOON = 10_000;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged.close());

/** As many as fit into 250 kB. */
function many(make: (i: number) => string, between: string): string {
  const parts: string[] = [];
  for (let length = 0, i = 0; length < 250_000; i++) {
    const part = make(i);
    length += part.length + between.length;
    if (length < 250_000) parts.push(part);
  }
  return parts.join(between);
}

function names(count: number, make: (i: number) => string, between = ", "): string {
  return Array.from({ length: count }, (_, i) => make(i)).join(between);
}

const chain = (count: number, column: string) =>
  `SELECT 1 FROM ${names(count, (i) => `tickets a${i}`)} WHERE a0.${column} = 1 AND ` +
  names(count - 1, (i) => `a${count - 1 - i}.${column} = a${count - 2 - i}.${column}`, " AND ");

test.each([
  ["relations without end", `SELECT 1 FROM ${many((i) => `tickets a${i}`, ",")}`],
  ["a long chain of joins", chain(1_500, "id")],
  [
    "WITH queries on each other",
    `WITH w0 AS (SELECT 1)${many((i) => `, w${i + 1} AS (TABLE w${i})`, "")} TABLE w9`,
  ],
  [
    "subqueries side by side",
    `SELECT 1 WHERE ${many(() => "EXISTS (SELECT FROM tickets WHERE id = 1)", " AND ")}`,
  ],
  [
    "stars of many relations",
    `SELECT ${names(100_000, () => "*", ",")} FROM ${names(250, (i) => `tickets a${i}`)}`,
  ],
  [
    "a name that many relations have",
    `SELECT ${names(40_000, () => "id", ",")} FROM ${names(250, (i) => `tickets a${i}`)}`,
  ],
  [
    "a name that none of many has",
    `SELECT ${names(40_000, () => "zz", ",")} FROM ${names(250, (i) => `tickets a${i}`)}`,
  ],
  [
    "the same from further out",
    `SELECT (SELECT (SELECT (${names(40_000, () => "zz", "+")}))) FROM ${names(250, (i) => `tickets a${i}`)}`,
  ],
  [
    "stars of RETURNING",
    `UPDATE tickets SET status = 'x' WHERE id = 1 RETURNING ${names(120_000, () => "*", ",")}`,
  ],
  ["statements without end", many(() => "SELECT 1 FROM tickets", ";")],
  ["many short chains in one text", names(20, () => chain(280, "id"), ";")],
  ["comments in comments", `SELECT 1 ${"/*".repeat(100_000)}${"*/".repeat(25_000)}`],
])("a text of %s is refused soon", (_, sql) => {
  expect(Buffer.byteLength(sql)).toBeLessThan(256 * 1024 + 2_000);
  const start = performance.now();
  const verdict = judged.judge("anna", sql);
  expect(verdict).toMatchObject({ kind: "refuse", refusal: { sqlstate: "54001" } });
  expect(performance.now() - start).toBeLessThan(SOON);
});

test.each([
  ["a chain of as many joins as are taken", chain(290, "customer_id")],
  [
    "one equality over and over",
    `SELECT 1 FROM tickets a, tickets b WHERE ${many(() => "a.id = b.id", " AND ")}`,
  ],
  [
    "one lookup over and over",
    `SELECT id FROM customers WHERE ${names(2_000, () => "email = 'x'", " AND ")}`,
  ],
  ["a comment of asterisks", `SELECT 1 /${"*".repeat(200_000)}/`],
  ["openings of comments in a string", `SELECT '${"/* ".repeat(60_000)}'`],
])("a text of %s is judged soon", (_, sql) => {
  const start = performance.now();
  expect(judged.judge("anna", sql).kind).not.toBe("refuse");
  expect(performance.now() - start).toBeLessThan(SOON);
});
