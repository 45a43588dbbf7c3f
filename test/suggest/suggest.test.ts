import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { policyCheck } from "../../proxy/commands/policy-check.ts";
import { policySuggest } from "../../proxy/commands/policy-suggest.ts";
import { CONSTRAINTS, TABLES } from "../../proxy/demo/demo-schema.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import type { PolicyFile } from "../../proxy/policy/format.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice } from "../harness/sluice.ts";
import { ODD_SCHEMA, RELATED_SCHEMA } from "./odd-schema.ts";

const databases: TestDatabase[] = [];

async function databaseWith(schema: string): Promise<TestDatabase> {
  const database = await freshDatabase("suggest");
  databases.push(database);
  await database.query(schema);
  return database;
}

let support: TestDatabase;
beforeAll(async () => {
  support = await databaseWith("");
  await supportSchema(support.uri);
});
afterAll(() => Promise.all(databases.map((each) => each.drop())));

async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  let [out, errors] = ["", ""];
  const streams = {
    output: { write: (text: string) => (out += text) },
    errors: { write: (text: string) => (errors += text) },
  };
  const status = await policySuggest(args, streams, env);
  return { status, out, errors };
}

interface Suggested {
  readonly text: string;
  readonly policy: PolicyFile;
  readonly tables: NonNullable<PolicyFile["tables"]>;
  readonly agent: NonNullable<PolicyFile["roles"]>[string];
}

/** What is suggested for a database; `policy check` has nothing to say of it, with and without the database. */
async function suggested({ uri }: TestDatabase): Promise<Suggested> {
  const { status, out: text, errors } = await run(["--upstream", uri]);
  expect(errors).toBe("");
  expect(status).toBe(0);
  expect(await checked(text, uri)).toBe("1 file: right\n1 file: right\n");
  const policy = parse(text) as PolicyFile;
  const agent = policy.roles?.agent;
  if (agent === undefined) throw new Error("no role for agents");
  return { text, policy, tables: policy.tables ?? {}, agent };
}

async function checked(text: string, uri: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-suggest-"));
  const written: string[] = [];
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((line) => written.push(String(line)) > 0);
  try {
    await writeFile(join(folder, "policy.yaml"), text);
    await policyCheck([folder, "--upstream", uri, "--strict"]);
    await policyCheck([folder, "--strict"]);
    return written.join("");
  } finally {
    spy.mockRestore();
    await rm(folder, { recursive: true });
  }
}

/** What a statement gives somebody whom no role names, once the policy is in force, from the real server. */
async function asAgent(database: TestDatabase, text: string, sql: string) {
  const compiled = compilePolicies([
    { name: "policy.yaml", text: text.replace("mode: observe", "mode: enforce") },
  ]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const policy = compiled.policies.forDatabase(database.database);
  expect(policy.mode).toBe("enforce");
  const role = roleFor(policy, "anna", "127.0.0.1");
  if (isRefusal(role)) throw new Error(role.message);
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  const catalog = await readCatalog(client);
  await client.end();
  const verdict = analyse(sql, {
    ...{ policy, role, user: "anna", catalog, searchPath: ["public"] },
    ...{ unreadable: new Set<string>(), maskKey: Buffer.alloc(32, 7) },
  });
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  if (verdict.kind === "pass") throw new Error("it passes as it is");
  return (await database.query(verdict.sql.toString())).rows[0];
}

test("of the support database it knows the people and what is said of them", async () => {
  const { text, policy, tables, agent } = await suggested(support);
  expect(tables["public.customers"]).toMatchObject({
    subject: "id",
    columns: {
      name: "name",
      email: "email",
      phone: "phone",
      address: "address",
      birth_date: "birth",
      country: "plain",
    },
  });
  expect(tables["public.tickets"]).toMatchObject({
    subject: "customer_id",
    columns: { subject: "text", body: "text" },
  });
  expect(tables["public.payments"]).toMatchObject({
    subject: "customer_id",
    columns: { card_number: "card" },
  });
  // There is no foreign key, but a name that says the same.
  expect(tables["public.contact_log"]).toMatchObject({
    subject: "customer_id -> public.customers.id",
    columns: { email: "email" },
  });
  expect(text).toContain("  # unsure: subject: by the name of customer_id alone");
  expect(text).toContain("  # unsure: assignee: a text, and its name says nothing\n  public.tickets:");
  expect(Object.keys(tables)).not.toContain("public.contact_log_2023");
  expect(agent).toMatchObject({ sees: ["plain", "name"], require_filter: ["public.customers"], rows: 100 });
  expect(policy.roles?.app).toMatchObject({ reads: "all", writes: "all", sees: "all", budget: "none" });
  expect(policy).toMatchObject({ mode: "observe", unclassified: "mask" });
});

test("its comment for applications whose users are people is right as it is written", async () => {
  const { text } = await suggested(support);
  const [before = "", after = ""] = text.split("    budget: none\n");
  const written = after.replaceAll(/^ {4}# (?=(?:watch|budget|people_behind|unnamed): )/gm, "    ");
  expect(await checked(before + written, support.uri)).toBe("1 file: right\n1 file: right\n");
  expect((parse(before + written) as PolicyFile).roles?.app).toMatchObject({
    watch: true,
    people_behind: [{ setting: "app.agent" }, { comment: "user" }],
  });
});

test("in force it masks what it names, what it is unsure of, and columns that are added later", async () => {
  const database = await databaseWith("");
  await supportSchema(database.uri);
  const { text } = await suggested(database);
  await database.query("ALTER TABLE customers ADD COLUMN hobby text; UPDATE customers SET hobby = 'chess'");
  const customer = await asAgent(database, text, "SELECT * FROM customers WHERE id = 7");
  expect(customer).toMatchObject({
    id: "7",
    name: "Alice Ng 7",
    email: "a***@example.com",
    address: "[redacted]",
  });
  expect(customer).toMatchObject({ country: expect.any(String), hobby: null });
  expect(customer?.phone).toMatch(/^\*+07$/);
  const ticket = await asAgent(database, text, "SELECT id, assignee, body FROM tickets WHERE id = 1");
  expect(ticket).toMatchObject({ id: "1", assignee: null, body: "[redacted]" });
  await expect(asAgent(database, text, "SELECT * FROM customers")).rejects.toThrow("indexed column");
});

test("through a proxy it changes nothing for anybody at first, and masks once it is enforced", async () => {
  const database = await databaseWith("");
  await supportSchema(database.uri);
  const { text } = await suggested(database);
  const sluice = await startSluice({ policy: text, upstream: database.uri });
  const read = async () => {
    const client = new pg.Client({ connectionString: sluice.uriFor("anna", "anna-password") });
    await client.connect();
    try {
      return (await client.query("SELECT email FROM customers WHERE id = 7")).rows;
    } finally {
      await client.end();
    }
  };
  try {
    expect(await read()).toEqual([{ email: "alice.ng.7@example.com" }]);
    await sluice.setPolicy(text.replace("mode: observe", "mode: enforce"));
    expect(await read()).toEqual([{ email: "a***@example.com" }]);
  } finally {
    await sluice.close();
  }
});

test("the demo's database", async () => {
  const { tables } = await suggested(
    await databaseWith(
      TABLES.replaceAll(/(GRANT|ALTER FUNCTION)[^;]*;/g, "") + CONSTRAINTS.slice(0, -1).join(";"),
    ),
  );
  const subjects = Object.fromEntries(Object.entries(tables).map(([name, { subject }]) => [name, subject]));
  const others = {
    "public.payments": "customer_id",
    "public.ticket_messages": "customer_id",
    "public.tickets": "customer_id",
  };
  expect(subjects).toEqual({ "public.customers": "id", ...others });
});

test("whose record a row is: over keys, paths and parents, and nobody's where it cannot be said", async () => {
  const { text, tables, agent } = await suggested(await databaseWith(RELATED_SCHEMA));
  const subjects = Object.entries(tables).map(([name, { subject }]) => `${name}: ${subject ?? "-"}`);
  expect(subjects).toEqual([
    "public.big_invoices: -",
    "public.children: id",
    "public.clients: code",
    "public.customers: id",
    "public.employees: id",
    "public.guests: -",
    "public.heirs: person_id",
    "public.invoice_mails: id",
    "public.invoices: person_id -> public.persons.id",
    "public.logins: person_id",
    "public.members: -",
    "public.newsletters: -",
    "public.order_lines: order_id -> public.orders.customer_id",
    "public.orders: customer_id",
    "public.patients: -",
    "public.persons: id",
    "public.shipments: order_line -> public.order_lines.order_id -> public.orders.customer_id",
    "public.special_customers: -",
    "public.subscriptions: id",
  ]);
  expect(agent.reads).not.toContain("public.patients");
  expect(agent.reads).toContain("public.shipments");
  expect(text).toContain("  # unsure: subject: handled_by names a person as well\n  public.orders:");
  expect(text).toContain("  # unsure: subject: each row counts as one person\n  public.subscriptions:");
  expect(text).toContain(
    "  # unsure: salary: its name or comment speaks of something delicate\n  public.employees:",
  );
  expect(text).toContain("  # unsure: subject: each row may be a person of its own\n  public.heirs:");
  expect(text).toContain("#   public.products\n");
  expect(tables["public.special_customers"]).toEqual({ columns: { nickname: "name", note: "text" } });
  expect(tables["public.subscriptions"]?.columns).toMatchObject({ password_hash: "secret" });
});

test("no name and no comment of the database breaks out of its place", async () => {
  const database = await databaseWith(ODD_SCHEMA);
  const { text, policy, tables } = await suggested(database);
  expect(text).not.toMatch(/[^\P{C}\n]|[\u2028\u2029]/u);
  expect(text).not.toContain("sees: all }");
  expect(text).not.toContain("shown # to all");
  expect(Object.keys(policy)).toEqual([
    ...["version", "classes", "tables", "roles", "unknown_users", "unclassified", "mode"],
  ]);
  expect(Object.keys(policy.roles ?? {})).toEqual(["agent", "app"]);
  expect(policy.mode).toBe("observe");
  expect(tables["Büro.Kunden"]).toEqual({
    subject: "KundenNr",
    columns: {
      ...{
        KundenNr: "plain",
        Vorname: "name",
        "E-Mail: Adresse": "email",
        Geburtsdatum: "birth",
        Straße: "address",
      },
      ...{
        IPv4: "ip",
        tel: "hidden",
        "🙂 email": "email",
        " email": "email",
        'it\'s "quoted" email': "email",
      },
      ...{ "a\nemail: &x !!y\n#": "email", "\u2028\u202ephone\u009b\ufeff": "phone", "- email # x": "email" },
      ...{
        "email: *a": "email",
        constructor: "plain",
        "<<": "plain",
        "~": "plain",
        null: "plain",
        "123": "plain",
      },
      true: "plain",
    },
  });
  expect(text).toContain('  # unsure: select: its comment speaks of "phone"\n');
  expect(text).toContain('  # unsure: #: its comment speaks of "national_id"\n');
  expect(tables["Büro.Bestellungen: {x}"]).toMatchObject({ subject: "KundenNr", columns: { Notiz: "text" } });
  expect(tables["Büro.Posten"]?.subject).toBe("Bestell ID -> Büro.Bestellungen: {x}.KundenNr");
  expect(tables["public.user"]).toMatchObject({ subject: "order", columns: { name: "name" } });
  expect(tables["Büro 1.leads\n- all"]?.subject).toBe("id");

  const seen = await asAgent(database, text, 'SELECT * FROM "Büro"."Kunden" WHERE "KundenNr" = 1');
  expect(seen).toMatchObject({ KundenNr: 1, "E-Mail: Adresse": "a***@example.com", "#": null });
  expect(seen).toMatchObject({
    "a\nemail: &x !!y\n#": "a***@example.com",
    "\u2028\u202ephone\u009b\ufeff": "*********00",
  });
  expect(JSON.stringify(seen)).not.toContain("alice");
});

test("a database without tables", async () => {
  const { tables, agent } = await suggested(await databaseWith(""));
  expect(tables).toEqual({});
  expect(agent).toMatchObject({ users: [], reads: [] });
});

test("it needs no right on any table, and ends with what to do next", async () => {
  await support.query("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM anna");
  const { status, out } = await run([], { SLUICE_UPSTREAM: support.uriFor("anna", "anna-password") });
  expect(status).toBe(0);
  expect(out).toContain("public.customers:");
  expect(out.trimEnd().split("\n").slice(-2)).toEqual([
    expect.stringMatching(/^# Next: .*sluice policy check/),
    expect.stringMatching(/^# sluice policy explain .*mode: observe/),
  ]);
});

test("--help says that it reads no row", async () => {
  const { status, out } = await run(["--help"]);
  expect(status).toBe(0);
  expect(out).toContain("It never reads a row");
});

test("what keeps it from the catalog is a sentence", async () => {
  expect(await run([])).toEqual({
    status: 2,
    out: "",
    errors:
      "sluice policy suggest: --upstream: missing; name the database, as in postgresql://user@host/database\n",
  });
  expect(await run(["--upstream", "mysql://x"])).toMatchObject({ status: 2, out: "" });
  expect(await run(["--nope"])).toMatchObject({ status: 2, errors: expect.stringContaining("--nope") });
  expect(await run(["--upstream", "postgresql://x@127.0.0.1:1/support"])).toEqual({
    status: 1,
    out: "",
    errors: 'sluice policy suggest: the catalog of "support" cannot be read: 127.0.0.1:1: ECONNREFUSED\n',
  });
  await support.query(`REVOKE CONNECT ON DATABASE ${support.database} FROM PUBLIC`);
  const refused = await run(["--upstream", support.uriFor("ben", "ben-password")]);
  expect(refused).toMatchObject({
    status: 1,
    out: "",
    errors: expect.stringContaining("permission denied for database"),
  });
});
