import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Suspension } from "../../proxy/orders/suspensions.ts";
import { queryMessage } from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 40 }
    people_behind:
      - setting: app.agent
      - setting: app.user
      - setting: { name: request.jwt.claims, path: sub }
      - setting: { name: request.jwt.claims, path: ["https://example.com/user", nick.name] }
      - comment: user
      - application_name: "helpdesk/(.+)"
      - role: true
    unnamed: { budget: { 1h: 20 } }
  strict:
    users: [cleo]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 1000000 }
    people_behind: [{ setting: app.agent }]
    unnamed: refuse
`;

let world: World;
let sluice: TestProxy;
const suspended = new Map<string, Suspension>();
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, cleo;
    GRANT anna TO helpdesk_app;
    CREATE ROLE counted; GRANT counted TO helpdesk_app; GRANT SELECT (id, name) ON customers TO counted;
    GRANT SELECT (name) ON customers TO anna;
    CREATE FUNCTION public.renames(agent text) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); END $$;
    CREATE TABLE public.visits (agent text);
    GRANT ALL ON public.visits TO helpdesk_app;
    CREATE FUNCTION public.visited() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', NEW.agent, false); RETURN NEW; END $$;
    CREATE TRIGGER visited BEFORE INSERT ON public.visits FOR EACH ROW EXECUTE FUNCTION public.visited();
  `);
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

/** Runs texts one by one, and says who was charged for each that shows customer n, where the n-th text does. */
async function chargedFor(client: pg.Client, steps: readonly string[]): Promise<readonly string[]> {
  let customer = 100;
  const wanted: number[] = [];
  for (const step of steps) {
    const text = step.replace("?", () => {
      wanted.push(++customer);
      return `SELECT name FROM customers WHERE id = ${customer}`;
    });
    await client.query(text).catch((error) => {
      if (!(error instanceof pg.DatabaseError)) throw error;
    });
  }
  const events: StatementEvent[] = [];
  const byId = new Map<string, string>();
  await expect
    .poll(() => {
      events.push(...sluice.statements());
      for (const { subjects, user, account } of events)
        for (const subject of subjects) byId.set(subject, account === undefined ? "unnamed" : user);
      return byId.size;
    })
    .toBe(wanted.length);
  return wanted.map((id) => byId.get(`public.customers.id ${id}`) ?? "nobody");
}

const CASES: readonly (readonly [name: string, steps: readonly string[], charged: readonly string[]])[] = [
  [
    "SET holds until it is changed",
    ["?", "SET app.agent = 'anna'", "?", "SET app.agent TO ben", "?", "RESET app.agent", "?"],
    ["unnamed", "anna", "ben", "unnamed"],
  ],
  [
    "SET LOCAL holds until its transaction ends",
    [
      "BEGIN",
      "SET LOCAL app.agent = 'anna'",
      "?",
      "COMMIT",
      "?",
      "BEGIN",
      "?",
      "SET LOCAL app.agent = 'ben'",
      "?",
      "ROLLBACK",
      "?",
    ],
    ["anna", "unnamed", "unnamed", "ben", "unnamed"],
  ],
  [
    "ROLLBACK takes SET back",
    ["SET app.agent = 'anna'", "BEGIN", "SET app.agent = 'ben'", "?", "ROLLBACK", "?"],
    ["ben", "anna"],
  ],
  [
    "savepoints take it back",
    [
      "BEGIN",
      "SET LOCAL app.agent = 'anna'",
      "SAVEPOINT s",
      "SET LOCAL app.agent = 'ben'",
      "?",
      "ROLLBACK TO s",
      "?",
      "SAVEPOINT t",
      "SET LOCAL app.agent = 'cleo'",
      "RELEASE t",
      "?",
      "COMMIT",
      "?",
    ],
    ["ben", "anna", "cleo", "unnamed"],
  ],
  [
    "an error takes it back",
    [
      "BEGIN",
      "SET app.agent = 'anna'",
      "SELECT 1/0",
      "ROLLBACK",
      "?",
      "SET app.agent = 'ben'; SELECT 1/0",
      "?",
    ],
    ["unnamed", "unnamed"],
  ],
  [
    "set_config",
    [
      "SELECT set_config('app.agent', 'anna', false)",
      "?",
      "BEGIN",
      "SELECT set_config('app.agent', 'ben', true)",
      "?",
      "COMMIT",
      "?",
    ],
    ["anna", "ben", "anna"],
  ],
  [
    "RESET ALL and DISCARD ALL",
    ["SET app.agent = 'anna'", "RESET ALL", "?", "SET app.agent = 'anna'", "?", "DISCARD ALL", "?"],
    ["unnamed", "anna", "unnamed"],
  ],
  [
    "a function changes it",
    [
      "SET app.agent = 'anna'",
      "?",
      "SELECT public.renames('ben')",
      "?",
      "DO $$ BEGIN PERFORM set_config('app.agent', 'cleo', false); END $$",
      "?",
    ],
    ["anna", "ben", "cleo"],
  ],
  [
    "a trigger changes it",
    ["SET app.agent = 'anna'", "INSERT INTO public.visits VALUES ('ben')", "?"],
    ["ben"],
  ],
  [
    "a setting of JSON",
    [`SET request.jwt.claims = '{"sub":"anna"}'`, "?", `SET request.jwt.claims = '{"sub":["ben"]}'`, "?"],
    ["anna", "unnamed"],
  ],
  [
    "a key of JSON that has dots in it",
    [
      `SET request.jwt.claims = '{"https://example.com/user":{"nick.name":"anna"},"nick":{"name":"ben"}}'`,
      "?",
      `SET request.jwt.claims = '{"https://example":{"com/user":{"nick.name":"anna"}}}'`,
      "?",
    ],
    ["anna", "unnamed"],
  ],
  [
    "names that look the same are one person's",
    [
      "SET app.agent = 'zo\u00eb n\u00e9'",
      "?",
      "SET app.agent = ' zoe\u0308 \u3000ne\u0301\u2003'",
      "?",
      "? /*user='zoe%CC%88%C2%A0n%C3%A9'*/",
      "RESET app.agent",
      "? /*user='zoe%CC%88%C2%A0n%C3%A9'*/",
    ],
    ["zo\u00eb n\u00e9", "zo\u00eb n\u00e9", "zo\u00eb n\u00e9", "zo\u00eb n\u00e9"],
  ],
  [
    "a name with a letter that shows nothing names nobody",
    ["\u200b", "\u2060", "\u00ad", "\u202e", "\u2800", "\u3164", "\ufe0f", "\u034f"].flatMap((unseen) => [
      `SET app.agent = 'an${unseen}na'`,
      "?",
    ]),
    Array.from({ length: 8 }, () => "unnamed"),
  ],
  [
    "letters of another script or width, and of another case, are other people's",
    ["anna", "\u0430nna", "\uff41nna", "Anna"].flatMap((name) => [`SET app.agent = '${name}'`, "?"]),
    ["anna", "\u0430nna", "\uff41nna", "Anna"],
  ],
  [
    "comments",
    ["? /*user='anna'*/", "? /*user='ben'*/", "?", "? /*user='anna'*/ -- user='ben'"],
    ["anna", "ben", "unnamed", "unnamed"],
  ],
  ["a setting goes before a comment", ["SET app.agent = 'anna'", "? /*user='ben'*/"], ["anna"]],
  [
    "application_name",
    ["SET application_name = 'helpdesk/anna'", "?", "SET application_name = 'psql'", "?"],
    ["anna", "unnamed"],
  ],
  [
    "SET ROLE",
    ["SET ROLE counted", "?", "RESET ROLE", "?", "BEGIN", "SET LOCAL ROLE counted", "?", "COMMIT", "?"],
    ["counted", "unnamed", "counted", "unnamed"],
  ],
  [
    "a setting that has to be quoted, in any case",
    [`SET app."user" = 'anna'`, "?", `SET SESSION APP."USER" TO 'ben'`, "?", `RESET app."user"`, "?"],
    ["anna", "ben", "unnamed"],
  ],
  [
    "a PREPARE of SQL",
    [
      "SET app.agent = 'anna'",
      "PREPARE s AS SELECT set_config('app.agent', 'ben', false)",
      "?",
      "EXECUTE s",
      "?",
    ],
    ["anna", "ben"],
  ],
];

test.each(CASES)("%s", async (_, steps, charged) => {
  const client = await sluice.connect("helpdesk_app");
  expect(await chargedFor(client, steps)).toEqual(charged);
  await client.end();
});

test("the log tells of a name that is none, without the name", async () => {
  const client = await sluice.connect("helpdesk_app");
  for (const name of ["an\u200bna", "a".repeat(129)]) {
    await client.query("SELECT set_config('app.agent', $1, false)", [name]);
    await client.query("SELECT name FROM customers WHERE id = 1");
  }
  const told = sluice.log.filter((line) => line.includes("it names nobody"));
  expect(told).toHaveLength(1);
  expect(told[0]).toContain('"user":"helpdesk_app"');
  expect(told[0]).not.toContain('na"');
  await client.end();
});

test("whoever may not read the subject is shown what they may read, and named by SET ROLE", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("BEGIN; SET LOCAL ROLE anna");
  expect((await client.query("SELECT name FROM customers LIMIT 1")).rows.length).toBe(1);
  await client.query("COMMIT");
  expect((await client.query("SELECT id FROM customers WHERE id = 8")).rows.length).toBe(1);
  const events: StatementEvent[] = [];
  await expect
    .poll(() => events.push(...sluice.statements()) && events.some(({ people }) => people > 0))
    .toBe(true);
  await expect
    .poll(() => events.push(...sluice.statements()) && events.filter(({ people }) => people > 0).length)
    .toBe(2);
  expect(events.filter(({ people }) => people > 0).map(({ user, account }) => [user, account])).toEqual([
    ["anna", "helpdesk_app"],
    ["helpdesk_app", undefined],
  ]);
  await client.end();
});

test("within one text a change leaves open who reads, and the next text has the person", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET app.agent = 'anna'; SELECT name FROM customers WHERE id = 1");
  await client.query("SELECT name FROM customers WHERE id = 2");
  const events: StatementEvent[] = [];
  await expect
    .poll(() => events.push(...sluice.statements()) && events.filter(({ people }) => people > 0).length)
    .toBe(2);
  expect(events.filter(({ people }) => people > 0).map(({ user, uncounted }) => [user, uncounted])).toEqual([
    ["helpdesk_app", true],
    ["anna", undefined],
  ]);
  await client.end();
});

test("a session with many temporary tables, and settings of any length, goes on", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query(
    `do $$ begin for i in 1..400 loop execute format('create temporary table %I ()', 'a long name of a temporary table ' || i); end loop; end $$`,
  );
  for (const [length, person] of [
    [10, "a".repeat(10)],
    [100_000, undefined],
    [12, "a".repeat(12)],
  ] as const) {
    await client.query("select set_config('app.agent', repeat('a', $1), false)", [length]);
    const before = sluice.events.length;
    await client.query("select email from customers where id = 1");
    const readers = () =>
      sluice.events
        .slice(before)
        .flatMap((event) => (event.kind === "statement" && event.people > 0 ? [event.user] : []));
    await expect.poll(readers).toEqual([person ?? "helpdesk_app"]);
  }
  await client.end();
});

test("each person has their own budget, and those who are not named share one", async () => {
  const client = await sluice.connect("helpdesk_app");
  const page = (from: number, to: number) =>
    client.query(`SELECT name FROM customers WHERE id BETWEEN ${from} AND ${to}`);
  await client.query("SET app.agent = 'anna'");
  await page(1, 45).catch(() => {});
  await expect
    .poll(() =>
      page(50, 50).then(
        () => "shown",
        ({ code }) => code,
      ),
    )
    .toBe("53400");
  await client.query("SET app.agent = 'ben'");
  expect((await page(1, 30)).rows.length).toBe(30);
  await client.query("RESET app.agent");
  await page(60, 85).catch(() => {});
  await expect
    .poll(() =>
      page(90, 90).then(
        () => "shown",
        (error) => error.constraint,
      ),
    )
    .toBe("roles.app.unnamed.budget.1h");
  await client.query("SET app.agent = 'ben'");
  expect((await page(1, 30)).rows.length).toBe(30);
  await client.end();
});

test("a name in another encoding than UTF-8 is nobody's: two people would have one", async () => {
  const raw = await sluice.raw("helpdesk_app");
  const texts = [
    "SET client_encoding = latin1",
    "SET app.agent = 'zo\xeb'",
    "SELECT name FROM customers WHERE id = 1",
  ];
  for (const text of texts) {
    raw.send(queryMessage(Buffer.from(text, "latin1")));
    await raw.until("Z");
  }
  const readers = () =>
    sluice.events.flatMap((event) => (event.kind === "statement" && event.people > 0 ? [event.user] : []));
  await expect.poll(readers).toEqual(["helpdesk_app"]);
  raw.socket.destroy();
});

test("the application's own user is nobody behind it, whatever wildcard its role has", async () => {
  sluice.setPolicy(POLICY.replace("users: [helpdesk_app]", 'users: ["helpdesk_*"]'));
  const client = await sluice.connect("helpdesk_app");
  expect(
    await chargedFor(client, ["SET app.agent = 'helpdesk_app'", "?", "SET app.agent = 'anna'", "?"]),
  ).toEqual(["unnamed", "anna"]);
  await client.end();
});

test("unnamed: refuse shows nobody, and refuses nothing else", async () => {
  const client = await sluice.connect("cleo");
  await expect(client.query("SELECT name FROM customers WHERE id = 1")).rejects.toMatchObject({
    code: "42501",
    constraint: "roles.strict.unnamed",
  });
  expect((await client.query("SELECT count(*) FROM customers")).rows.length).toBe(1);
  await client.query("SET app.agent = 'anna'");
  expect((await client.query("SELECT name FROM customers WHERE id = 1")).rows.length).toBe(1);
  await client.end();
});

test("a person who is suspended is stopped in the application, and nobody else", async () => {
  const client = await sluice.connect("helpdesk_app");
  const ask = async (person: string) => {
    await client.query(`SET app.agent = '${person}'`);
    return client.query("SELECT name FROM customers WHERE id = 1");
  };
  expect((await ask("anna")).rows.length).toBe(1);
  suspended.set("anna", { user: "anna", why: "a test", by: "officer", at: Date.now() });
  await expect(ask("anna")).rejects.toMatchObject({ code: "42501", message: '"anna" is suspended' });
  expect((await ask("ben")).rows.length).toBe(1);
  suspended.clear();
  expect((await ask("anna")).rows.length).toBe(1);
  await client.end();
});

test("who is suspended writes and defines nothing either, also right behind the name and with schemas named", async () => {
  const client = await sluice.connect("helpdesk_app");
  suspended.set("anna", { user: "anna", why: "a test", by: "officer", at: Date.now() });
  for (const sql of [
    "UPDATE public.tickets SET id = id WHERE id = 1",
    "DELETE FROM public.customers WHERE id = -1",
    "INSERT INTO public.visits VALUES ('ben')",
    "COPY public.visits FROM STDIN",
    "SELECT count(*) FROM public.customers",
    "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM public.customers",
    "LOCK TABLE public.customers",
  ]) {
    await client.query("SET app.agent = 'anna'");
    await expect(client.query(sql), sql).rejects.toMatchObject({ message: '"anna" is suspended' });
    await expect(client.query({ text: sql, name: sql.slice(0, 20) }), sql).rejects.toMatchObject({
      message: '"anna" is suspended',
    });
  }
  await expect(client.query("DROP TABLE public.visits")).rejects.toMatchObject({ code: "42501" });
  await client.query("SET app.agent = 'ben'");
  await client.query("UPDATE public.tickets SET id = id WHERE id = 1");
  const writers = () =>
    sluice.events.flatMap((event) =>
      event.kind === "statement" && event.statement.startsWith("UPDATE") ? [event.user] : [],
    );
  await expect.poll(writers).toEqual(["anna", "anna", "ben"]);
  await client.end();
});
