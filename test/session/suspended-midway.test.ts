import type pg from "pg";
import { Sequelize } from "sequelize";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Suspension } from "../../proxy/orders/suspensions.ts";
import {
  bindMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

const ALL = "reads: all, writes: all, sees: all, people_behind: [{ setting: app.agent }]";
const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers, public.notes], writes: [public.notes], calls: [public.noted] }
  app: { users: [helpdesk_app], ${ALL}, watch: true }
  portal: { users: [metabase], ${ALL}, acts_as: agent }
`;

let world: World;
let sluice: TestProxy;
const suspended = new Map<string, Suspension>();
function suspend(user: string): void {
  suspended.set(user, { user, why: "a test", by: "officer", at: Date.now() });
}
const suspensions = {
  isSuspended: (user: string) => suspended.get(user),
  onSuspended: () => () => {},
};

beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE public.notes (id serial PRIMARY KEY, said text);
    CREATE FUNCTION public.noted(said text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.notes (said) VALUES (said)';
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO helpdesk_app, metabase;
    CREATE TABLE public.owned (id int);
    ALTER TABLE public.owned OWNER TO helpdesk_app;
    GRANT CREATE ON SCHEMA public TO helpdesk_app, metabase;
  `);
});
afterAll(() => world?.close());
beforeEach(async () => {
  await world.database.query("TRUNCATE notes");
  sluice = await startProxy(world.database, { policy: POLICY, suspensions });
  return async () => {
    suspended.clear();
    await sluice.close();
  };
});

const notes = async () =>
  (await world.database.query("SELECT said FROM notes ORDER BY id")).rows.map(({ said }) => said);
const note = (said: string) => `INSERT INTO notes (said) VALUES ('${said.replace("'", "''")}')`;
const MIDWAY = { code: "42501", message: '"anna" is suspended: what they wrote was rolled back' };
const SUSPENDED = { code: "42501", message: '"anna" is suspended' };

async function begun(client: pg.Client, person: string): Promise<void> {
  await client.query("BEGIN");
  await client.query("SELECT set_config('app.agent', $1, true)", [person]);
}

/** Whoever comes next on the connection finds it as after any transaction. */
async function worksForBen(client: pg.Client): Promise<void> {
  await begun(client, "ben");
  await client.query(note("ben's"));
  await client.query("COMMIT");
  expect((await client.query("SELECT current_setting('app.agent', true) AS agent")).rows).toEqual([
    { agent: "" },
  ]);
}

const step = (text: string) => [
  parseMessage("", Buffer.from(text)),
  bindMessage("", ""),
  executeMessage("", 0),
];
const query = (text: string) => queryMessage(Buffer.from(text));

describe.each(["helpdesk_app", "metabase"])("behind %s", (account) => {
  test.each([
    ["COMMIT"],
    ["END"],
    ["COMMIT AND CHAIN"],
    [{ text: "COMMIT", values: [] }],
    [{ name: "commit", text: "COMMIT" }],
    [`SELECT 1; COMMIT`],
    ["COMMIT; BEGIN"],
  ] as const)("what a person wrote who is suspended now is not committed: %j", async (commit) => {
    const client = await sluice.connect(account);
    if (typeof commit === "object" && "name" in commit) await client.query({ ...commit });
    await begun(client, "anna");
    await client.query(note("anna's"));
    suspend("anna");
    const refused =
      typeof commit === "string" ? client.query(commit) : client.query({ ...commit } as pg.QueryConfig);
    await expect(refused).rejects.toMatchObject(MIDWAY);
    await worksForBen(client);
    expect(await notes()).toEqual(["ben's"]);
    await client.end();
  });

  test("whoever is named at the end, and in whatever savepoint", async () => {
    const client = await sluice.connect(account);
    await begun(client, "anna");
    await client.query("SAVEPOINT s");
    await client.query(note("anna's"));
    await client.query("RELEASE s");
    await client.query("SET LOCAL app.agent = 'ben'");
    await client.query(note("ben's"));
    suspend("anna");
    await client.query("SELECT said FROM notes");
    await expect(client.query("COMMIT")).rejects.toMatchObject(MIDWAY);
    expect(await notes()).toEqual([]);
    const refused = sluice.statements().filter(({ decision }) => decision === "refuse");
    expect(refused.map(({ user, command, rule }) => [user, command, rule])).toEqual([
      ["ben", "COMMIT", "suspended"],
    ]);
    await client.end();
  });

  test("they may go back, and nothing else; nobody else on the connection notices", async () => {
    const client = await sluice.connect(account);
    await begun(client, "anna");
    await client.query(note("anna's"));
    await client.query("SAVEPOINT s");
    suspend("anna");
    await expect(client.query(note("more"))).rejects.toMatchObject(SUSPENDED);
    await client.query("ROLLBACK TO s");
    await expect(client.query("SELECT noted('more')")).rejects.toMatchObject(SUSPENDED);
    await client.query("ROLLBACK TO SAVEPOINT s");
    await client.query("RELEASE s");
    await client.query("ROLLBACK");
    await worksForBen(client);
    // Of what only read there is nothing to take back.
    suspended.clear();
    await begun(client, "anna");
    await client.query("SELECT said FROM notes");
    suspend("anna");
    await client.query("COMMIT");
    // In a failed block COMMIT is a ROLLBACK.
    suspended.clear();
    await begun(client, "anna");
    await client.query(note("anna's"));
    suspend("anna");
    await expect(client.query("SELECT said FROM notes")).rejects.toMatchObject(SUSPENDED);
    expect((await client.query("COMMIT")).command).toBe("ROLLBACK");
    await worksForBen(client);
    expect(await notes()).toEqual(["ben's", "ben's"]);
    await client.end();
  });

  test("a pool goes on to the next person, whose name follows theirs in the session", async () => {
    const client = await sluice.connect(account);
    await client.query("SET app.agent = 'anna'");
    await client.query(note("1"));
    suspend("anna");
    await expect(client.query(note("2"))).rejects.toMatchObject(SUSPENDED);
    await client.query("BEGIN");
    await client.query("SELECT set_config('app.agent', 'ben', true)");
    await client.query(note("3"));
    await client.query("COMMIT");
    await client.query("SET app.agent = 'ben'");
    await client.query(note("4"));
    await client.query("RESET app.agent");
    expect(await notes()).toEqual(["1", "3", "4"]);
    await client.end();
  });

  test("a pipeline that no BEGIN has opened is not committed at its Sync", async () => {
    const raw = await sluice.raw(account);
    const set = (person: string) => step(`SELECT set_config('app.agent', '${person}', true)`);
    await raw.send(...set("anna"), ...step(note("anna's")), flushMessage).until("C");
    await raw.until("C");
    suspend("anna");
    const ended = await raw.send(syncMessage).until("Z");
    expect(ended.map(({ type }) => type)).toEqual(["E", "Z"]);
    expect(ended[0]?.bytes.toString()).toContain("what they wrote was rolled back");
    expect(ended[1]?.bytes.toString("latin1", 5)).toBe("I");
    await raw.send(...set("ben"), ...step(note("ben's")), syncMessage).until("Z");
    expect(await notes()).toEqual(["ben's"]);
    raw.socket.destroy();
  });

  test("what a pipeline sends behind a refused COMMIT is dropped up to its Sync, and the next one runs", async () => {
    const raw = await sluice.raw(account);
    await raw.send(query("BEGIN")).until("Z");
    await raw.send(...step("SET LOCAL app.agent = 'anna'"), ...step(note("anna's")), syncMessage).until("Z");
    suspend("anna");
    raw.send(...step("COMMIT"), ...step(note("nobody's")), syncMessage);
    raw.send(
      ...step("BEGIN"),
      ...step("SET LOCAL app.agent = 'ben'"),
      ...step(note("ben's")),
      ...step("COMMIT"),
      syncMessage,
    );
    const types = (await raw.until("Z")).map(({ type }) => type).join("");
    expect(types).toMatch(/^1?2?EZ$/);
    expect((await raw.until("Z")).map(({ type }) => type)).not.toContain("E");
    expect(await notes()).toEqual(["ben's"]);
    raw.socket.destroy();
  });

  test("COPY that is being read ends with their error", async () => {
    const raw = await sluice.raw(account);
    await raw.send(query("SET app.agent = 'anna'")).until("Z");
    for (const begin of [[query("COPY notes (said) FROM STDIN")], step("COPY notes (said) FROM STDIN")]) {
      suspended.clear();
      await raw.send(...begin, ...(begin.length > 1 ? [flushMessage] : [])).until("G");
      raw.send(message(Frontend.CopyData, Buffer.from("anna's\n")));
      suspend("anna");
      raw.send(message(Frontend.CopyDone), ...(begin.length > 1 ? [syncMessage] : []));
      const ended = await raw.until("Z");
      expect(ended.map(({ type }) => type)).toEqual(["E", "Z"]);
      expect(ended[0]?.bytes.toString()).toContain('"anna" is suspended');
    }
    expect(await notes()).toEqual([]);
    raw.socket.destroy();
  });
});

test.each([
  "CREATE TABLE made (id int)",
  "CREATE TABLE made AS SELECT 1",
  "SELECT 1 INTO made",
  "ALTER TABLE notes ADD COLUMN more int",
  "CREATE INDEX ON notes (said)",
  "GRANT SELECT ON notes TO ben",
  "COMMENT ON TABLE notes IS 'x'",
  "TRUNCATE notes",
  "DO $$ BEGIN PERFORM noted('x'); END $$",
  "SELECT noted('x')",
  "NOTIFY channel",
  "LOCK TABLE notes",
  "CREATE TEMP TABLE made (id int)",
])("a suspended person does not run %s right behind their name", async (sql) => {
  const client = await sluice.connect("helpdesk_app");
  suspend("anna");
  for (const text of [sql, { text: sql, values: [] }, { text: sql, name: "named" }]) {
    await begun(client, "anna");
    const run = client.query(text as string);
    await expect(run).rejects.toMatchObject(SUSPENDED);
    await client.query("ROLLBACK");
  }
  const raw = await sluice.raw("helpdesk_app");
  raw.send(...step("SELECT set_config('app.agent', 'anna', true)"), ...step(sql), syncMessage);
  expect((await raw.until("Z")).map(({ type }) => type)).toContain("E");
  raw.socket.destroy();
  await client.end();
});

test("what does not run in a pipeline runs all the same, right behind a name", async () => {
  const client = await sluice.connect("helpdesk_app");
  const notices: string[] = [];
  client.on("notice", ({ message: told = "" }) => notices.push(told));
  for (const text of [
    "VACUUM owned",
    "CREATE INDEX CONCURRENTLY ON owned (id)",
    "REINDEX TABLE CONCURRENTLY owned",
  ])
    for (const one of [text, { text, values: [] }]) {
      await client.query("SELECT set_config('app.agent', 'anna', false)");
      await client.query(one as string);
    }
  await client.query("SELECT set_config('app.agent', 'anna', false)");
  suspend("anna");
  for (const text of ["VACUUM owned", "CREATE INDEX CONCURRENTLY ON owned (id)"])
    await expect(client.query({ text, values: [] })).rejects.toMatchObject(SUSPENDED);
  await client.end();
});

test("no way around: EXECUTE of a COMMIT, a query behind an open pipeline, a function that the protocol called", async () => {
  const raw = await sluice.raw("helpdesk_app");
  const set = query("SELECT set_config('app.agent', 'anna', true)");
  const write = async () => {
    suspended.clear();
    for (const one of [query("BEGIN"), set, query(note("anna's"))]) await raw.send(one).until("Z");
    suspend("anna");
  };
  const refused = async (...messages: Buffer[]) => {
    const ended = await raw.send(...messages).until("Z");
    expect(ended.map(({ bytes }) => bytes.toString()).join()).toContain("what they wrote was rolled back");
    expect(ended.at(-1)?.bytes.toString("latin1", 5)).toBe("I");
  };
  await raw
    .send(parseMessage("c", Buffer.from("COMMIT")), parseMessage("d", Buffer.from("EXECUTE c")))
    .send(syncMessage)
    .until("Z");
  for (const name of ["c", "d"]) {
    await write();
    await refused(query(`EXECUTE ${name}`));
  }
  suspended.clear();
  const agent = step("SELECT set_config('app.agent', 'anna', true)");
  await raw.send(...agent, ...step(note("anna's")), flushMessage).until("C");
  await raw.until("C");
  suspend("anna");
  await refused(query("SELECT 1"));
  suspended.clear();
  const { rows } = await world.database.query("SELECT 'noted(text)'::regprocedure::oid AS oid");
  for (const one of [query("BEGIN"), set]) await raw.send(one).until("Z");
  const said = Buffer.from("anna's");
  const call = [int32(rows[0]?.oid ?? 0), uint16(0), uint16(1), int32(said.length), said, uint16(0)];
  await raw.send(message(Frontend.FunctionCall, ...call)).until("Z");
  suspend("anna");
  await refused(query("COMMIT"));
  expect(await notes()).toEqual([]);
  raw.socket.destroy();
});

test("a transaction that is prepared is one that would be committed", async () => {
  const client = await sluice.connect("helpdesk_app");
  await begun(client, "anna");
  await client.query(note("anna's"));
  suspend("anna");
  await expect(client.query("PREPARE TRANSACTION 'x'")).rejects.toMatchObject(MIDWAY);
  await worksForBen(client);
  await client.end();
});

test.each(["helpdesk_app", "metabase"])(
  "behind a pool of one connection the next session finds nothing of it: %s",
  async (account) => {
    const pooled = await startProxy(world.database, { policy: POLICY, suspensions, pool: { size: 1 } });
    const [one, other] = [await pooled.connect(account), await pooled.connect(account)];
    for (const commit of ["COMMIT", { name: "commit", text: "COMMIT" }]) {
      suspended.clear();
      await begun(one, "anna");
      await one.query(note("anna's"));
      suspend("anna");
      await expect(one.query(commit as string)).rejects.toMatchObject(MIDWAY);
      await worksForBen(other);
      await worksForBen(one);
    }
    expect(await notes()).toEqual(Array.from({ length: 4 }, () => "ben's"));
    await one.end();
    await other.end();
    await pooled.close();
  },
);

test("an object mapper hears of it, and its next transaction is stored", async () => {
  const options = { dialect: "postgres", logging: false, pool: { max: 1 } } as const;
  const sequelize = new Sequelize(sluice.uri("helpdesk_app"), options);
  const asPerson = (person: string, midway = () => {}) =>
    sequelize.transaction(async (transaction) => {
      const bind = [person];
      await sequelize.query("SELECT set_config('app.agent', $1, true)", { bind, transaction });
      await sequelize.query("INSERT INTO notes (said) VALUES ($1)", { bind, transaction });
      midway();
    });
  await expect(asPerson("anna", () => suspend("anna"))).rejects.toMatchObject({ original: MIDWAY });
  await expect(asPerson("anna")).rejects.toMatchObject({ original: SUSPENDED });
  await asPerson("ben");
  expect(await notes()).toEqual(["ben"]);
  await sequelize.close();
});
