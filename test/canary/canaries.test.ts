import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { compilePolicies } from "../../proxy/policy/load.ts";
import { canaryKey } from "../../proxy/policy/policy.ts";
import { entriesOf } from "../audit/support.ts";
import {
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = (more: string) => `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
roles:
  agent: { users: [anna, ben], reads: [public.customers, public.tickets], finds: [email], rows: 500, budget: { 1d: 2000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
canaries:
  public.customers: { berlin: [901, 902], leads: [903] }
${more}
`;

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase("canaries");
  await supportSchema(database.uri);
});
afterAll(() => database?.drop());

async function start(more: string, flags: readonly string[] = []): Promise<TestSluice> {
  const sluice = await startSluice({ policy: POLICY(more), upstream: database.uri, flags });
  onTestFinished(() => sluice.close());
  return sluice;
}

async function connect(sluice: TestSluice, user: SupportUser): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

async function alertsOf(sluice: TestSluice) {
  return (await entriesOf(sluice.auditFolder)).filter(({ unmapped }) => unmapped.kind === "alert");
}

test("who reads a decoy is told of, with his session and the group that the decoy was made for", async () => {
  const sluice = await start("on_canary: alert");
  const anna = await connect(sluice, "anna");
  await anna.query("select name from customers where id between 895 and 899");
  expect(await sluice.metric("sluice_behaviour_alerts_total", 'rule="canary"')).toBe(0);
  expect((await anna.query("select name from customers where id between 900 and 902")).rows).toHaveLength(3);
  await vi.waitFor(async () => expect(await alertsOf(sluice)).toHaveLength(2));
  const [first] = await alertsOf(sluice);
  const statement = (await entriesOf(sluice.auditFolder)).find(({ unmapped }) => unmapped.people === 3);
  expect(first).toMatchObject({
    actor: { user: { name: "anna", groups: [{ name: "agent" }] }, session: statement?.actor?.session },
    firewall_rule: { name: "canary" },
    unmapped: { action: "alert", canary: { group: "berlin" } },
    message: 'a decoy made for "berlin" was read',
  });
  const { canary } = (first ?? { unmapped: {} }).unmapped as unknown as { canary: { subject: string } };
  expect(statement?.unmapped.subjects).toContain(canary.subject);
  expect(await sluice.metric("sluice_behaviour_alerts_total", 'rule="canary"')).toBe(2);
  expect(sluice.log.filter(({ msg }) => msg === "alert: a decoy was read")).toHaveLength(2);
});

test("a decoy is noticed by its exact address, in a joined table and in a cursor as well", async () => {
  const sluice = await start("");
  const { rows } = await withSuperuser("select email from customers where id = 901");
  const ways = [
    `select id from customers where email = '${String(rows[0]?.email)}'`,
    "select t.id from tickets t join customers c on c.id = t.customer_id where c.id = 902",
    "begin; declare c cursor for select name from customers where id = 901; fetch all from c; commit",
  ];
  for (const [i, sql] of ways.entries()) {
    const user = await connect(sluice, "anna");
    if (sql.startsWith("begin")) {
      for (const one of sql.split("; ")) await user.query(one);
    } else await user.query(sql);
    await vi.waitFor(async () => expect(await alertsOf(sluice), sql).toHaveLength(i + 1));
  }
});

test.each(["before", "after"])(
  "with on_canary: suspend the reader gets no row of it and is cut off (events %s)",
  async (when) => {
    const sluice = await start("on_canary: suspend", ["--audit-durability", when]);
    const anna = await connect(sluice, "anna");
    const ben = await connect(sluice, "ben");
    await expect(anna.query("select name from customers where id = 901")).rejects.toMatchObject({
      code: "57P01",
    });
    await expect(connect(sluice, "anna")).rejects.toMatchObject({ code: "28000" });
    // Nobody else is touched.
    expect((await ben.query("select name from customers where id = 1")).rows).toHaveLength(1);
    await vi.waitFor(async () => {
      const kinds = (await entriesOf(sluice.auditFolder)).map(({ unmapped }) => unmapped.kind);
      expect(kinds).toEqual(expect.arrayContaining(["alert", "suspension"]));
    });
  },
);

test("canaries of a table that does not say whose its rows are, or in two groups, are mistakes with a place", () => {
  const problemsOf = (canaries: string) => {
    const text = `version: 1\ntables: { public.customers: { subject: id }, public.orders: {} }\ncanaries:\n  ${canaries}\n`;
    const compiled = compilePolicies([{ name: "p.yaml", text }]);
    return compiled.ok ? [] : compiled.problems.map(({ message, place }) => `${place.line}: ${message}`);
  };
  expect(problemsOf("public.orders: [1]")).toEqual([
    "4: canaries of public.orders: nothing says whose record a row of it is",
  ]);
  expect(problemsOf("public.customers: { a: [1], b: [1] }")).toEqual(["4: canary 1 is in two groups"]);
  expect(problemsOf("public.customers: [1, x2]")).toEqual([]);
});

test("ids of canaries are read as Postgres writes them", () => {
  const text =
    "version: 1\ntables: { public.customers: { subject: id } }\ncanaries: { public.customers: [7, 0F8FAD5B-D9CB-469F-A165-70867728950E] }";
  const compiled = compilePolicies([{ name: "p.yaml", text }]);
  if (!compiled.ok) throw new Error("not compiled");
  const { canaries } = compiled.policies.forDatabase("any");
  expect([...(canaries?.groups.keys() ?? [])]).toEqual([
    canaryKey("public.customers.id", "7"),
    canaryKey("public.customers.id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
  ]);
});

async function withSuperuser(sql: string): Promise<pg.QueryResult<Record<string, unknown>>> {
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}
