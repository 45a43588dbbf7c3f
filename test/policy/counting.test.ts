import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { checkPolicy } from "../../proxy/check/check.ts";
import { policyCheck } from "../../proxy/commands/policy-check.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";
import { captured } from "../commands/captured.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";

/** A schema as Rails creates it: keys, and no foreign keys. `linked` has them. */
const SCHEMA = `
  CREATE TABLE contacts (id bigint PRIMARY KEY, name text, born date);
  CREATE TABLE conversations (id bigint PRIMARY KEY, contact_id bigint, requester bigint);
  CREATE TABLE messages (id bigint PRIMARY KEY, conversation_id bigint, body text);
  CREATE TABLE profiles (contact_id bigint PRIMARY KEY, bio text);
  CREATE TABLE calls (id bigint PRIMARY KEY, caller text, callers bigint);
  CREATE VIEW shown AS SELECT id, body FROM messages;
  CREATE TABLE tags (id bigint PRIMARY KEY, label text);
  CREATE TABLE parent (person bigint, name text);
  CREATE TABLE child (extra text) INHERITS (parent);
  CREATE SCHEMA linked;
  CREATE TABLE linked.contacts (id bigint PRIMARY KEY, name text);
  CREATE TABLE linked.talks (id bigint PRIMARY KEY, contact_id bigint REFERENCES linked.contacts);
  CREATE TABLE linked.profiles (contact_id bigint PRIMARY KEY, bio text);
  CREATE TABLE linked.messages (id bigint PRIMARY KEY, talk_id bigint REFERENCES linked.talks, body text);
`;
let database: TestDatabase;
let catalog: Catalog;
beforeAll(async () => {
  database = await freshDatabase("counting");
  await database.query(SCHEMA);
  catalog = await catalogOf(database);
});
afterAll(() => database?.drop());

async function catalogOf({ uri }: TestDatabase): Promise<Catalog> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    return await readCatalog(client);
  } finally {
    await client.end();
  }
}

function warnings(text: string): readonly string[] {
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\n${text}` }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(describeProblem).join("\n"));
  return checkPolicy(compiled.policies.forDatabase("any"), catalog).map(
    ({ severity, place, message }) => `${place.line} ${severity}: ${message}`,
  );
}

const apart = (line: number, table: string, space: string, people: string) =>
  `${line} warning: the people of ${table} are counted as ${space}, apart from those of ${people}: the same person may count twice, and "audit who-read" finds only one of the two`;

const PEOPLE = "tables:\n  public.contacts: { subject: id }\n";

test.each([
  ["a column named after the people", "conversations: { subject: contact_id }", "conversations.contact_id"],
  ["a column with another name", "conversations: { subject: requester }", "conversations.requester"],
  ["a key named after other people", "profiles: { subject: contact_id }", "profiles.contact_id"],
])("without a foreign key, %s is a name space of its own", (_what, entry, space) => {
  const [table = ""] = entry.split(":");
  expect(warnings(`${PEOPLE}  public.${entry}\n`)).toEqual([
    apart(4, `public.${table}`, `public.${space}`, "public.contacts.id"),
  ]);
});

test("a path to the people, a foreign key, or people who cannot be the same give no second name space", () => {
  expect(
    warnings(`${PEOPLE}  public.conversations: { subject: contact_id -> public.contacts.id }
  public.messages: { subject: conversation_id -> public.conversations.contact_id -> public.contacts.id }
  public.profiles: { subject: contact_id -> public.contacts.id }
  public.calls: { subject: caller }
`),
  ).toEqual([]);
  expect(
    warnings(`tables:
  linked.contacts: { subject: id }
  linked.talks: { subject: contact_id }
  linked.messages: { subject: talk_id -> linked.talks.contact_id }
`),
  ).toEqual([]);
});

test("a path that stops before the people is reported once, with its missing rest", () => {
  expect(
    warnings(`${PEOPLE}  public.conversations: { subject: contact_id -> public.contacts.id }
  public.messages: { subject: conversation_id -> public.conversations.contact_id }
`),
  ).toEqual([apart(5, "public.messages", "public.conversations.contact_id", "public.contacts.id")]);
});

test("two columns of one name, without a table of the people, are two name spaces", () => {
  expect(
    warnings(
      "tables:\n  public.profiles: { subject: contact_id }\n  linked.profiles: { subject: contact_id }\n",
    ),
  ).toEqual([]);
  expect(
    warnings(
      "tables:\n  public.conversations: { subject: contact_id }\n  public.profiles: { subject: contact_id }\n",
    ),
  ).toEqual([
    apart(3, "public.conversations", "public.conversations.contact_id", "public.profiles.contact_id"),
  ]);
});

const CLASSES = "classes: { text: { mask: redact }, name: { mask: initials } }\n";

test("views and children of tables without people count no one either, and children of tables with people do", () => {
  const policy = (reads: string) => `${CLASSES}tables:
  public.messages: { columns: { body: text } }
  public.parent: { subject: person, columns: { name: name } }
  public.child: { columns: { extra: text } }
roles:
  agent: { users: [anna], reads: ${reads}, budget: { 1h: 9 } }
`;
  const nobody = (line: number, table: string) =>
    `${line} warning: ${table} has protected columns and no subject: what role "agent" reads of it counts no one`;
  expect(warnings(policy("[public.messages, public.parent]"))).toEqual([nobody(4, "public.messages")]);
  expect(warnings(policy("[public.shown, public.child]"))).toEqual([nobody(8, "public.shown")]);
  expect(warnings(policy("[public.parent]"))).toEqual([]);
});

test("a budget that counts no one, a table that shows only NULL, and a class that is never read are reported", () => {
  expect(
    warnings(`${CLASSES}tables:
  public.contacts: { subject: id, columns: { name: name } }
  public.messages: { subject: id, columns: { body: text } }
  public.calls: {}
roles:
  agent: { users: [anna], reads: [public.tags], budget: { 1h: 9 } }
  lead: { users: [cleo], reads: [public.contacts], sees: [name, text] }
`),
  ).toEqual([
    "6 warning: the entry of public.calls is empty, so nothing of it is protected",
    '8 warning: the budget of role "agent" counts no one: nothing that it reads has a subject',
    '9 warning: "sees: text" of role "lead" has no effect: nothing that the role reads has a column of this class',
  ]);
  expect(
    warnings(`unclassified: mask
tables: { public.contacts: { subject: id } }
roles:
  agent: { users: [anna], reads: [public.tags, public.contacts, public.messages] }
`),
  ).toEqual([
    '5 warning: role "agent" reads public.messages, public.tags, which have no entry under "tables:": every column of them is NULL (unclassified: mask)',
  ]);
});

test("tables without an entry whose foreign keys lead to people are reported to roles that count people", () => {
  const policy = (role: string, more = "") => `${more}tables: { linked.contacts: { subject: id } }
roles: { agent: { users: [anna], ${role} } }
`;
  const budget = "budget: { 1h: 9 }";
  const forgotten =
    '3 warning: role "agent" reads linked.talks, whose foreign keys lead to people and which has no entry under "tables:": all columns are shown, and no one is counted';
  const all = "reads: [linked.contacts, linked.talks, linked.messages]";
  expect(warnings(policy(`${all}, ${budget}`))).toEqual([forgotten]);
  expect(warnings(policy(`reads: [linked.*], ${budget}`))).toEqual([forgotten]);
  expect(warnings(policy(all))).toEqual([]);
  expect(warnings(policy(`reads: [linked.contacts], ${budget}`))).toEqual([]);
  expect(warnings(policy(`reads: [linked.*], ${budget}`, "unclassified: mask\n"))).toEqual([]);
});

test("a subject that does not tell people apart is reported", () => {
  const coarse = (column: string) =>
    `3 warning: one value of ${column}, the subject, may belong to many people: it is neither a key nor a foreign key`;
  const policy = (entry: string) => `tables:\n  ${entry}\n`;
  expect(warnings(policy("public.contacts: { subject: born }"))).toEqual([coarse("public.contacts.born")]);
  expect(warnings(policy("public.contacts: { subject: id }"))).toEqual([]);
  expect(warnings(policy("public.conversations: { subject: contact_id }"))).toEqual([]);
  expect(warnings(policy("linked.talks: { subject: contact_id }"))).toEqual([]);
});

test("unknown users who see all uncounted, and a mask that is the value, are reported", () => {
  const policy = (app: string, mask = "upper(value)") => `classes: { name: { mask: { sql: "${mask}" } } }
tables: { public.contacts: { subject: id, columns: { name: name } } }
roles: { app: { users: [app], reads: all, ${app} } }
unknown_users: app
`;
  const open = '5 warning: users without a role have role "app", which sees everything and counts no one';
  expect(warnings(policy("writes: all, sees: all"))).toEqual([open]);
  expect(warnings(policy("rows: 9"))).toEqual([]);
  const hidesNothing = '2 warning: the mask of class "name" is the value itself, so it hides nothing';
  expect(warnings(policy("rows: 9", "(value)::text"))).toEqual([hidesNothing]);
});

test("decoys whose people are counted elsewhere, or that only an unlimited role reads, are never seen", () => {
  const policy = (table: string, roles: string) => `tables:
  linked.contacts: { subject: id }
  linked.talks: { subject: contact_id }
roles: { ${roles} }
canaries: { ${table}: [1] }
`;
  const agent = "agent: { users: [anna], reads: [linked.talks], rows: 9 }";
  const app = "app: { users: [app], reads: all, writes: all, sees: all }";
  // Reading a decoy's ticket is detected as well.
  expect(warnings(policy("linked.contacts", agent))).toEqual([]);
  expect(warnings(policy("linked.talks", agent))).toEqual([
    "6 warning: decoys of linked.talks are never seen: its people are counted as linked.contacts.id",
  ]);
  expect(warnings(policy("linked.contacts", app))).toEqual([
    '6 warning: decoys of linked.contacts are never seen: only role "app" reads them, in which no one is counted',
  ]);
});

test("--strict makes warnings errors; users unknown to the database are reported, except with --auth scram", async () => {
  const support = await freshDatabase("strict");
  const folder = await mkdtemp(join(tmpdir(), "sluice-strict-"));
  try {
    await supportSchema(support.uri);
    const file = join(folder, "a.yaml");
    await writeFile(
      file,
      "version: 1\ntables: { public.customers: { subject: id } }\nroles:\n  agent: { users: [anna, zacharias, 'a*'], reads: [public.customers] }\n",
    );
    const run = (...args: readonly string[]) => captured(() => policyCheck([file, ...args]));
    const told = `${file}:4:26: SEVERITY: role "agent" names the user "zacharias", who does not exist in the database`;
    const plain = await run("--upstream", support.uri);
    expect(plain.out).toContain(told.replace("SEVERITY", "warning"));
    expect([plain.status, plain.out.includes("1 file: right, 1 warning\n")]).toEqual([0, true]);
    const strict = await run("--upstream", support.uri, "--strict");
    expect(strict.out).toContain(told.replace("SEVERITY", "error"));
    expect([strict.status, strict.out.includes("1 error, 0 warnings\n")]).toEqual([1, true]);
    expect(await run("--upstream", support.uri, "--auth", "scram", "--strict")).toMatchObject({ status: 0 });
    const unchecked = "the tables and columns were not checked against a database";
    expect(await run("--strict")).toMatchObject({
      ...{ status: 0, out: "1 file: right\n" },
      errors: expect.stringContaining(unchecked),
    });
    expect(plain.errors).not.toContain(unchecked);
    expect(await run("--auth", "scram")).toMatchObject({ status: 2 });
    await writeFile(file, `version: 1\ndatabase: ${support.database}\nroles: { a: { users: [anna] } }\n`);
    expect(await run("--upstream", support.uri, "--strict")).toMatchObject({ status: 0 });
    await writeFile(file, "version: 1\ndatabase: suport\nroles: { a: { users: [anna] } }\n");
    expect(await run("--upstream", support.uri, "--strict")).toMatchObject({
      ...{ status: 1 },
      out: expect.stringContaining(`${file}:2:1: error: the server has no database "suport"`),
    });
    await writeFile(file, "version: 1\non_canary: suspend\n");
    expect(await run()).toMatchObject({ status: 0 });
    expect(await run("--strict")).toMatchObject({ status: 1 });
  } finally {
    await rm(folder, { recursive: true, force: true });
    await support.drop();
  }
});
