import { createSecretKey } from "node:crypto";
import { SignJWT } from "jose";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Suspension } from "../../proxy/orders/suspensions.ts";
import { Claims } from "../../proxy/session/person/claims.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { valuesOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

const SECRET = createSecretKey(Buffer.alloc(32, 7));

const POLICY = `
version: 1
classes: { email: { mask: email }, phone: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email, phone: phone } }
  public.tickets: { subject: customer_id }
roles:
  agent:
    users: [anna]
    reads: [public.customers, public.tickets, public.visits]
    writes: [public.visits, public.tickets]
    sees: [{ phone: { when: "name = :user" } }]
    finds: [email]
    calls: [public.renames]
    budget: { 1h: 20 }
  lead:
    extends: agent
    sees: [email]
    budget: { 1h: 30 }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    people_behind: [{ setting: app.agent }, { comment: user }, { application_name: "helpdesk/(.+)" }]
    acts_as: agent
    unnamed: { budget: { 1h: 5 } }
  strict:
    users: [ben]
    people_behind: [{ setting: app.agent }]
    acts_as: agent
    unnamed: refuse
  reader: { reads: all, sees: [] }
  wide: { users: [cleo], people_behind: [{ setting: app.agent }], acts_as: reader, unnamed: refuse }
  signed:
    users: [metabase]
    people_behind: [{ setting: app.token }]
    signed_by: { key_file: claims.key }
    acts_as: { claim: groups, roles: { leads: lead, support: agent } }
    unnamed: { role: agent }
`;

const suspended = new Map<string, Suspension>();
let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE public.visits (agent text);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, ben, metabase, anna, cleo;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO helpdesk_app;
    CREATE FUNCTION public.renames(agent text) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); END $$;
    CREATE FUNCTION public.visited() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', NEW.agent, false); RETURN NEW; END $$;
    CREATE TRIGGER visited BEFORE INSERT ON public.visits FOR EACH ROW EXECUTE FUNCTION public.visited();
    UPDATE customers SET name = 'anna' WHERE id = 1;
    UPDATE customers SET name = 'dora' WHERE id = 2;
  `);
});
afterAll(() => world?.close());
beforeEach(async () => {
  sluice = await startProxy(world.database, {
    policy: POLICY,
    suspensions: { isSuspended: (user) => suspended.get(user), onSuspended: () => () => {} },
    claims: new Claims({ keyOf: () => SECRET, now: Date.now, onRejected: () => {} }),
  });
  return async () => {
    suspended.clear();
    await sluice.close();
  };
});

async function emailOf(client: pg.Client, id: number, behind = ""): Promise<"clear" | "masked" | string> {
  try {
    const { rows } = await client.query(`SELECT email FROM customers WHERE id = ${id}${behind}`);
    return /\*/.test(rows[0]?.email) ? "masked" : "clear";
  } catch (error) {
    return (error as pg.DatabaseError).code ?? String(error);
  }
}

/** Who is on record for each statement that named people, in order. */
async function readers(count: number): Promise<readonly string[]> {
  const found = () =>
    sluice.events.filter(
      (event): event is StatementEvent => event.kind === "statement" && event.subjects.length > 0,
    );
  await expect.poll(() => found().length).toBe(count);
  return found().map(({ user, account, role }) => `${user} ${role}${account ? "" : " (account)"}`);
}

test("what the person's role masks is masked and what it may not do is refused, as long as they are named", async () => {
  const client = await sluice.connect("helpdesk_app");
  expect(await emailOf(client, 10)).toBe("clear");
  await client.query("SET app.agent = 'anna'");
  expect(await emailOf(client, 11)).toBe("masked");
  await expect(client.query("DELETE FROM customers WHERE id = 11")).rejects.toMatchObject({ code: "42501" });
  await client.query("RESET app.agent");
  expect(await emailOf(client, 12)).toBe("clear");
  await client.query("BEGIN; SET LOCAL app.agent = 'ben'");
  expect(await emailOf(client, 13)).toBe("masked");
  await client.query("COMMIT");
  expect(await emailOf(client, 14)).toBe("clear");
  expect(await emailOf(client, 15, " /*user='dora'*/")).toBe("masked");
  await client.query("SET application_name = 'helpdesk/emil'");
  expect(await emailOf(client, 16)).toBe("masked");
  expect(await readers(7)).toEqual([
    "helpdesk_app app (account)",
    "anna agent",
    "helpdesk_app app (account)",
    "ben agent",
    "helpdesk_app app (account)",
    "dora agent",
    "emil agent",
  ]);
  await client.end();
});

test("a name that a function, a trigger, a savepoint or a pipeline changes holds from the next statement on", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET app.agent = 'anna'");
  expect(await emailOf(client, 20)).toBe("masked");
  await client.query("SELECT public.renames('ben')");
  expect(await emailOf(client, 21)).toBe("masked");
  await client.query("INSERT INTO visits VALUES ('dora')");
  expect(await emailOf(client, 22)).toBe("masked");
  await client.query("BEGIN");
  await client.query("SAVEPOINT s");
  await client.query("SELECT set_config('app.agent', $1, true)", [""]);
  expect(await emailOf(client, 23)).toBe("clear");
  await client.query("ROLLBACK TO s");
  expect(await emailOf(client, 24)).toBe("masked");
  await client.query("COMMIT");
  // In one text the change leaves open who asks: nobody is named, and what the person was shown is not theirs.
  await client.query("SET app.agent = 'emil'; SELECT email FROM customers WHERE id = 25");
  expect(await readers(6)).toEqual([
    "anna agent",
    "ben agent",
    "dora agent",
    "helpdesk_app app (account)",
    "dora agent",
    "helpdesk_app app (account)",
  ]);
  await client.end();
});

test("a statement that was prepared for one person is judged again for the next", async () => {
  const client = await sluice.connect("helpdesk_app");
  const read = { name: "one", text: "SELECT email, phone, name FROM customers WHERE id = $1" };
  const ask = async (id: number) => (await client.query({ ...read, values: [id] })).rows[0];
  expect(await ask(2)).toMatchObject({ email: expect.not.stringContaining("*") });
  await client.query("SET app.agent = 'anna'");
  const masked = { email: expect.stringContaining("*"), phone: "[redacted]" };
  expect(await ask(2)).toMatchObject(masked);
  // :user is the person.
  expect(await ask(1)).toMatchObject({ phone: expect.stringMatching(/\d/) });
  await client.query("SET app.agent = 'dora'");
  expect(await ask(1)).toMatchObject(masked);
  expect(await ask(2)).toMatchObject({ phone: expect.stringMatching(/\d/) });
  await client.query("RESET app.agent");
  expect(await ask(3)).toMatchObject({ email: expect.not.stringContaining("*") });
  await client.end();
});

test("a cursor and a prepared statement of SQL's do not go from one person to another", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("BEGIN");
  await client.query("DECLARE c CURSOR FOR SELECT email FROM customers ORDER BY id");
  await client.query("PREPARE p AS SELECT email FROM customers WHERE id = 5");
  expect((await client.query("FETCH 1 FROM c")).rows[0].email).not.toContain("*");
  await client.query("SET LOCAL app.agent = 'anna'; SAVEPOINT s");
  await expect(client.query("FETCH 1 FROM c")).rejects.toMatchObject({
    message: "this cursor was opened for another person",
  });
  await client.query("ROLLBACK TO s");
  await expect(client.query("EXECUTE p")).rejects.toMatchObject({ code: "26000" });
  await client.query("ROLLBACK");
  await client.end();
});

test("each person has the budget of their role, and one with the account of their own", async () => {
  const [client, own] = [await sluice.connect("helpdesk_app"), await sluice.connect("anna")];
  const page = (from: number, to: number) =>
    client.query(`SELECT name FROM customers WHERE id BETWEEN ${from} AND ${to}`);
  await client.query("SET app.agent = 'anna'");
  expect((await page(1, 12)).rows.length).toBe(12);
  expect((await own.query("SELECT name FROM customers WHERE id BETWEEN 13 AND 20")).rows.length).toBe(8);
  await expect(page(21, 21)).rejects.toMatchObject({ code: "53400", constraint: "roles.agent.budget.1h" });
  await client.query("SET app.agent = 'ben'");
  expect((await page(21, 30)).rows.length).toBe(10);
  await client.query("RESET app.agent");
  expect((await page(1, 5)).rows.length).toBe(5);
  await expect(page(6, 6)).rejects.toMatchObject({
    code: "53400",
    constraint: "roles.app.unnamed.budget.1h",
  });
  // What one has asked before is not free for another.
  await client.query("SET app.agent = 'emil'");
  await page(1, 20);
  await expect(page(21, 21)).rejects.toMatchObject({ code: "53400" });
  await Promise.all([client.end(), own.end()]);
});

test("where nobody is named and the policy says refuse, nothing of the data is read or written", async () => {
  const client = await sluice.connect("ben");
  const refused = { code: "42501", constraint: "roles.strict.unnamed" };
  await expect(client.query("SELECT email FROM customers WHERE id = 1")).rejects.toMatchObject(refused);
  await expect(client.query("INSERT INTO visits VALUES ('x')")).rejects.toMatchObject(refused);
  await expect(client.query("SELECT email FROM customers WHERE id = $1", [1])).rejects.toMatchObject(refused);
  expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  await client.query("SET app.agent = 'anna'");
  expect(await emailOf(client, 1)).toBe("masked");
  await client.end();
});

test("a result ends within the rows that are read at once when its reader is suspended", async () => {
  const client = await sluice.connect("cleo");
  await client.query("SET app.agent = 'anna'");
  let rows = 0;
  const query = new pg.Query("SELECT a.email, b.email FROM customers a, customers b");
  const ended = new Promise<unknown>((resolve) => {
    query.on("row", () => {
      if (++rows === 1) suspended.set("anna", { user: "anna", why: "a test", by: "officer", at: Date.now() });
    });
    query.on("error", resolve);
    query.on("end", resolve);
  });
  client.query(query);
  expect(await ended).toMatchObject({ code: "42501", message: '"anna" is suspended' });
  expect(rows).toBeLessThan(200_000);
  await client.query("SET app.agent = 'ben'");
  expect((await client.query("SELECT email FROM customers")).rows.length).toBeGreaterThan(999);
  await client.end();
});

test("a person who is suspended is stopped, and nobody else is", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET app.agent = 'cleo'");
  expect(await emailOf(client, 1)).toBe("masked");
  suspended.set("cleo", { user: "cleo", why: "a test", by: "officer", at: Date.now() });
  expect(await emailOf(client, 1)).toBe("42501");
  await expect(client.query("INSERT INTO visits VALUES ('ben')")).rejects.toMatchObject({
    message: '"cleo" is suspended',
  });
  await client.query("SET app.agent = 'ben'");
  expect(await emailOf(client, 1)).toBe("masked");
  await client.end();
});

test("a signed claim gives a role; one without a role of the map, and no claim, is nobody's", async () => {
  const client = await sluice.connect("metabase");
  const claim = (claims: object) =>
    new SignJWT({ exp: Date.now() / 1000 + 60, ...claims }).setProtectedHeader({ alg: "HS256" }).sign(SECRET);
  const seen: string[] = [];
  for (const token of [
    await claim({ sub: "anna", groups: ["support", "leads"] }),
    await claim({ sub: "ben", groups: "support" }),
    await claim({ sub: "cleo", groups: ["boss"] }),
    await claim({ sub: "dora" }),
    "dora",
  ]) {
    await client.query(`SET app.token = '${token}'`);
    seen.push(await emailOf(client, 40 + seen.length));
  }
  expect(seen).toEqual(["clear", "masked", "masked", "masked", "masked"]);
  expect(await readers(5)).toEqual([
    "anna lead",
    "ben agent",
    "metabase agent (account)",
    "metabase agent (account)",
    "metabase agent (account)",
  ]);
  // Whoever could read a token could use it again.
  for (const sql of ["SHOW app.token", "SELECT current_setting('app.token')"])
    await expect(client.query(sql)).rejects.toMatchObject({ code: "42501" });
  await client.end();
});

test("what is written into the setting comes from the client, and from no relation", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET app.agent = 'anna'");
  for (const value of ["name", "(SELECT name FROM customers LIMIT 1)", "concat('a', name)"])
    await expect(
      client.query(`SELECT set_config('app.agent', ${value}, false) FROM customers WHERE id = 1`),
    ).rejects.toMatchObject({ code: "42501" });
  expect((await client.query("SELECT current_setting('app.agent') AS name")).rows).toEqual([
    { name: "anna" },
  ]);
  await expect(client.query("SET app.other = 'x'")).rejects.toMatchObject({ code: "42501" });
  await client.end();
});

test("the order of messages changes nobody's name: pipelines, failed blocks, texts that end one", async () => {
  const raw = await sluice.raw("helpdesk_app");
  const set = (name: string) => [
    parseMessage("", Buffer.from(`SELECT set_config('app.agent', '${name}', false)`)),
    bindMessage("", ""),
    executeMessage("", 0),
  ];
  const read = (id: number) => [
    parseMessage("", Buffer.from(`SELECT email FROM customers WHERE id = ${id}`)),
    bindMessage("", ""),
    executeMessage("", 0),
  ];
  raw.send(
    ...read(50),
    ...set("anna"),
    ...read(51),
    ...set("ben"),
    ...read(52),
    ...set(""),
    ...read(53),
    syncMessage,
  );
  const emails = async () =>
    (await raw.until("Z"))
      .filter(({ type }) => type === "D")
      .flatMap(({ bytes }) => valuesOf(bytes))
      .filter((value) => value.includes("@"))
      .map((value) => (value.includes("*") ? "masked" : "clear"));
  expect(await emails()).toEqual(["clear", "masked", "masked", "clear"]);
  // Prepared for nobody, bound for anna, run for ben.
  raw.send(parseMessage("s", Buffer.from("SELECT email FROM customers WHERE id = 54")), ...set("anna"));
  raw.send(bindMessage("p", "s"), ...set("ben"), executeMessage("p", 0), syncMessage);
  expect(await raw.answer()).toContain("E(42501)");
  raw.send(queryMessage(Buffer.from("SET app.agent = 'anna'")));
  await raw.until("Z");
  raw.send(queryMessage(Buffer.from("BEGIN")), queryMessage(Buffer.from("SELECT 1/0")));
  await raw.until("Z");
  await raw.until("Z");
  // The first statement would end the failed block, and what comes then could be anybody's.
  raw.send(queryMessage(Buffer.from("ROLLBACK; SELECT email FROM customers WHERE id = 55")));
  expect(await raw.answer()).toBe("E(42501) Z(E)");
  raw.send(queryMessage(Buffer.from("ROLLBACK")));
  await raw.until("Z");
  raw.send(queryMessage(Buffer.from("SELECT email FROM customers WHERE id = 56")));
  expect(await emails()).toEqual(["masked"]);
  expect(await readers(5)).toEqual([
    "helpdesk_app app (account)",
    "anna agent",
    "ben agent",
    "helpdesk_app app (account)",
    "anna agent",
  ]);
  raw.socket.destroy();
});

test("a policy that is read anew judges the same person by their new role", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET app.agent = 'anna'");
  expect(await emailOf(client, 60)).toBe("masked");
  sluice.setPolicy(
    POLICY.replace("acts_as: agent\n    unnamed: { budget", "acts_as: lead\n    unnamed: { budget"),
  );
  expect(await emailOf(client, 61)).toBe("clear");
  sluice.setPolicy(POLICY);
  expect(await emailOf(client, 62)).toBe("masked");
  expect(await readers(3)).toEqual(["anna agent", "anna lead", "anna agent"]);
  await client.end();
});

test("the name may come with the startup packet, and server connections may be shared", async () => {
  const pooled = await startProxy(world.database, { policy: POLICY, pool: { size: 1 } });
  const connect = async (name: string) => {
    const options = encodeURIComponent(`-c app.agent=${name}`);
    const client = new pg.Client({ connectionString: `${pooled.uri("helpdesk_app")}&options=${options}` });
    await client.connect();
    return client;
  };
  const [anna, ben, nobody] = [
    await connect("anna"),
    await connect("ben"),
    await pooled.connect("helpdesk_app"),
  ];
  for (const id of [70, 71]) {
    expect(await emailOf(anna, id)).toBe("masked");
    expect(await emailOf(nobody, id)).toBe("clear");
    expect(await emailOf(ben, id)).toBe("masked");
  }
  const found = () =>
    pooled.events.flatMap((event) => (event.kind === "statement" && event.people > 0 ? [event.user] : []));
  await expect.poll(() => found().length).toBe(6);
  expect(found()).toEqual(["anna", "helpdesk_app", "ben", "anna", "helpdesk_app", "ben"]);
  await Promise.all([anna.end(), ben.end(), nobody.end()]);
  await pooled.close();
});

test("a policy that only observes shows all, and says what the person's role would have masked", async () => {
  const observing = await startProxy(world.database, { policy: `${POLICY}mode: observe\n` });
  const client = await observing.connect("helpdesk_app");
  await client.query("SET app.agent = 'anna'");
  expect(await emailOf(client, 80)).toBe("clear");
  await client.query("DELETE FROM customers WHERE id = 999999");
  const found = () =>
    observing.events.flatMap((event) =>
      event.kind === "statement" && (event.people > 0 || event.command === "DELETE") ? [event] : [],
    );
  await client.end();
  await expect.poll(() => found().length).toBe(2);
  expect(found()).toMatchObject([
    { user: "anna", role: "agent", account: "helpdesk_app", decision: "observe", masked: ["email"] },
    { user: "anna", role: "agent", command: "DELETE", decision: "observe", sqlstate: "42501" },
  ]);
  await observing.close();
});
