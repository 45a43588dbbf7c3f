import type pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import {
  bindMessage,
  copyFailMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { since } from "../harness/postgres-versions.ts";
import { fieldOf, type Message, query, type Raw } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/** anna writes ten rows by one statement, ben forty about people in a day; cleo has both limits, metabase none. */
const POLICY = `
version: 1
tables:
  public.customers: { subject: id }
  public.tickets: { subject: customer_id }
roles:
  agent: { users: [anna], reads: all, writes: all, sees: all, changes: 10 }
  counted: { users: [ben], reads: all, writes: all, sees: all, budget: { 1d: { changes: 40 } } }
  both: { users: [cleo], extends: agent, budget: { 1d: { people: 500, changes: 30 } } }
  narrow: { users: [metabase], reads: all, writes: all, sees: all, rows: 1000 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let counters: CounterStore = createMemoryStore();
const store: CounterStore = {
  charge: (account, batch) => counters.charge(account, batch),
  get ready() {
    return counters.ready;
  },
  close: async () => {},
};

let world: World;
let client: Raw | undefined;

beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY, store });
  await world.database.query(`
    CREATE TABLE notes (id int PRIMARY KEY, body text);
    INSERT INTO notes SELECT g, 'old' FROM generate_series(1, 30) g;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;`);
  await world.sluice.connect("helpdesk_app").then(async (app) => {
    // Its DDL has the proxy read the catalog anew.
    await app.query("CREATE TEMPORARY TABLE seen (id int)");
    await app.end();
  });
});
afterAll(() => world?.close());
beforeEach(async () => {
  counters = createMemoryStore();
  await world.database.query(
    "UPDATE tickets SET assignee = NULL WHERE assignee = 'thief'; UPDATE notes SET body = 'old'; DELETE FROM notes WHERE id > 30",
  );
});

const parse = (sql: string, name = "") => parseMessage(name, Buffer.from(sql));
const bind = (name = "") => bindMessage("", name);
const execute = (rows = 0) => executeMessage("", rows);
const copyData = (text: string) => message(Frontend.CopyData, Buffer.from(text));
const copyDone = message(Frontend.CopyDone);
const TAKE = (rows: number) => `update tickets set assignee = 'thief' where id <= ${rows}`;
const LINES = (rows: number, from = 100) =>
  Array.from({ length: rows }, (_, i) => `${from + i}\tcopied\n`).join("");

async function as(user: string): Promise<Raw> {
  client?.socket.destroy();
  client = await world.sluice.raw(user);
  world.sluice.statements();
  return client;
}

/** As another connection sees it. */
async function taken(): Promise<number> {
  const { rows } = await world.database.query<{ count: number }>(
    "select count(*)::int from tickets where assignee = 'thief'",
  );
  return rows[0]?.count ?? -1;
}

async function copied(): Promise<number> {
  const { rows } = await world.database.query<{ count: number }>(
    "select count(*)::int from notes where id > 30",
  );
  return rows[0]?.count ?? -1;
}

function errorOf(messages: readonly Message[]): (field: string) => string | undefined {
  const error = messages.find(({ type }) => type === "E")?.bytes ?? Buffer.alloc(0);
  return (field) => fieldOf(error, field);
}

describe("a write of more rows than one statement may write", () => {
  test("fails and leaves nothing behind, and the error says how many it would have been", async () => {
    const anna = await as("anna");
    const seen = await anna.send(query("update tickets set assignee = 'thief'")).until("Z");
    const error = errorOf(seen);
    expect(error("C")).toBe("54000");
    expect(error("M")).toBe("this statement would write 2000 rows, more than 10");
    expect(error("n")).toBe("roles.agent.changes");
    expect(await taken()).toBe(0);
    expect(await anna.send(query(TAKE(10))).answer()).toBe("C(UPDATE 10) Z(I)");
    expect(await taken()).toBe(10);
    expect(world.sluice.statements()).toMatchObject([
      { decision: "cut", sqlstate: "54000", rule: "roles.agent.changes", rows: 0, rowsWritten: 2000 },
      { decision: "allow", rows: 0, rowsWritten: 10 },
    ]);
  });

  test.each(
    [
      ["INSERT", "insert into notes select g, 'copied' from generate_series(100, 110) g"],
      [
        "INSERT of VALUES",
        `insert into notes values ${LINES(11)
          .trim()
          .split("\n")
          .map((l) => `(${l.split("\t")[0]}, 'copied')`)
          .join(", ")}`,
      ],
      [
        "ON CONFLICT",
        "insert into notes select g, 'x' from generate_series(1, 11) g on conflict (id) do update set body = 'x'",
      ],
      ["DELETE", "delete from notes"],
      [
        "MERGE",
        "merge into notes n using generate_series(1, 11) g on n.id = g when matched then update set body = 'x'",
      ],
      ["RETURNING", "update notes set body = 'x' returning id"],
    ].filter(([name]) => name !== "MERGE" || since(15)) as [string, string][],
  )("%s", async (_, sql) => {
    const anna = await as("anna");
    expect(await anna.send(query(sql)).answer()).toMatch(/E\(54000\) Z\(I\)$/);
    const { rows } = await world.database.query("select count(*)::int, min(body), max(body) from notes");
    expect(rows).toEqual([{ count: 30, min: "old", max: "old" }]);
  });

  test("in the extended protocol, its pipeline with it; what the client sends next is not touched", async () => {
    const anna = await as("anna");
    anna.send(
      ...[parse(TAKE(3)), bind(), execute(), parse(TAKE(20)), bind(), execute(), syncMessage],
      ...[parse("select 1 as one"), bind(), execute(), syncMessage],
    );
    expect(await anna.answer()).toBe("1 2 C(UPDATE 3) 1 2 E(54000) Z(I)");
    expect(await anna.answer()).toBe("1 2 D(1) C(SELECT 1) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("by a driver, by a statement that is prepared", async () => {
    const anna = await world.sluice.connect("anna");
    const run = (id: number) =>
      anna.query({
        name: "take",
        text: "update tickets set assignee = 'thief' where id <= $1",
        values: [id],
      });
    await expect(run(11)).rejects.toMatchObject({ code: "54000", constraint: "roles.agent.changes" });
    expect(await taken()).toBe(0);
    expect((await run(10)).rowCount).toBe(10);
    await expect(run(11)).rejects.toMatchObject({ code: "54000" });
    expect(await taken()).toBe(10);
    await anna.end();
  });

  test.each([
    ["simple", (sql: string) => [query(sql)]],
    ["extended", (sql: string) => [parse(sql), bind(), execute(), syncMessage]],
    ["extended, with Flush", (sql: string) => [parse(sql), bind(), execute(), flushMessage, syncMessage]],
  ])("fails its block (%s)", async (_, messages) => {
    const anna = await as("anna");
    await anna.send(query("begin")).answer();
    expect(await anna.send(...messages(TAKE(4))).answer()).toMatch(/C\(UPDATE 4\) Z\(T\)$/);
    expect(await anna.send(...messages(TAKE(20))).answer()).toMatch(/E\(54000\) Z\(E\)$/);
    expect(await anna.send(query("commit")).answer()).toBe("C(ROLLBACK) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("by the name of a statement that SQL has prepared", async () => {
    const anna = await as("anna");
    await anna.send(query(`prepare take as ${TAKE(20)}`)).answer();
    expect(await anna.send(query("execute take")).answer()).toBe("E(54000) Z(I)");
    expect(await anna.send(parse("execute take"), bind(), execute(), syncMessage).answer()).toBe(
      "1 2 E(54000) Z(I)",
    );
    expect(await taken()).toBe(0);
  });

  test("may not stand in one message with what could commit it", async () => {
    const anna = await as("anna");
    for (const text of [`${TAKE(20)}; select 1`, `begin; ${TAKE(20)}; commit`, `select 1; ${TAKE(20)}`])
      expect(await anna.send(query(text)).answer()).toBe("E(42501) Z(I)");
    await anna.send(query("begin")).answer();
    expect(await anna.send(query(`${TAKE(5)}; ${TAKE(20)}; ${TAKE(1)}`)).answer()).toBe(
      "C(UPDATE 5) E(54000) Z(E)",
    );
    expect(await anna.send(query("commit")).answer()).toBe("C(ROLLBACK) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("may stand behind the BEGIN of its block, as ODBC's driver writes it, and fails it", async () => {
    const anna = await as("anna");
    const behind = (rows: number) => `begin; savepoint a; ${TAKE(rows)}; release a`;
    expect(await anna.send(query(`begin; ${TAKE(5)}`)).answer()).toBe("C(BEGIN) C(UPDATE 5) Z(T)");
    await anna.send(query("rollback")).answer();
    expect(await anna.send(query(behind(5))).answer()).toBe(
      "C(BEGIN) C(SAVEPOINT) C(UPDATE 5) C(RELEASE) Z(T)",
    );
    await anna.send(query("rollback")).answer();
    for (const text of [`begin; ${TAKE(20)}`, behind(20), `begin; ${TAKE(5)}; ${TAKE(20)}; ${TAKE(1)}`]) {
      expect(await anna.send(query(text)).answer(), text).toMatch(/E\(54000\) Z\(E\)$/);
      for (const end of ["rollback to a", "commit"]) await anna.send(query(end)).answer();
      expect(await taken(), text).toBe(0);
    }
    for (const text of [
      `begin; ${TAKE(20)}; savepoint b`,
      `${TAKE(20)}; begin`,
      `begin; ${TAKE(20)}; commit`,
    ])
      expect(await anna.send(query(text)).answer(), text).toBe("E(42501) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("is not kept by a savepoint that the same message sets behind it", async () => {
    const anna = await as("anna");
    for (const text of [`${TAKE(20)}; savepoint a`, `savepoint a; ${TAKE(20)}; savepoint b`]) {
      await anna.send(query("begin")).answer();
      expect(await anna.send(query(text)).answer()).toBe("E(42501) Z(E)");
      for (const end of ["rollback to a", "rollback to b", "commit"]) await anna.send(query(end)).answer();
      expect(await taken()).toBe(0);
    }
  });

  test("whose rows the client does not fetch to their end fails, and is not committed", async () => {
    const anna = await as("anna");
    anna.send(parse(`${TAKE(20)} returning id`), bind(), execute(2), syncMessage);
    expect(await anna.answer()).toBe("1 2 D(1) D(2) E(42501) Z(I)");
    expect(await taken()).toBe(0);
    // Without rows there is nothing to fetch in portions, whatever the client says.
    anna.send(parse(TAKE(5)), bind(), execute(1), syncMessage);
    expect(await anna.answer()).toBe("1 2 C(UPDATE 5) Z(I)");
  });
});

describe("what writes and has no tag that says how many rows is refused before it runs", () => {
  test.each([
    "with t as (update tickets set assignee = 'thief' returning id) select count(*) from t",
    "with t as (update tickets set assignee = 'thief' returning id) update notes set body = 'x' where id = 1",
    "copy (update tickets set assignee = 'thief' returning id) to stdout",
    "explain analyze update tickets set assignee = 'thief'",
  ])("%s", async (sql) => {
    for (const user of ["anna", "ben"]) {
      const raw = await as(user);
      const seen = await raw.send(query(sql)).until("Z");
      expect(errorOf(seen)("C")).toBe("42501");
      expect(errorOf(seen)("n")).toMatch(/\.(changes|budget)$/);
      expect(await taken()).toBe(0);
    }
  });

  test("but not where nothing counts it", async () => {
    const ben = await as("ben");
    const sql = "with t as (update notes set body = 'x' where id = 1 returning id) select id from t";
    expect(await ben.send(query(sql)).answer()).toBe("T(id) D(1) C(SELECT 1) Z(I)");
    const explain = await (await as("anna")).send(query("explain update notes set body = 'x'")).answer();
    expect(explain).toMatch(/C\(EXPLAIN\) Z\(I\)$/);
  });
});

describe("COPY FROM", () => {
  const copy = "copy notes from stdin";

  test("of too many rows leaves nothing behind", async () => {
    const anna = await as("anna");
    await anna.send(query(copy)).until("G");
    const seen = await anna.send(copyData(LINES(11)), copyDone).until("Z");
    expect(errorOf(seen)("M")).toBe("this statement would write 11 rows, more than 10");
    expect(await copied()).toBe(0);
    await anna.send(query(copy)).until("G");
    expect(await anna.send(copyData(LINES(10)), copyDone).answer()).toBe("C(COPY 10) Z(I)");
    expect(await copied()).toBe(10);
    expect(await anna.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    expect(world.sluice.statements()).toMatchObject([
      { command: "COPY", decision: "cut", rowsWritten: 11 },
      { command: "COPY", decision: "allow", rowsWritten: 10 },
      { command: "SELECT" },
    ]);
  });

  test("in the extended protocol as well, all sent at once", async () => {
    const anna = await as("anna");
    const run = (rows: number) =>
      anna.send(parse(copy), bind(), execute(), copyData(LINES(rows)), copyDone, syncMessage).answer();
    expect(await run(11)).toBe("1 2 G E(54000) Z(I)");
    expect(await copied()).toBe(0);
    expect(await run(4)).toBe("1 2 G C(COPY 4) Z(I)");
    expect(await copied()).toBe(4);
  });

  test("fails its block", async () => {
    const anna = await as("anna");
    await anna.send(query("begin")).answer();
    await anna.send(query(copy)).until("G");
    expect(await anna.send(copyData(LINES(11)), copyDone).answer()).toBe("E(54000) Z(E)");
    expect(await anna.send(query("commit")).answer()).toBe("C(ROLLBACK) Z(I)");
    expect(await copied()).toBe(0);
  });

  test("that the client gives up, or whose data is wrong, fails as without a limit", async () => {
    const anna = await as("anna");
    await anna.send(query(copy)).until("G");
    expect(await anna.send(copyData(LINES(2)), copyFailMessage("enough")).answer()).toBe("E(57014) Z(I)");
    await anna.send(query(copy)).until("G");
    expect(await anna.send(copyData("nonsense\n"), copyData(LINES(3)), copyDone).answer()).toBe(
      "E(22P02) Z(I)",
    );
    expect(await copied()).toBe(0);
    expect(await anna.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
  });
});

describe("a budget of changes", () => {
  test("counts the rows that are written about people, and takes back what does not fit", async () => {
    const ben = await as("ben");
    expect(await ben.send(query(TAKE(30))).answer()).toBe("C(UPDATE 30) Z(I)");
    const error = errorOf(
      await ben.send(query("update tickets set assignee = 'x' where id <= 11")).until("Z"),
    );
    expect(error("C")).toBe("53400");
    expect(error("M")).toBe("budget of 40 changes in 1d has no room for this write of 11");
    expect(error("D")).toMatch(
      /^User "ben": 30 of 40 changes used within 1d. It fits at .*nothing of it was written/,
    );
    expect(error("n")).toBe("roles.counted.budget.1d.changes");
    expect(await taken()).toBe(30);
    // What did not fit was not counted, and what is about nobody is not.
    expect(await ben.send(query("update notes set body = 'x'")).answer()).toBe("C(UPDATE 30) Z(I)");
    expect(await ben.send(query(TAKE(10))).answer()).toBe("N(00000) C(UPDATE 10) Z(I)");
    expect(await ben.send(query("update tickets set status = status where id = 1")).answer()).toBe(
      "E(53400) Z(I)",
    );
    expect(await ben.send(query("select count(*) from tickets where id = 1")).answer()).toBe(
      "T(count) D(1) C(SELECT 1) Z(I)",
    );
    expect(world.sluice.statements().map(({ rowsWritten }) => rowsWritten)).toEqual([
      30,
      11,
      30,
      10,
      1,
      undefined,
    ]);
  });

  test("a write that is larger than all of it fits at no time, and none is told", async () => {
    const ben = await as("ben");
    const error = errorOf(await ben.send(query("update tickets set assignee = 'thief'")).until("Z"));
    expect(error("C")).toBe("53400");
    expect(error("D")).not.toMatch(/fits at/);
    expect(await taken()).toBe(0);
    expect(await ben.send(query(TAKE(40))).answer()).toMatch(/C\(UPDATE 40\) Z\(I\)$/);
  });

  test("what is rolled back has been counted", async () => {
    const ben = await as("ben");
    await ben.send(query("begin")).answer();
    expect(await ben.send(query(TAKE(39))).answer()).toMatch(/C\(UPDATE 39\) Z\(T\)$/);
    await ben.send(query("rollback")).answer();
    expect(await ben.send(query(TAKE(2))).answer()).toBe("E(53400) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("new rows and copied ones count, in each protocol", async () => {
    const ben = await as("ben");
    const insert = `insert into tickets select g, 1, 'thief', 's', 'b', 'open', 'eu', now() from generate_series(900000, 900014) g`;
    try {
      expect(await ben.send(parse(insert), bind(), execute(), syncMessage).answer()).toBe(
        "1 2 C(INSERT 0 15) Z(I)",
      );
      const lines = Array.from(
        { length: 15 },
        (_, i) => `${910000 + i}\t1\tthief\ts\tb\topen\teu\t2020-01-01\n`,
      );
      await ben.send(query("copy tickets from stdin")).until("G");
      expect(await ben.send(copyData(lines.join("")), copyDone).answer()).toBe("C(COPY 15) Z(I)");
      await ben.send(query("copy tickets from stdin")).until("G");
      expect(await ben.send(copyData(lines.join("").replaceAll("9100", "9200")), copyDone).answer()).toBe(
        "E(53400) Z(I)",
      );
      expect(await taken()).toBe(30);
    } finally {
      await world.database.query("DELETE FROM tickets WHERE id >= 900000");
    }
  });

  test("a smaller limit of a statement stands beside it", async () => {
    const cleo = await as("cleo");
    expect(await cleo.send(query(TAKE(11))).answer()).toBe("E(54000) Z(I)");
    for (let i = 0; i < 3; i++)
      expect(await cleo.send(query(TAKE(10))).answer()).toMatch(/C\(UPDATE 10\) Z\(I\)$/);
    expect(await cleo.send(query(TAKE(1))).answer()).toBe("E(53400) Z(I)");
  });

  test("without counters nothing is committed", async () => {
    counters = { ...store, charge: async () => ({ kind: "unreachable" }) };
    const ben = await as("ben");
    expect(await ben.send(query(TAKE(1))).answer()).toBe("E(58000) Z(I)");
    counters = { ...store, charge: () => Promise.reject(new Error("broken")) };
    expect(await ben.send(parse(TAKE(1)), bind(), execute(), syncMessage).answer()).toBe("1 2 E(58000) Z(I)");
    expect(await taken()).toBe(0);
  });

  test("while the counters are asked nothing that the client sends commits", async () => {
    let answer: (grant: { kind: "all" } | { kind: "unreachable" }) => void = () => {};
    const asked = new Promise<void>((resolve) => {
      counters = {
        ...store,
        charge: () => {
          resolve();
          return new Promise((settle) => {
            answer = settle;
          });
        },
      };
    });
    const ben = await as("ben");
    ben.send(query("begin"), query(TAKE(5)), query("commit"));
    expect(await ben.answer()).toBe("C(BEGIN) Z(T)");
    await asked;
    expect(await taken()).toBe(0);
    answer({ kind: "unreachable" });
    expect(await ben.answer()).toBe("E(58000) Z(E)");
    expect(await ben.answer()).toBe("C(ROLLBACK) Z(I)");
    expect(await taken()).toBe(0);
  });
});

describe("the event of a write has the rows written", () => {
  test.each(["metabase", "helpdesk_app"])("of %s, who has no such limit", async (user) => {
    const driver: pg.Client = await world.sluice.connect(user);
    world.sluice.statements();
    await driver.query("update notes set body = 'x' where id <= 20");
    await driver.query("insert into notes values ($1, 'copied') returning id", [200]);
    await driver.query("select id from notes where id = $1", [200]);
    await driver.end();
    await expect.poll(() => world.sluice.events.at(-1)?.kind).toBe("logout");
    const events = world.sluice.statements();
    expect(events.map(({ command, rows, rowsWritten }) => [command, rows, rowsWritten])).toEqual([
      ["UPDATE", 0, 20],
      ["INSERT", 1, 1],
      ["SELECT", 1, undefined],
    ]);
  });

  test("also of COPY, which has the same tag both ways", async () => {
    const app = await as("helpdesk_app");
    await app.send(query("copy notes from stdin")).until("G");
    await app.send(copyData(LINES(12, 300)), copyDone).answer();
    await app.send(query("copy (select id from notes where id >= 300) to stdout")).until("Z");
    app.send(describeMessage({ target: "portal", name: "none" }), syncMessage);
    await app.answer();
    app.socket.destroy();
    await expect.poll(() => world.sluice.events.at(-1)?.kind).toBe("logout");
    expect(world.sluice.statements().map(({ rows, rowsWritten }) => [rows, rowsWritten])).toEqual([
      [0, 12],
      [12, undefined],
    ]);
  });
});

describe("where server connections are shared", () => {
  let pooled: World;
  beforeAll(async () => {
    pooled = await makeWorld("npm", { policy: POLICY, pool: { size: 1 } });
    await pooled.database.query("CREATE TABLE notes (id int PRIMARY KEY, body text)");
    await pooled.database.query("GRANT ALL ON notes TO PUBLIC");
    await pooled.database.query("GRANT ALL ON tickets TO PUBLIC");
  });
  afterAll(() => pooled?.close());

  test("a write that is too large is taken back, by statement and by COPY", async () => {
    const anna = await pooled.sluice.raw("anna");
    expect(await anna.send(query(TAKE(20))).answer()).toBe("E(54000) Z(I)");
    expect(await anna.send(parse(TAKE(20)), bind(), execute(), syncMessage).answer()).toBe(
      "1 2 E(54000) Z(I)",
    );
    for (const [rows, end] of [
      [11, "E(54000) Z(I)"],
      [10, "C(COPY 10) Z(I)"],
    ] as const) {
      await anna
        .send(
          query(
            "copy tickets (id, customer_id, subject, body, status, region, created_at, assignee) from stdin",
          ),
        )
        .until("G");
      const lines = Array.from(
        { length: rows },
        (_, i) => `${900000 + i}\t1\ts\tb\topen\teu\t2020-01-01\tthief\n`,
      );
      expect(await anna.send(copyData(lines.join("")), copyDone).answer()).toBe(end);
    }
    expect(await anna.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    const { rows } = await pooled.database.query(
      "select count(*)::int from tickets where assignee = 'thief'",
    );
    expect(rows).toEqual([{ count: 10 }]);
    anna.socket.destroy();
  });
});
