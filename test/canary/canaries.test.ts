import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { checkAgainstCatalog } from "../../proxy/policy/against-catalog.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
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

test("reading a decoy raises an alert with the session and the group that the decoy was made for", async () => {
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

test.each([
  ["public.tickets: [904]", "an id"],
  [`public.tickets: "customer_id = 904"`, "a condition"],
])(
  "a decoy is known by the table that it is written for, whose key leads to another (%s)",
  async (decoys) => {
    const sluice = await startSluice({
      policy: POLICY("").replace("public.customers: { berlin: [901, 902], leads: [903] }", decoys),
      upstream: database.uri,
    });
    onTestFinished(() => sluice.close());
    const anna = await connect(sluice, "anna");
    await anna.query("select name from customers where id = 904");
    await vi.waitFor(async () => expect(await alertsOf(sluice)).toHaveLength(1));
  },
);

test("a receiver is told of which application's user, which tables and which classes in the clear a decoy was read", async () => {
  const received: unknown[] = [];
  const receiver = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    received.push(JSON.parse(body));
    response.writeHead(204).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  onTestFinished(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const folder = await mkdtemp(join(tmpdir(), "sluice-decoy-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "key"), "5".repeat(64), { mode: 0o600 });
  const policy = POLICY("").replace(
    "app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }",
    "app: { users: [helpdesk_app], people_behind: [{ setting: app.agent }], acts_as: agent, unnamed: refuse }",
  );
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  const flags = ["--alert-webhook", url, "--alert-key-file", join(folder, "key")];
  const sluice = await startSluice({ policy, upstream: database.uri, flags });
  onTestFinished(() => sluice.close());
  const desk = await connect(sluice, "helpdesk_app");
  await desk.query("BEGIN; SET LOCAL app.agent = 'dora'");
  await desk.query("select name from customers where id = 901");
  await desk.query("COMMIT");
  await vi.waitFor(() => expect(received).toHaveLength(1));
  expect(received[0]).toMatchObject({
    ...{ rule: "canary", user: "dora", account: "helpdesk_app", tables: ["public.customers"] },
    severity: "critical",
  });
  expect(await alertsOf(sluice)).toMatchObject([
    { actor: { user: { name: "dora", account: { name: "helpdesk_app" } } } },
  ]);
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

describe("decoys that a condition marks", () => {
  const MARKED = POLICY("").replace(
    "{ berlin: [901, 902], leads: [903] }",
    `{ eu: "email LIKE '%@decoy.example'", us: "phone = '+1 555 0000'" }`,
  );
  const start = async () => {
    const sluice = await startSluice({ policy: MARKED, upstream: database.uri });
    onTestFinished(() => sluice.close());
    return sluice;
  };

  test("are noticed by the first session, and those that are inserted later too, with their group", async () => {
    await withSuperuser("update customers set email = 'ann@decoy.example' where id = 911");
    const sluice = await start();
    const anna = await connect(sluice, "anna");
    await anna.query("select name from customers where id in (910, 911)");
    await anna.query("select id from tickets where customer_id = 912");
    await vi.waitFor(async () => expect((await alertsOf(sluice)).map(groupOf)).toEqual(["eu"]));
    await withSuperuser("update customers set phone = '+1 555 0000' where id = 912");
    // Each session raises one alert for a decoy; the people of 912's tickets are 912's work.
    await vi.waitFor(async () => {
      const ben = await connect(sluice, "ben");
      await ben.query("select id from tickets where customer_id = 912");
      await ben.query("select name from customers where id = 912");
      expect((await alertsOf(sluice)).map(groupOf)).toContain("us");
    }, 15_000);
  });

  test("cannot be read by a control connection that lacks the right: the log says it, people go on working", async () => {
    const control = database.uriFor("metabase", PASSWORDS.metabase);
    await withSuperuser("revoke all on customers from metabase");
    const sluice = await startSluice({
      policy: MARKED,
      upstream: database.uri,
      flags: ["--control", control],
    });
    onTestFinished(() => sluice.close());
    const anna = await connect(sluice, "anna");
    expect((await anna.query("select name from customers where id = 1")).rows).toHaveLength(1);
    const told = sluice.log.find(({ msg }) => msg.includes("decoys"));
    expect(told).toMatchObject({ level: "error", problem: "permission denied for table customers" });
  });

  test("a mark that names a column which is not there is told by policy check", async () => {
    const { host, port, superuser: user } = database;
    const password = decodeURIComponent(new URL(database.uri).password);
    const connection = { host, port, user, password };
    const catalogs = new Catalogs({
      connection,
      probeSeconds: 3600,
    });
    onTestFinished(() => catalogs.close());
    const compiled = compilePolicies([{ name: "p.yaml", text: MARKED.replace("phone =", "phon =") }]);
    if (!compiled.ok) throw new Error("not compiled");
    const catalog = (await catalogs.of(database.database)).current;
    const problems = checkAgainstCatalog(compiled.policies.forDatabase(database.database), catalog);
    expect(problems.filter(({ severity }) => severity === "error").map(({ message }) => message)).toEqual([
      `the mark of public.customers's decoys names "phon", which is not a column of it`,
    ]);
  });

  test("a mark that is no condition, or differs by user, is a mistake with a place", () => {
    const problemsOf = (mark: string) => {
      const text = `version: 1\ntables: { public.customers: { subject: id } }\ncanaries:\n  public.customers: ${mark}\n`;
      const compiled = compilePolicies([{ name: "p.yaml", text }]);
      return compiled.ok ? [] : compiled.problems.map(({ message, place }) => `${place.line}: ${message}`);
    };
    expect(problemsOf('"email = :user"')).toEqual(["4: condition: decoys are the same for every user"]);
    expect(problemsOf('{ eu: "true; drop table customers" }')[0]).toMatch(/^4: condition: /);
    expect(problemsOf('{ eu: "is_decoy", us: [3] }')).toEqual([]);
  });
});

function groupOf({ unmapped }: Awaited<ReturnType<typeof alertsOf>>[number]): string {
  return (unmapped as unknown as { canary: { group: string } }).canary.group;
}

test("canaries of a table that does not say whose its rows are, or in two groups, are mistakes with a place", () => {
  const problemsOf = (canaries: string) => {
    const text = `version: 1\ntables: { public.customers: { subject: id }, public.orders: {} }\ncanaries:\n  ${canaries}\n`;
    const compiled = compilePolicies([{ name: "p.yaml", text }]);
    return compiled.ok ? [] : compiled.problems.map(({ message, place }) => `${place.line}: ${message}`);
  };
  expect(problemsOf("public.orders: [1]")).toEqual([
    "4: canaries of public.orders: the policy does not name the person of its rows",
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
