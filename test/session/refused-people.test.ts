import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Suspension } from "../../proxy/orders/suspensions.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

const ALL = "reads: all, writes: all, sees: all, people_behind: [{ setting: app.agent }]";
const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers] }
  app: { users: [helpdesk_app], ${ALL}, watch: true }
  portal: { users: [metabase], ${ALL}, acts_as: agent }
fences:
  helpdesk_app: { outside: refuse, places: [{ from: [0.0.0.0/0], program: "*" }], statements: [{ people: 9, shape: "SELECT name FROM customers WHERE id = $1" }] }
  metabase: { outside: refuse, places: [{ from: [0.0.0.0/0], program: "*" }], statements: [{ people: 9, shape: "SELECT name FROM customers WHERE id = $1" }] }
`;

let world: World;
let sluice: TestProxy;
const suspended = new Map<string, Suspension>();
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase");
});
afterAll(() => world?.close());
beforeEach(async () => {
  sluice = await startProxy(world.database, {
    policy: POLICY,
    suspensions: { isSuspended: (user) => suspended.get(user), onSuspended: () => () => {} },
  });
  return async () => {
    suspended.clear();
    await sluice.close();
  };
});

const KNOWN = "SELECT name FROM customers WHERE id = $1";
const NEW = "SELECT name FROM customers WHERE id = 1 AND $1";

/** Runs what may fail. */
async function tried(client: pg.Client, ...queries: readonly (string | pg.QueryConfig)[]): Promise<void> {
  for (const query of queries)
    await client.query(query).catch((error) => {
      if (!(error instanceof pg.DatabaseError)) throw error;
    });
}

/** Whose each statement is on record, and what became of it. */
async function recorded(client: pg.Client): Promise<readonly string[]> {
  await client.end();
  await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
  const statements = sluice.statements();
  // The role, too, is that of nobody then.
  const unnamed = statements.filter((event) => event.account === undefined);
  expect(unnamed.map(({ role }) => role)).not.toContain("agent");
  return statements.map(
    ({ user, account, decision, command }) => `${account ? user : "nobody"} ${decision} ${command}`,
  );
}

describe.each(["helpdesk_app", "metabase"])("of %s", (account) => {
  test("what a fence refuses at Parse is on record as that of whoever is named then, and never of the one before", async () => {
    const client = await sluice.connect(account);
    const fresh = { text: NEW, values: [true] };
    await tried(
      client,
      "BEGIN",
      "SET LOCAL app.agent = 'anna'",
      { text: KNOWN, values: [1] },
      "COMMIT",
      fresh,
    );
    await tried(client, "BEGIN", "SET LOCAL app.agent = 'ben'", fresh, "COMMIT", fresh);
    expect(await recorded(client)).toEqual([
      ...["nobody allow BEGIN", "nobody allow SET", "anna allow SELECT", "anna allow COMMIT"],
      ...["nobody refuse SELECT", "nobody allow BEGIN", "nobody allow SET", "ben refuse SELECT"],
      ...["nobody allow COMMIT", "nobody refuse SELECT"],
    ]);
    const told = sluice.log.filter((line) => line.includes("a statement was refused"));
    expect(told.map((line) => /"user":"(\w+)"/.exec(line)?.[1])).toEqual([account, "ben", account]);
  });

  test("so it is in a pipeline in which the name is set, and at Bind and Execute of what was prepared before", async () => {
    const raw = await sluice.raw(account);
    const step = (text: string) => [
      parseMessage("", Buffer.from(text)),
      bindMessage("", ""),
      executeMessage("", 0),
    ];
    const settled = (...messages: Buffer[]) => raw.send(...messages, syncMessage).until("Z");
    await settled(...step("SET app.agent = 'anna'"));
    await settled(...step("SET app.agent = 'ben'"), ...step("SELECT email FROM customers"));
    sluice.setPolicy(POLICY.replaceAll("outside: refuse", "outside: observe"));
    await settled(parseMessage("s", Buffer.from("SELECT email FROM customers")));
    await settled(...step("SET app.agent = 'cleo'"));
    sluice.setPolicy(POLICY);
    await settled(bindMessage("", "s"), executeMessage("", 0));
    raw.socket.end();
    await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
    const refused = sluice.statements().filter(({ decision }) => decision === "refuse");
    expect(refused.map(({ user }) => user)).toEqual(["ben", "cleo"]);
  });
});

test("a suspended person is on record for what they prepared before, and whoever runs a portal of somebody else's too", async () => {
  const client = await sluice.connect("metabase");
  const known = { name: "known", text: KNOWN, values: [1] };
  await tried(client, "SET app.agent = 'anna'", known);
  suspended.set("anna", { user: "anna", why: "a test", by: "officer", at: Date.now() });
  await tried(client, known);
  await client.end();
  const raw = await sluice.raw("metabase");
  const parse = (text: string) => parseMessage("", Buffer.from(text));
  const step = (text: string) => [parse(text), bindMessage("", ""), executeMessage("", 0)];
  await raw.send(queryMessage(Buffer.from("BEGIN"))).until("Z");
  await raw.send(...step("SET LOCAL app.agent = 'dora'"), syncMessage).until("Z");
  await raw
    .send(parse("SELECT name FROM customers WHERE id = 7"), bindMessage("c", ""), syncMessage)
    .until("Z");
  await raw.send(...step("SET LOCAL app.agent = 'emil'"), syncMessage).until("Z");
  await raw.send(executeMessage("c", 0), syncMessage).until("Z");
  raw.socket.end();
  await expect.poll(() => sluice.events.filter(({ kind }) => kind === "logout").length).toBe(2);
  const refused = sluice.statements().filter(({ decision }) => decision === "refuse");
  expect(refused.map(({ user, account }) => [user, account])).toEqual([
    ["anna", "metabase"],
    ["emil", "metabase"],
  ]);
});
