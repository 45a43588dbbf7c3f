import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Catalog, relationKey } from "../../proxy/catalog/catalog.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { parseText } from "../../proxy/sql/parse/parse-text.ts";
import { type Attack, INFERENCE, READS, ROWS, WRITES } from "../attack/cases.ts";
import { COLUMNS, formsOf } from "../attack/more-cases.ts";
import { serverUri } from "../harness/postgres.ts";
import { type CorpusStatement, imagine, readCorpus } from "../sql/corpus.ts";
import { type Agent, openAgent } from "../sql/same.ts";
import { namedByWitness } from "./witness.ts";

/** What the analyser lets through, another grammar must see to read the same relations. */

let agent: Agent;
beforeAll(async () => {
  agent = await openAgent(serverUri());
});
afterAll(() => agent.close());

/** Statements of real clients: a sample of those in the corpus. */
const sample = (await readFile(new URL("statements.jsonl", import.meta.url), "utf8"))
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as CorpusStatement);
const corpus = await readCorpus("clients");

const attacks = ([...READS, ...ROWS, ...INFERENCE, ...WRITES] as readonly Attack[]).flat();
const forms = COLUMNS.flatMap(([relation, column]) => formsOf(relation, column));

test("the attacks that are let through read what they seem to read", () => {
  expect(compareAll([...attacks, ...forms])).toBeGreaterThan(250);
});

test("so do the statements of clients", () => {
  expect(compareAll(sample.map(({ sql }) => sql))).toBeGreaterThan(140);
});

test.skipIf(corpus === undefined)("and all others of the corpus", () => {
  expect(compareAll((corpus ?? []).map(({ sql }) => sql))).toBeGreaterThan(500);
});

test("the comparison can fail: a witness to one relation more is heard", () => {
  const mine = new Set(["public.customers"]);
  const both = new Set(["public.customers", "public.tickets"]);
  expect(explained("SELECT * FROM customers, tickets", mine, both)).toBe(false);
  expect(explained("SELECT * FROM customers, tickets", both, mine)).toBe(false);
});

/** Compares what both can read, and gives their number. */
function compareAll(statements: readonly string[]): number {
  let compared = 0;
  const unexplained: string[] = [];
  for (const sql of statements) {
    const catalog = imagine(agent.scope.catalog, sql);
    const role = {
      ...agent.scope.role,
      writes: "all" as const,
      limits: { onExcess: "error" as const, pushed: false },
      budget: [],
    };
    const verdict = analyse(sql, { ...agent.scope, catalog, role });
    const theirs = verdict.kind === "refuse" ? undefined : namedByWitness(sql);
    if (theirs === undefined) continue;
    compared++;
    const mine = new Set(verdict.statements.flatMap(({ reads, writes }) => [...reads, ...writes]));
    const others = new Set([...theirs].filter((name) => !isOfSystem(catalog, name)));
    if (!explained(sql, mine, others))
      unexplained.push(`${sql}\nSluice: ${[...mine]}\nwitness: ${[...others]}`);
  }
  expect(unexplained).toEqual([]);
  return compared;
}

/** A verdict does not name what is read of the server's own schemas. */
function isOfSystem({ relations }: Catalog, name: string): boolean {
  const [schema, relation] = name.split(".", 2);
  if (schema === "pg_catalog" || schema === "information_schema") return true;
  return schema === "public" && relations.has(relationKey("pg_catalog", relation ?? ""));
}

/** Where they disagree, who is right: each time it is Sluice, for these reasons. */
function explained(sql: string, mine: ReadonlySet<string>, theirs: ReadonlySet<string>): boolean {
  // The witness keeps the case of names without quotes; Postgres folds it (docs, "Identifiers and Key Words").
  const folded = new Set([...theirs].map((name) => name.toLowerCase()));
  const own = new Set([...mine].map((name) => name.toLowerCase()));
  // The witness takes a WITH query's name for a table where it is used.
  const queries = namesOfQueries(sql);
  const more = [...folded].filter((name) => !own.has(name) && !queries.has(name.replace("public.", "")));
  const fewer = [...own].filter((name) => !folded.has(name));
  return more.length === 0 && (fewer.length === 0 || OVERLOOKED.has(sql));
}

/** The witness reads these, and overlooks a relation between parentheses. */
const OVERLOOKED: ReadonlySet<string> = new Set([
  "SELECT email FROM ONLY/* ( */(/* ) */customers/**/)WHERE id = 7",
  'SELECT email FROM\tONLY\n( -- (\n public . "customers" ) WHERE id = 7',
  "SELECT j.* FROM (customers JOIN tickets ON customers.id = tickets.customer_id) AS j WHERE j.customer_id = 7",
  "SELECT c.email FROM ((customers c CROSS JOIN (VALUES (1)) v)) WHERE c.id = 7",
]);

/** The names of a statement's WITH queries, by Postgres's own parser. */
function namesOfQueries(sql: string): ReadonlySet<string> {
  const names = new Set<string>();
  const look = (value: unknown): void => {
    if (value === null || typeof value !== "object") return;
    const { ctename } = value as { readonly ctename?: unknown };
    if (typeof ctename === "string") names.add(ctename.toLowerCase());
    for (const child of Object.values(value)) look(child);
  };
  const parsed = parseText(sql);
  if (parsed.ok) look(parsed.statements.map(({ node }) => node));
  return names;
}
