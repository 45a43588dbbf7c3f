import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { FenceWatch } from "../../proxy/behaviour/fence.ts";
import { checkPolicy } from "../../proxy/check/check.ts";
import { fenceText, policyLearn } from "../../proxy/commands/policy-learn.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";
import { makeFolder, NOON, openLog, reading } from "../audit/support.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

const ALL = "reads: all\n    writes: all\n    sees: all";
const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers] }
  app:
    users: [helpdesk_app]
    ${ALL}
    watch: true
  portal:
    users: [metabase]
    ${ALL}
    people_behind: [{ setting: app.agent }]
    acts_as: agent
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase");
});
afterAll(() => world?.close());

/** A day of the application. */
async function work(client: pg.Client): Promise<void> {
  await client.query("BEGIN");
  await client.query("SET LOCAL app.agent = 'anna'");
  await client.query("SELECT email FROM customers WHERE id = 7 /* request 1 */");
  await client.query("SELECT id, name FROM customers WHERE id = $1", [8]);
  await client.query({ name: "count", text: "SELECT count(*) FROM customers WHERE id < $1", values: [100] });
  await client.query("COMMIT");
}

async function learned(sluice: TestProxy, account: string): Promise<string> {
  const events = sluice.statements().filter((event) => (event.account ?? event.user) === account);
  const shapes = [...new Set(events.map(({ statement }) => statement))];
  const tablesOf = (text: string) => [
    ...new Set(events.flatMap(({ statement, relations }) => (statement === text ? relations : []))),
  ];
  const text = fenceText(account, {
    ...{ runs: events.length, first: NOON, last: NOON },
    places: [{ address: "127.0.0.1", program: "" }],
    shapes: shapes.map((statement) => ({ statement, people: 1, runs: 1, tables: tablesOf(statement) })),
  });
  return `${POLICY}\n${text.slice(text.indexOf("fences:")).replace("outside: alert", "outside: refuse")}`;
}

test.each(["helpdesk_app", "metabase"] as const)(
  "%s runs what it has always run, and with its password from elsewhere nobody runs another statement",
  async (account) => {
    const sluice = await startProxy(world.database, { policy: POLICY });
    const first = await sluice.connect(account);
    await work(first);
    await first.end();
    await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
    sluice.setPolicy(await learned(sluice, account));
    const client = await sluice.connect(account);
    await work(client);
    const refused = { code: "42501", constraint: `fences.${account}` };
    for (const sql of [
      "SELECT * FROM customers",
      "COPY customers TO STDOUT",
      "SELECT email FROM customers WHERE id > 7",
      "SELECT email FROM customers WHERE id = 7 OR true",
      "SELECT email FROM customers WHERE id = 7; SELECT email FROM customers",
      "PREPARE count AS SELECT email FROM customers",
      "DECLARE c CURSOR FOR SELECT email FROM customers",
      "DELETE FROM customers",
    ])
      await expect(client.query(sql), sql).rejects.toMatchObject(refused);
    await expect(client.query("SELECT email FROM customers WHERE id < $1", [9])).rejects.toMatchObject(
      refused,
    );
    // Literals and comments are no part of the form.
    await client.query("SELECT email FROM customers WHERE id = 99 /* another request */");
    await client.query("SET application_name = 'psql'");
    await expect(client.query("SELECT email FROM customers WHERE id = 7")).rejects.toMatchObject({
      ...refused,
      message: `"${account}" comes from a place that its fence does not know`,
    });
    await client.query("SET application_name = ''");
    await work(client);
    await client.end();
    await sluice.close();
  },
);

test("under mask a statement that was never run shows every class masked, whoever is named", async () => {
  const sluice = await startProxy(world.database, { policy: POLICY });
  const first = await sluice.connect("metabase");
  await work(first);
  await first.end();
  await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
  sluice.setPolicy((await learned(sluice, "metabase")).replace("outside: refuse", "outside: mask"));
  const client = await sluice.connect("metabase");
  const email = async (sql: string, values?: unknown[]) => (await client.query(sql, values)).rows[0]?.email;
  // The application's own role sees all where nobody is named.
  expect(await email("SELECT email FROM customers WHERE id = 7")).not.toContain("*");
  const masked = [
    "SELECT email FROM customers WHERE id < 7",
    "SELECT c.email FROM customers c WHERE c.id = 7",
  ];
  for (const sql of masked) expect(await email(sql), sql).toContain("*");
  expect(await email("SELECT email FROM customers WHERE id < $1", [7])).toContain("*");
  expect(await email("SELECT email FROM customers WHERE id = 8")).not.toContain("*");
  const whole = await client.query("SELECT email FROM customers WHERE id = 9");
  expect(
    (await client.query("SELECT id FROM customers WHERE email = $1", [whole.rows[0].email])).rows,
  ).toEqual([]);
  await client.query("SET application_name = 'psql'");
  expect(await email("SELECT email FROM customers WHERE id = 7")).toContain("*");
  await client.end();
  await sluice.close();
});

const FENCE = `version: 1
roles: { app: { users: [app], ${ALL.replaceAll(/\n +/g, ", ")}, watch: true } }
fences:
  app:
    outside: alert
    places: [{ from: [10.2.0.0/16], program: "desk *" }, { from: [local], program: jobs }]
    statements: [{ shape: "SELECT $1", people: 3 }, { shape: "SELECT two", people: 0 }]
`;

function compiled(text: string) {
  const result = compilePolicies([{ name: "p.yaml", text }]);
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join("\n"));
  return result.policies.forDatabase("support");
}

test("a new statement, a new place and a hundred times as many people are told of, once a day", () => {
  const told: string[] = [];
  const watch = new FenceWatch({
    fence: (_, account) => compiled(FENCE).fences.get(account),
    onSighting: ({ text, account }) => told.push(`${account}: ${text}`),
  });
  const known = {
    user: "anna",
    account: "app",
    client: "10.2.0.7",
    application: "desk 1",
    statement: "SELECT $1",
  };
  const see = (fields: object) => {
    watch.observe(reading({ ...known, ...fields }));
    return told.splice(0);
  };
  expect(see({ people: 3 })).toEqual([]);
  expect(see({ people: 299 })).toEqual([]);
  expect(see({ people: 300 })).toEqual(["app: a statement showed 300 people; one run has shown 3 at most"]);
  expect(see({ people: 900 })).toEqual([]);
  expect(see({ time: NOON + 86_400_000, people: 300 })).toHaveLength(1);
  // A thousand ordinary runs in one event are ordinary, and one that dumps among them is not.
  expect(see({ statement: "SELECT two", people: 1_000, count: 1_000 })).toEqual([]);
  expect(see({ statement: "SELECT two", people: 1_099, count: 1_000 })).toHaveLength(1);
  expect(see({ statement: "SELECT three" })).toEqual(["app: a statement that it has never run"]);
  expect(see({ statement: "SELECT three" })).toEqual([]);
  expect(see({ client: "10.3.0.7" })).toEqual(['app: a new place: program "desk 1" from 10.3.0.7']);
  expect(see({ application: "psql" })).toHaveLength(1);
  expect(see({ client: "local", application: "jobs" })).toEqual([]);
  expect(see({ user: "ben", account: undefined, statement: "SELECT four" })).toEqual([]);
  expect(see({ command: "BEGIN", statement: "BEGIN ISOLATION LEVEL SERIALIZABLE" })).toEqual([]);
});

test("fences that hold nobody, or refuse nothing, are warned of", () => {
  const warned = (text: string) =>
    checkPolicy(compiled(text))
      .map(({ message }) => message)
      .join("\n");
  expect(warned(FENCE)).not.toMatch(/fence/);
  expect(warned(FENCE.replace("users: [app]", "users: [other]"))).toMatch(/no role names "app"/);
  expect(warned(FENCE.replace("outside: alert", "outside: refuse").replace(", watch: true", ""))).toMatch(
    /the fence of "app" refuses nothing/,
  );
  expect(warned(FENCE.replace("outside: alert", "outside: mask"))).toMatch(
    /the fence of "app" masks nothing/,
  );
});

test("policy learn prints what an account ran, for whomever, as a policy that can be read", async () => {
  const secret = Buffer.alloc(32, 5);
  const base = await makeFolder();
  const folder = join(base, "audit");
  await writeFile(join(base, "key"), secret.toString("hex"), { mode: 0o600 });
  const opened = await openLog(folder, { key: deriveKeys(secret).audit });
  onTestFinished(() => {});
  const run = (fields: object) =>
    opened.log.write(reading({ user: "anna", account: "app", application: "desk", people: 2, ...fields }));
  run({});
  run({ user: "ben", people: 12, count: 4 });
  run({ user: "app", account: undefined, statement: `SELECT "a*b", 'é'\n  FROM "x: y"`, people: 0 });
  run({ statement: "SELECT refused", decision: "refuse", sqlstate: "42501" });
  run({ statement: "SELECT failed", sqlstate: "22012" });
  run({ statement: "" });
  run({ account: "other", statement: "SELECT other" });
  await opened.log.close();
  const written: string[] = [];
  const output = { write: (text: string) => written.push(text) };
  const status = await policyLearn(
    ["app", "--audit", folder, "--key-file", join(base, "key"), "--by", "olga"],
    { output, errors: output },
  );
  const text = written.join("");
  expect([status, text]).toEqual([0, text]);
  const fence = compiled(text).fences.get("app");
  expect(fence?.outside).toBe("alert");
  expect([...(fence?.statements ?? [])]).toEqual([
    ["SELECT name FROM customers WHERE id = $", { people: 3, tables: new Set(["public.customers"]) }],
    [`SELECT "a*b", 'é'\n  FROM "x: y"`, { people: 0, tables: new Set(["public.customers"]) }],
  ]);
  expect(fence?.places).toMatchObject([{ program: { text: "desk", exact: true } }]);
});
