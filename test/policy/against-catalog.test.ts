import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { checkPolicy } from "../../proxy/check/check.ts";
import { policyCheck } from "../../proxy/commands/policy-check.ts";
import { checkAgainstCatalog, maskedType } from "../../proxy/policy/against-catalog.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { maskSql } from "../../proxy/policy/masks/all.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";

let database: TestDatabase;
let catalog: Catalog;

beforeAll(async () => {
  database = await freshDatabase("against");
  await database.query(`
    CREATE DOMAIN short_text AS varchar(20) CHECK (VALUE <> 'x');
    CREATE TYPE mood AS ENUM ('calm', 'angry');
    CREATE TABLE customers (
      id int PRIMARY KEY, email text, code varchar(10), nick short_text NOT NULL, mood mood, born date, tags text[]
    );
    CREATE TABLE tickets (id int PRIMARY KEY, customer_id int, body text, assignee text);
    CREATE TABLE notes (customer_id int, body text);
    CREATE FUNCTION alike(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = alike);
    CREATE OPERATOR ~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = alike);
    CREATE FUNCTION mine(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
  `);
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  try {
    catalog = await readCatalog(client);
  } finally {
    await client.end();
  }
});

afterAll(() => database?.drop());

/** `line severity message` of each difference. */
function differences(text: string): readonly string[] {
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\n${text}` }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  const problems = checkAgainstCatalog(compiled.policies.forDatabase("any"), catalog);
  return problems.map(({ place, severity, message }) => `${place.line} ${severity}: ${message}`);
}

test("a policy that matches the database has no differences", () => {
  expect(
    differences(`classes: { email: { mask: email }, text: { mask: redact }, born: { mask: year } }
tables:
  public.customers: { subject: id, columns: { email: email, born: born } }
  public.tickets: { subject: customer_id, columns: { body: text } }
roles:
  agent:
    reads: [public.customers, public.tickets, public.*]
    sees: [text: { when: "lower(assignee) = :user AND id IN (SELECT t.id FROM public.tickets t) AND public.mine(body)" }]
    require_filter: [public.customers]
    only: { public.tickets: "customer_id > 7" }
    calls: [{ public.mine: shown }]
`),
  ).toEqual([]);
});

test.each([
  ["body === 'x'", "==="],
  ["id IN (1, 2) AND assignee ~~~ 'a'", "~~~"],
  ["EXISTS (SELECT 1 FROM public.tickets t WHERE t.body === 'x')", "==="],
])("a condition that may use a user-defined operator is an error: %s", (condition, operator) => {
  expect(
    differences(`roles:\n  agent:\n    reads: all\n    only: { public.tickets: "${condition}" }\n`),
  ).toEqual([
    `5 error: the filter of public.tickets may mean the operator public.${operator}, which runs code of a user's`,
  ]);
});

test("an operator written with its schema is the policy's own choice", () => {
  expect(
    differences(
      "roles:\n  agent:\n    reads: all\n    only: { public.tickets: \"body OPERATOR(public.===) 'x'\" }\n",
    ),
  ).toEqual([]);
});

test("a function whose result the role may not see is reported, because it cannot be called", () => {
  expect(differences("roles:\n  agent:\n    calls: [public.mine]\n")).toEqual([
    '3 warning: role "agent" may call public.mine, but not see what it returns, and so not call it',
  ]);
});

test("names in the policy that the database lacks are reported with their line", () => {
  expect(
    differences(`classes: { email: { mask: email } }
tables:
  public.customer: { subject: id }
  public.customers: { subject: idd, columns: { emial: email } }
roles:
  agent:
    reads: [public.ticket, crm.*, public.notes]
    writes: [public.tickets]
    require_filter: [public.notes]
    only: { public.tickets: "asignee = :user" }
    calls: [public.yours]
`),
  ).toEqual([
    `4 error: database "${catalog.database}" has no table public.customer`,
    '5 error: the column "emial" is not in public.customers',
    '5 error: the subject "idd" is not in public.customers',
    '7 warning: role "agent" may call public.yours, which is not there',
    `7 warning: role "agent" names public.ticket, which is not in "${catalog.database}"`,
    '7 warning: role "agent" names the schema "crm", which is not there',
    '7 warning: role "agent" needs a condition on an indexed column of public.notes, which has no index',
    '11 error: the filter of public.tickets names "asignee", which is not a column of it',
  ]);
});

/** The hints of the differences, by message. */
function hints(text: string): readonly string[] {
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\n${text}` }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  return checkAgainstCatalog(compiled.policies.forDatabase("any"), catalog).map(({ hint }) => hint);
}

test("a misspelt table's hint says what is exposed of the real one", () => {
  const policy = (more: string, roles = "agent: { reads: all }") =>
    `tables: { public.custmers: { subject: id } }\nroles: { ${roles} }\n${more}`;
  const meant = 'Did you mean "public.customers"?';
  const advice = "Correct the name, or write allow_missing: true if the table is made later.";
  expect(hints(policy(""))).toEqual([
    `${meant} It has no entry of its own: its columns without a class are shown in the clear to "agent", and its rows count no one. ${advice}`,
  ]);
  expect(hints(policy("unclassified: mask\n"))[0]).toContain(
    'are NULL to "agent", and its rows count no one.',
  );
  expect(hints(policy("unclassified: deny\n"))[0]).toContain('may not be read by "agent"');
  expect(hints(policy("", "app: { reads: all, sees: all }"))[0]).toContain(
    "nothing protects it once a role reads it",
  );
  // A table with an entry of its own is protected, so it was not meant.
  expect(
    hints(
      "tables: { public.customer: {}, public.customers: { subject: id } }\nroles: { agent: { reads: all } }\n",
    ),
  ).toEqual([
    `This entry protects nothing; if the table has another name there, that one is unprotected. ${advice}`,
  ]);
  expect(
    hints(
      "tables: { public.customers: { columns: { emial: email } } }\nclasses: { email: { mask: email } }\n",
    ),
  ).toEqual([
    'Did you mean "email"? Until then public.customers is closed to all roles but those that see all, and they read it in the clear. Correct the name, or write allow_missing: true for public.customers if the column is made later.',
  ]);
});

test("a filter on a misspelt table is an error that says who reads all rows", () => {
  for (const [key, what] of [
    ['only: { public.tickts: "id = 1" }', 'role "agent" reads all rows of public.tickets'],
    ["require_filter: [public.tickts]", 'role "agent" reads public.tickets without a condition'],
    ['purpose: { public.tickts: "id = 1" }', "nobody's reading of public.tickets is looked at"],
  ])
    expect(hints(`roles: { agent: { reads: all, ${key} } }\n`)).toEqual([
      `Did you mean "public.tickets"? Until then ${what}. Correct the name, or give public.tickts an entry with allow_missing: true under "tables:".`,
    ]);
});

test("what the policy says may be missing is not a difference, whatever refers to it", () => {
  const policy = (allowed: string) => `classes: { text: { mask: redact } }
tables:
  public.orders: { subject: ticket_id -> public.later.customer_id, columns: { body: text }${allowed} }
  public.tickets: { subject: customer, columns: { text: text }${allowed} }
  public.notes: { subject: customer_id -> public.later.customer_id }
  public.later: { subject: customer_id${allowed} }
roles:
  agent:
    reads: [public.orders, public.tickets]
    only: { public.orders: "region = 1", public.tickets: "region = 1 and id in (select id from public.later l)" }
    require_filter: [public.orders]
`;
  expect(differences(policy("")).length).toBe(10);
  expect(differences(policy(", allow_missing: true"))).toEqual([]);
});

test("a mask that cannot keep a column's type is an error, because it would hide more or less than was meant", () => {
  expect(
    differences(`classes: { a: { mask: redact }, t: { mask: { token: t_ } }, n: { mask: "null" }, y: { mask: year } }
tables:
  public.customers: { columns: { tags: a, code: t, mood: n, email: y } }
`),
  ).toEqual([
    '4 error: class "a" does not fit public.customers.tags: this mask is for text columns, not for text[]',
    '4 error: class "t" does not fit public.customers.code: a token has 18 characters, the column 10',
    '4 error: class "y" does not fit public.customers.email: this mask is for date, timestamp and timestamptz columns, not for text',
  ]);
});

test("a class condition warns where tables lack its columns, and fails without its functions or relations", () => {
  expect(
    differences(`classes: { text: { mask: redact } }
tables: { public.tickets: { columns: { body: text } }, public.notes: { columns: { body: text } } }
roles:
  agent:
    reads: [public.tickets, public.notes]
    sees: [text: { when: "assignee = :user AND mine(body) AND 1 IN (SELECT 1 FROM crm.members m)" }]
`),
  ).toEqual([
    '7 error: the condition of class "text" calls pg_catalog.mine, which is not there',
    '7 warning: the condition of class "text" names "assignee", which public.notes (p.yaml:3) has not',
    '7 error: the condition of class "text" reads crm.members, which is not there',
  ]);
});

test("a column of a domain is masked as its base type: no CHECK and no NOT NULL of the domain can fail", async () => {
  const column = catalog.relations.get("public.customers")?.columns.find(({ name }) => name === "nick");
  if (column === undefined) throw new Error("the test's table is not in the catalog");
  const type = maskedType(catalog, column);
  for (const mask of [{ kind: "null" }, { kind: "constant", value: "x" }, { kind: "initials" }] as const) {
    const made = maskSql(mask, "nick", type, undefined);
    if (!made.ok) throw new Error(made.problem);
    const { rows } = await database.query(
      `SELECT ${made.sql} AS m FROM (SELECT 'Ann Lee'::short_text AS nick) s`,
    );
    expect(rows[0]?.m).not.toBe("Ann Lee");
  }
});

test("policy check --upstream reports differences from a real database, or that it is unreachable", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-check-"));
  const written: string[] = [];
  const { write } = process.stdout;
  const { write: writeError } = process.stderr;
  process.stdout.write = process.stderr.write = ((text: string) => written.push(text) > 0) as typeof write;
  try {
    const file = join(folder, "a.yaml");
    await writeFile(file, "version: 1\ntables:\n  public.customer: {}\n");
    expect(await policyCheck([file, "--upstream", database.uri])).toBe(1);
    expect(written.join("")).toContain(`a.yaml:3:3: error: database "${database.database}" has no table`);
    expect(written.join("")).toContain("1 error, 0 warnings\n");
    const away = new URL(database.uri);
    away.pathname = "/nowhere";
    expect(await policyCheck([file, "--upstream", away.href])).toBe(1);
    expect(written.join("")).toContain('the catalog of "nowhere" cannot be read');
  } finally {
    process.stdout.write = write;
    process.stderr.write = writeError;
    await rm(folder, { recursive: true, force: true });
  }
});

test.each(["the tests' support database", "deploy/compose/tables.sql"])(
  "the demo's policy fits %s",
  async (schema) => {
    const support = await freshDatabase("support");
    try {
      if (schema.endsWith(".sql")) await support.query(await readFile(schema, "utf8"));
      else {
        await supportSchema(support.uri);
        await support.query("CREATE FUNCTION take_ticket(bigint) RETURNS void LANGUAGE sql AS ''");
      }
      const client = new pg.Client({ connectionString: support.uri });
      await client.connect();
      const compiled = compilePolicies([
        { name: "support.yaml", text: await readFile("policies/support.yaml", "utf8") },
      ]);
      if (!compiled.ok) throw new Error("the demo's policy is wrong");
      const policy = compiled.policies.forDatabase(support.database);
      const problems = checkPolicy(policy, await readCatalog(client)).filter(
        // Columns that an agent may write and that its own conditions depend on are reported by a separate check.
        ({ message }) => !message.includes("which it may write itself"),
      );
      await client.end();
      expect(problems).toEqual([]);
    } finally {
      await support.drop();
    }
  },
);

test("a path to the person must follow keys, to a column that is that table's own subject", () => {
  const tables = (subject: string, more = "public.tickets: { subject: customer_id }") =>
    differences(`tables:\n  public.notes: { subject: ${subject} }\n  ${more}\n`);
  expect(tables("customer_id -> public.customers.id", "public.customers: { subject: id }")).toEqual([]);
  expect(tables("customer_id -> public.tickets.customer_id")).toEqual([]);
  expect(tables("customer_id -> public.gone.id")).toEqual([
    "3 error: the subject leads over public.gone, which is not there",
  ]);
  expect(tables("customer_id -> public.tickets.customer")).toEqual([
    '3 error: the subject leads over "customer", which public.tickets has not',
  ]);
  expect(tables("body -> public.tickets.customer_id")).toEqual([
    "3 error: subject: body -> public.tickets: body and id are not of types that Postgres compares by itself",
  ]);
  expect(tables("customer_id -> public.tickets.assignee")).toEqual([
    "3 error: subject: customer_id -> public.tickets: rows of public.tickets must be the same person's",
  ]);
  expect(
    differences(
      "tables: { public.tickets: { subject: id -> public.notes.customer_id }, public.notes: { subject: customer_id } }",
    ),
  ).toEqual(["2 error: subject: id -> public.notes: no column there identifies a single row"]);
});

test("a purpose is a condition that cannot fail, on a table whose key names the people", () => {
  const purpose = (condition: string, table = "public.customers") =>
    differences(`tables: { public.customers: { subject: id }, public.notes: { subject: customer_id } }
roles: { agent: { reads: all, purpose: { ${table}: "${condition}" } } }
`).map((problem) => problem.replace("3 error: the purpose of public.customers: ", ""));
  const ticket = (more: string) =>
    `exists (select from public.tickets t where t.customer_id = customers.id and ${more})`;
  for (const good of [
    ticket("t.assignee = :user"),
    ticket("(t.id in (1, 2) or not t.body is null)"),
    "email = :user",
    `code <> 'x' and ${ticket("t.id > 7")}`,
  ])
    expect(purpose(good), good).toEqual([]);
  for (const [bad, why] of [
    ["1 / id = 1", "it compares columns with columns, texts, integers and :user"],
    [ticket("t.assignee::int = 1"), "it compares columns with columns, texts, integers and :user"],
    [ticket("public.mine(t.body)"), "a function call has no place in it"],
    [ticket("t.assignee ~ :user"), "it takes = <> < > <= >= and IN"],
    [
      ticket("t.id = 'x'"),
      "it compares what Postgres does not compare by itself: integers, texts, or one type",
    ],
    [
      ticket("t.assignee = t.id"),
      "it compares what Postgres does not compare by itself: integers, texts, or one type",
    ],
    ["mood = 'glad'", '"mood" is of a type of the database\'s own'],
    [
      "id = (select t.id from public.tickets t)",
      "it compares columns with columns, texts, integers and :user",
    ],
    ["exists (select from public.tickets t limit 1)", "a subquery takes FROM and WHERE alone"],
    [
      "exists (select from public.tickets t, public.notes n where customer_id = 7)",
      '"customer_id" could be a column of two tables',
    ],
    ["exists (select from public.gone g)", "FROM takes plain tables, with commas between them"],
    [ticket("t.gone = 1"), 'there is no column "t.gone"'],
    ["email", "a column alone must be a boolean"],
  ] as const)
    expect(purpose(bad), bad).toContain(why);
  expect(purpose("body = :user", "public.notes")).toEqual([
    '3 error: "purpose": no key of public.notes names one person',
  ]);
});
