import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { policyExplain } from "../../proxy/commands/policy-explain.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import type { Explanation } from "../../proxy/sql/explanation.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { captured } from "../commands/captured.ts";
import { openRedisStore } from "../guard/redis-bench.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { policiesOf, startProxy, type TestProxy } from "../harness/proxy.ts";
import { redisUrl } from "../harness/redis.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

const sealer = sealerOf(keyLine(1, 9));

/** `lead`: lines of the role that reads. */
const policyOf = (lead: string) => `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  name: { mask: initials }
  email: { mask: email, stored: token, joinable: true }
  phone: { mask: { last: 4 }, stored: token }
tables:
  public.people: { subject: id, columns: { email: email, phone: phone, mobile: phone, name: name } }
  public.mails: { subject: person, columns: { sender: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead: { users: [ben], reads: [public.people, public.mails], sees: [name, email, phone], ${lead} }
  agent: { users: [anna], reads: [public.people], sees: [name, email], finds: [phone], budget: { 1d: { people: 1000 } } }
`;

const SETUP = `
  CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, phone text, mobile text);
  CREATE TABLE mails (id bigint PRIMARY KEY, person bigint REFERENCES people, sender text);
  GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, anna, ben;
`;

let server: RunningPostgres;
let database: TestDatabase;
let stores: readonly CounterStore[];
let proxies: readonly TestProxy[];
let sluice: TestProxy;
/** Each test reads as another user of the counters: by a database of its own in Redis. */
let lead: pg.Client;
let agent: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "reveals");
  await database.query(SETUP);
  const seeding = await startProxy(database, { policy: policyOf("budget: none"), tokens: sealer });
  const app = await seeding.connect("helpdesk_app");
  for (let id = 1; id <= 30; id++)
    await app.query("INSERT INTO people VALUES ($1, $2, $3, $4, $5)", [
      id,
      `Person ${id}`,
      `p${id}@example.com`,
      `+49 30 ${1000 + id}`,
      id === 2 ? null : `+49 170 ${1000 + id}`,
    ]);
  await app.query("INSERT INTO mails SELECT id, id, email FROM people");
  // Mails of nobody.
  await app.query("INSERT INTO mails SELECT 100 + id, NULL, email FROM people");
  await app.query("INSERT INTO people (id, name) VALUES (50, 'Nobody')");
  await app.end();
  await seeding.close();
});
afterAll(async () => {
  await database?.drop();
  await server?.stop();
});

const LIMITS = "reveals: { phone: { 1d: 5 }, email: { 1d: 8 } }, budget: { 1d: { people: 1000 } }";

beforeEach(async () => {
  const url = await redisUrl();
  // Two proxies, whose counters are shared.
  stores = [await openRedisStore(url), await openRedisStore(url)];
  proxies = await Promise.all(
    stores.map((store) => startProxy(database, { policy: policyOf(LIMITS), tokens: sealer, store })),
  );
  const [first] = proxies;
  if (first === undefined) throw new Error("no proxy");
  sluice = first;
  [lead, agent] = [await sluice.connect("ben"), await sluice.connect("anna")];
  return async () => {
    await Promise.all([lead.end(), agent.end()]);
    await Promise.all(proxies.map((proxy) => proxy.close()));
  };
});

const idsOf = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await client.query({ text, ...(values && { values }), rowMode: "array" })).rows;

const usedUp = (rule: string) => ({ code: "53400", constraint: rule });

test("a person counts once for a class, however often and by whichever column; another class is counted apart", async () => {
  expect(await idsOf(lead, "SELECT phone FROM people WHERE id = 1")).toEqual([["+49 30 1001"]]);
  expect(await idsOf(lead, "SELECT mobile, phone FROM people WHERE id = $1", [1])).toEqual([
    ["+49 170 1001", "+49 30 1001"],
  ]);
  expect(await idsOf(lead, "SELECT phone FROM people WHERE id BETWEEN 1 AND 5")).toHaveLength(5);
  await expect(lead.query("SELECT phone FROM people WHERE id = 6")).rejects.toMatchObject({
    ...usedUp("roles.lead.reveals.phone.1d"),
    message: "budget of 5 reveals of phone in 1d is used up",
    detail: expect.stringContaining("5 of 5 reveals of phone used within 1d. The next value fits at"),
    hint: expect.stringContaining('Leave columns of the class "phone" out'),
  });
  // What was turned back can be read again, and everything else of others.
  expect(await idsOf(lead, "SELECT phone FROM people WHERE id = 3")).toEqual([["+49 30 1003"]]);
  expect(await idsOf(lead, "SELECT name, email FROM people WHERE id = 6")).toEqual([
    ["Person 6", "p6@example.com"],
  ]);
});

test("it is counted over all sessions and proxies, and the rows before the limit leave", async () => {
  const other = await proxies[1]?.connect("ben");
  expect(await idsOf(other as pg.Client, "SELECT phone FROM people WHERE id IN (1, 2, 3)")).toHaveLength(3);
  await other?.end();
  await expect(lead.query("SELECT id, phone FROM people ORDER BY id")).rejects.toMatchObject(
    usedUp("roles.lead.reveals.phone.1d"),
  );
  const [event] = sluice.statements().filter(({ decision }) => decision === "cut");
  expect(event).toMatchObject({ rows: 5, people: 5, reveals: { phone: 5 } });
});

test("NULL, masks, counts and searches turn nothing back", async () => {
  for (let round = 0; round < 3; round++) {
    expect(await idsOf(lead, "SELECT phone, email FROM people WHERE id = 50")).toEqual([[null, null]]);
    expect(await idsOf(lead, "SELECT count(phone) FROM people")).toEqual([["30"]]);
    expect(await idsOf(lead, "SELECT id FROM people WHERE phone = $1", [`+49 30 ${1010 + round}`])).toEqual([
      [String(10 + round)],
    ]);
    expect(await idsOf(lead, "SELECT count(*) FROM (SELECT phone FROM people) s")).toEqual([["31"]]);
  }
  expect(await idsOf(agent, "SELECT phone FROM people WHERE id < 30")).toHaveLength(29);
  const events = sluice.statements();
  expect(events.filter(({ role, reveals }) => role === "lead" && reveals !== undefined)).toEqual([]);
  expect(events.filter(({ role, reveals }) => role === "agent" && reveals !== undefined)).toEqual([]);
  expect(await idsOf(lead, "SELECT phone FROM people WHERE id < 6")).toHaveLength(5);
});

test("a role without a limit reads on, and its events and metrics say how much was turned back", async () => {
  expect(await idsOf(agent, "SELECT id, email, phone FROM people WHERE id <= 20")).toHaveLength(20);
  expect(await idsOf(agent, "SELECT id, email FROM people WHERE id IN (1, 50)")).toHaveLength(2);
  const events = sluice.statements().filter(({ role }) => role === "agent");
  expect(events.map(({ reveals }) => reveals)).toEqual([{ email: 20 }, { email: 1 }]);
  const { text } = await sluice.metrics.exposition();
  expect(text).toMatch(/^sluice_reveals_total\{.*role="agent".*class="email".*\} 21$/m);
});

const WAYS: readonly [string, string][] = [
  ["a join", "SELECT p.phone FROM people p JOIN mails m ON m.person = p.id ORDER BY p.id"],
  ["a subquery", "SELECT s.x FROM (SELECT id, phone AS x FROM people) s ORDER BY s.id"],
  ["a WITH query", "WITH w AS (SELECT id, phone FROM people) SELECT phone FROM w ORDER BY id"],
  [
    "a set operation",
    "SELECT phone FROM people WHERE id < 3 UNION ALL SELECT phone FROM people WHERE id > 2",
  ],
  ["DISTINCT", "SELECT DISTINCT phone FROM people"],
  ["GROUP BY", "SELECT phone, count(*) FROM people GROUP BY phone"],
  ["coalesce", "SELECT coalesce(phone) FROM people"],
  ["a whole row", "SELECT * FROM people"],
];

test.each(WAYS)("%s shows no more than the limit", async (_, text) => {
  await expect(lead.query(text)).rejects.toMatchObject(usedUp("roles.lead.reveals.phone.1d"));
  const [event] = sluice.statements().filter(({ decision }) => decision === "cut");
  expect(event?.reveals?.phone).toBeLessThanOrEqual(5);
});

test("several people's values in one row are each counted", async () => {
  const scalars = Array.from({ length: 6 }, (_, i) => `(SELECT phone FROM people WHERE id = ${i + 1})`);
  await expect(lead.query(`SELECT ${scalars.join(", ")}`)).rejects.toMatchObject(
    usedUp("roles.lead.reveals.phone.1d"),
  );
  expect(await idsOf(lead, `SELECT ${scalars.slice(0, 3).join(", ")}`)).toHaveLength(1);
  expect(
    await idsOf(lead, "SELECT a.phone, b.phone FROM people a, people b WHERE a.id = 1 AND b.id = 2"),
  ).toHaveLength(1);
  await expect(
    lead.query("SELECT a.phone, b.phone FROM people a, people b WHERE a.id = 3 AND b.id = 4"),
  ).rejects.toMatchObject(usedUp("roles.lead.reveals.phone.1d"));
});

const other = (id: number) => `(SELECT phone FROM people WHERE id = ${id})`;

/** Statements that name the first person in each row, and show the values of others. `class`: which is counted. */
const IN_ANOTHERS_NAME: Readonly<Record<string, readonly [of: string, text: (id: number) => string]>> = {
  "a scalar subquery": ["phone", (id) => `SELECT c.id, ${other(id)} FROM people c WHERE c.id = 1`],
  "a value of one's own beside another's": [
    "phone",
    (id) => `SELECT c.mobile, ${other(id)} FROM people c WHERE c.id = 1`,
  ],
  "two columns of two people": [
    "phone",
    (id) => `SELECT (SELECT mobile FROM people WHERE id = 1), ${other(id)}`,
  ],
  CASE: [
    "phone",
    (id) => `SELECT CASE WHEN c.id = 1 THEN ${other(id)} ELSE c.phone END FROM people c WHERE c.id = 1`,
  ],
  "a subquery in FROM": [
    "phone",
    (id) => `SELECT c.id, s.phone FROM people c, ${other(id)} s WHERE c.id = 1`,
  ],
  "a WITH query": [
    "phone",
    (id) => `WITH w AS ${other(id)} SELECT c.id, (SELECT phone FROM w) FROM people c WHERE c.id = 1`,
  ],
  "a subquery of groups": [
    "phone",
    (id) => `SELECT c.id, s.phone FROM people c,
      (SELECT phone, count(*) FROM people WHERE id = ${id} GROUP BY phone) s WHERE c.id = 1`,
  ],
  "groups of two people": [
    "phone",
    (id) =>
      `SELECT a.mobile, b.phone, count(*) FROM people a, people b WHERE a.id = 1 AND b.id = ${id} GROUP BY 1, 2`,
  ],
  RETURNING: ["phone", (id) => `UPDATE people SET name = 'Person 1' WHERE id = 1 RETURNING id, ${other(id)}`],
  "a row whose subject is NULL": [
    "email",
    (id) => `SELECT m.sender FROM mails m, people p WHERE p.id = 1 AND m.id = ${100 + id}`,
  ],
};

const BUDGETS = ["budget: { 1d: { people: 1000 } }", "budget: none"];

test.each(Object.keys(IN_ANOTHERS_NAME).flatMap((name) => BUDGETS.map((budget) => [name, budget] as const)))(
  "%s does not show others in the name of one person (%s)",
  async (name, budget) => {
    const [of, text] = IN_ANOTHERS_NAME[name] ?? ["", () => ""];
    sluice.setPolicy(policyOf(`writes: [public.people], reveals: { ${of}: { 1d: 5 } }, ${budget}`));
    const reader = await sluice.connect("ben");
    const shown = new Set<unknown>();
    const rules = new Set<unknown>();
    for (let id = 3; id <= 20; id++) {
      const answer = await idsOf(reader, text(id)).catch((error: { constraint?: string }) => error);
      if (!Array.isArray(answer)) rules.add(answer.constraint);
      for (const value of Array.isArray(answer) ? answer.flat() : [])
        if (/^\+49 30|@/.test(String(value))) shown.add(value);
    }
    await reader.end();
    expect([...rules]).toEqual([`roles.lead.reveals.${of}.1d`]);
    expect(shown.size).toBeGreaterThan(1);
    expect(shown.size).toBeLessThanOrEqual(5);
  },
);

test.each([
  "SELECT p.phone, p.mobile, m.id FROM people p LEFT JOIN mails m ON m.person = p.id AND m.id < 0 WHERE p.id <= 5",
  "SELECT p.*, m.sender FROM people p JOIN mails m ON m.person = p.id WHERE p.id <= 5",
  "SELECT p.phone, (SELECT count(*) FROM mails) FROM people p WHERE p.id <= 5",
  "SELECT p.phone, (SELECT d.mobile FROM people d WHERE d.id = p.id) FROM people p WHERE p.id <= 5",
])("a person's own values count once: %s", async (text) => {
  for (let round = 0; round < 2; round++) expect(await idsOf(lead, text)).toHaveLength(5);
});

test("cursors, prepared statements, portals that stop, and COPY are counted row by row", async () => {
  await lead.query("BEGIN; DECLARE c CURSOR FOR SELECT phone FROM people ORDER BY id");
  expect(await idsOf(lead, "FETCH 3 FROM c")).toHaveLength(3);
  await expect(lead.query("FETCH 3 FROM c")).rejects.toMatchObject(usedUp("roles.lead.reveals.phone.1d"));
  await lead.query("ROLLBACK");
  await lead.query("PREPARE p AS SELECT email FROM people WHERE id <= $1");
  expect(await idsOf(lead, "EXECUTE p(4)")).toHaveLength(4);
  await expect(lead.query("EXECUTE p(20)")).rejects.toMatchObject(usedUp("roles.lead.reveals.email.1d"));
  const copied = await psql(["-qAt"], {
    uri: sluice.uri("ben"),
    input: "COPY (SELECT email FROM people WHERE id > 20) TO STDOUT;\n",
  });
  expect(`${copied.stdout}${copied.stderr}`).toContain("8 reveals of email in 1d");
  expect(copied.stdout).not.toContain("@example.com");
});

test("a budget of people that stops a row stops its reveals: nothing is counted that did not leave", async () => {
  sluice.setPolicy(policyOf("reveals: { phone: { 1d: 5 } }, budget: { 1d: { people: 2 } }"));
  const fresh = await sluice.connect("ben");
  await expect(fresh.query("SELECT phone FROM people WHERE id > 10")).rejects.toMatchObject(
    usedUp("roles.lead.budget.1d.people"),
  );
  await fresh.end();
  sluice.setPolicy(policyOf("reveals: { phone: { 1d: 5 } }, budget: { 1d: { people: 1000 } }"));
  const again = await sluice.connect("ben");
  expect(await idsOf(again, "SELECT phone FROM people WHERE id IN (21, 22, 23)")).toHaveLength(3);
  await again.end();
});

test("policy explain says what is turned back, and by which budgets it is counted", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "sluice-reveals-")), "policy.yaml");
  onTestFinished(() => rmSync(dirname(file), { recursive: true }));
  writeFileSync(file, policyOf(LIMITS));
  const told = async (user: string, ...text: readonly string[]) =>
    (
      await captured(() =>
        policyExplain(["--upstream", database.uri, "--policy", file, "--as", user, ...text]),
      )
    ).out;
  const out = await told("ben", "SELECT phone, email AS e FROM people WHERE id = 1");
  expect(out).toContain("reveals   phone, email\n");
  expect(out).toContain("each person whose phone is turned back as a reveal of phone");
  expect(out).toContain("5 reveals of phone in 1d");
  expect(await told("ben", "SELECT count(phone) FROM people")).not.toContain("as a reveal");
  const json = JSON.parse(await told("anna", "--json", "SELECT phone, email FROM people")) as Explanation;
  expect(json).toMatchObject({ reveals: ["email"], masked: ["phone"] });
});

test("a role that sees, reads and writes all is guarded by its reveals", async () => {
  sluice.setPolicy(
    policyOf(LIMITS).replace(
      "writes: all, sees: all",
      "writes: all, sees: all, reveals: { phone: { 1d: 2 } }",
    ),
  );
  const app = await sluice.connect("helpdesk_app");
  expect(await idsOf(app, "SELECT id, phone FROM people WHERE id < 3")).toHaveLength(2);
  await expect(app.query("SELECT phone FROM people WHERE id = 9")).rejects.toMatchObject(
    usedUp("roles.app.reveals.phone.1d"),
  );
  await app.query("UPDATE people SET phone = '+49 30 1001' WHERE id = 1");
  await app.end();
});

test("without counters nothing is turned back", async () => {
  await stores[0]?.close();
  await expect(lead.query("SELECT phone FROM people WHERE id = 1")).rejects.toMatchObject({ code: "58000" });
});

function problemsOf(lead: string, role = ""): readonly string[] {
  const text = policyOf(lead).concat(role);
  const compiled = compilePolicies([{ name: "p.yaml", text }]);
  return compiled.ok ? [] : compiled.problems.map(({ message }) => message);
}

test("what a policy says of reveals is checked, inherited by window, and shown", () => {
  expect(problemsOf("reveals: { name: { 1d: 5 } }")).toEqual([
    expect.stringContaining('class "name" is not stored as tokens, so nothing of it is turned back'),
  ]);
  expect(problemsOf("reveals: { fax: { 1d: 5 } }")).toEqual([expect.stringContaining('"fax"')]);
  expect(problemsOf("reveals: { phone: { 400d: 5 } }")).toEqual([
    expect.stringContaining("400d is too long"),
  ]);
  expect(problemsOf("reveals: { phone: 5 }")).not.toEqual([]);
  expect(problemsOf("reveals: { phone: { 1d: 5 } }, watch: true")).not.toEqual([]);
  const child =
    "  head: { extends: lead, users: [cleo], reveals: { phone: { 1d: 50, 1h: none }, email: none } }\n";
  const policy = policiesOf(
    policyOf("reveals: { phone: { 1h: 3, 1d: 5 }, email: { 1d: 8 } }").concat(child),
  ).forDatabase("any");
  const limits = (name: string) =>
    policy.roles.get(name)?.reveals.map(({ of, name, limit }) => `${of} ${name} ${limit}`);
  expect(limits("lead")).toEqual(["phone 1h 3", "phone 1d 5", "email 1d 8"]);
  expect(limits("head")).toEqual(["phone 1d 50"]);
  expect(limits("agent")).toEqual([]);
});
