import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { fieldOf, query, type Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;
let client: Raw | undefined;

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(async () => {
  await world?.close();
});

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));
const execute = (rows = 0, portal = "") => executeMessage(portal, rows);
const bind = bindMessage("", "");
const ALL = "select id from customers order by id";
const ONE = "T(one) D(1) C(SELECT 1)";

async function as(user: string): Promise<Raw> {
  client?.socket.destroy();
  client = await world.sluice.raw(user);
  world.sluice.statements();
  return client;
}

describe("a result past its limit of rows", () => {
  test("ends with an error after the allowed rows, and the session goes on", async () => {
    const anna = await as("anna");
    const seen = await anna.send(query(ALL)).until("Z");
    expect(shortOf(seen)).toBe("T(id) D×10 E(54000) Z(I)");
    const error = seen.find(({ type }) => type === "E")?.bytes ?? Buffer.alloc(0);
    expect(fieldOf(error, "M")).toBe("this statement returned more than 10 rows");
    expect(fieldOf(error, "H")).toMatch(/LIMIT/);
    expect(fieldOf(error, "n")).toBe("roles.agent.rows");
    expect(await anna.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
    expect(world.sluice.statements()).toMatchObject([
      { decision: "cut", sqlstate: "54000", rows: 10, rule: "roles.agent.rows", people: 10 },
      { decision: "allow", rows: 1 },
    ]);
  });

  test("may have as many rows as the limit says", async () => {
    const anna = await as("anna");
    expect(await anna.send(query(`${ALL} limit 10`)).answer()).toBe("T(id) D×10 C(SELECT 10) Z(I)");
  });

  test("that the server would take for ever to give is cancelled there", async () => {
    const anna = await as("anna");
    const endless = "select a.id from customers a, customers b, customers c";
    expect(await anna.send(query(endless)).answer()).toBe("T(id) D×10 E(54000) Z(I)");
    const { rows } = await world.database.query(
      "select count(*)::int as running from pg_stat_activity where usename = 'anna' and state = 'active'",
    );
    expect(rows[0]?.running).toBe(0);
  });

  test.each([
    ["that the server has sent whole by then", `${ALL} limit 50`],
    ["that goes on", "select a.id from customers a, customers b, customers c"],
  ])("fails its block, also one %s", async (_, sql) => {
    const anna = await as("anna");
    await anna.send(query("begin")).answer();
    expect(await anna.send(query(sql)).answer()).toBe("T(id) D×10 E(54000) Z(E)");
    expect(await anna.send(query("select 1")).answer()).toBe("E(25P02) Z(E)");
    expect(await anna.send(query("rollback")).answer()).toBe("C(ROLLBACK) Z(I)");
    expect(await anna.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("of a statement that writes takes the writing back", async () => {
    const anna = await as("anna");
    const write = "update tickets set status = 'lost' where id < 50 returning id";
    expect(await anna.send(query(write)).answer()).toBe("T(id) D×10 E(54000) Z(I)");
    const { rows } = await world.database.query("select count(*)::int from tickets where status = 'lost'");
    expect(rows[0]?.count).toBe(0);
    expect(await anna.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test.each(["", "; commit"])(
    "may not stand in one message with a write that could be committed (%s)",
    async (more) => {
      const anna = await as("anna");
      const text = `update tickets set status = 'lost' where id = 1; ${ALL} limit 20${more}`;
      expect(await anna.send(query(text)).answer()).toBe("E(42501) Z(I)");
      await anna.send(query("begin")).answer();
      const inBlock = `update tickets set status = 'lost' where id = 1; ${ALL} limit 20`;
      expect(await anna.send(query(inBlock)).answer()).toBe("C(UPDATE 1) T(id) D×10 E(54000) Z(E)");
      await anna.send(query("commit")).answer();
      const { rows } = await world.database.query("select count(*)::int from tickets where status = 'lost'");
      expect(rows[0]?.count).toBe(0);
    },
  );

  test("a write within the limit is one, and is committed", async () => {
    const anna = await as("anna");
    const write = "update tickets set status = 'seen' where id < 5 returning id";
    expect(await anna.send(query(write)).answer()).toBe("T(id) D×4 C(UPDATE 4) Z(I)");
    expect(await anna.send(query("update tickets set status = 'seen' where id = 9")).answer()).toBe(
      "C(UPDATE 1) Z(I)",
    );
    const { rows } = await world.database.query("select count(*)::int from tickets where status = 'seen'");
    expect(rows[0]?.count).toBe(5);
  });
});

describe("in the extended protocol a result past its limit", () => {
  test("ends with an error, and its pipeline with it", async () => {
    const anna = await as("anna");
    anna.send(parse("", ALL), bind, describeMessage({ target: "portal", name: "" }), execute(), syncMessage);
    anna.send(parse("", "select 1 as one"), bind, execute(), syncMessage);
    expect(await anna.answer()).toBe("1 2 T(id) D×10 E(54000) Z(I)");
    expect(await anna.answer()).toBe("1 2 D(1) C(SELECT 1) Z(I)");
  });

  test.each([` limit 50`, ""])("takes back what its pipeline wrote before and after (%s)", async (limit) => {
    const anna = await as("anna");
    anna.send(parse("", "update tickets set status = 'half' where id = 1"), bind, execute());
    anna.send(parse("", ALL + limit), bind, execute());
    anna.send(parse("", "update tickets set status = 'half' where id = 2"), bind, execute(), syncMessage);
    expect(await anna.answer()).toBe("1 2 C(UPDATE 1) 1 2 D×10 E(54000) Z(I)");
    const { rows } = await world.database.query("select count(*)::int from tickets where status = 'half'");
    expect(rows[0]?.count).toBe(0);
  });

  test("fails its block", async () => {
    const anna = await as("anna");
    await anna.send(query("begin")).answer();
    anna.send(parse("", `${ALL} limit 30`), bind, execute(), syncMessage);
    expect(await anna.answer()).toBe("1 2 D×10 E(54000) Z(E)");
    expect(await anna.send(query("rollback")).answer()).toBe("C(ROLLBACK) Z(I)");
  });

  test("is one over all Executes of its portal", async () => {
    const anna = await as("anna");
    await anna.send(query("begin")).answer();
    anna.send(parse("", ALL), bindMessage("p", ""), execute(6, "p"), flushMessage);
    expect(shortOf(await anna.until("s"))).toBe("1 2 D×6 s");
    anna.send(execute(6, "p"), syncMessage);
    expect(await anna.answer()).toBe("D×4 E(54000) Z(E)");
    expect(await anna.send(query("rollback")).answer()).toBe("C(ROLLBACK) Z(I)");
  });

  test("a client that waits at Flush gets the error without a Sync", async () => {
    const anna = await as("anna");
    anna.send(parse("", `${ALL} limit 20`), bind, execute(), flushMessage);
    expect(shortOf(await anna.until("E"))).toBe("1 2 D×10 E(54000)");
    expect(await anna.send(syncMessage).answer()).toBe("Z(I)");
    expect(await anna.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("messages sent right behind the Sync are not hit by the cancel request", async () => {
    const anna = await as("anna");
    for (let i = 0; i < 10; i++) {
      anna.send(parse("", ALL), bind, execute(), syncMessage, query("select 1 as one"));
      expect(await anna.answer()).toBe("1 2 D×10 E(54000) Z(I)");
      expect(await anna.answer()).toBe(`${ONE} Z(I)`);
    }
  });
});

describe("cursors", () => {
  test("give as many rows as the limit says, over all FETCHes", async () => {
    const anna = await as("anna");
    await anna.send(query(`begin; declare c cursor for ${ALL}`)).answer();
    expect(await anna.send(query("fetch 6 from c")).answer()).toBe("T(id) D×6 C(FETCH 6) Z(T)");
    expect(await anna.send(query("move 5 from c")).answer()).toBe("C(MOVE 5) Z(T)");
    expect(await anna.send(query("fetch 6 from c")).answer()).toBe("T(id) D×4 E(54000) Z(E)");
    await anna.send(query("rollback")).answer();
  });

  test("out of a block, in one message", async () => {
    const anna = await as("anna");
    const text = `declare c cursor with hold for ${ALL}; fetch 8 from c`;
    expect(await anna.send(query(text)).answer()).toBe("C(DECLARE CURSOR) T(id) D×8 C(FETCH 8) Z(I)");
    expect(await anna.send(query("fetch 8 from c")).answer()).toBe("T(id) D(9) D(10) E(54000) Z(I)");
    expect(await anna.send(query("close c")).answer()).toBe("C(CLOSE CURSOR) Z(I)");
  });

  test("are read by Execute and described as their query is, without the appended fields", async () => {
    const anna = await as("anna");
    await anna.send(query(`begin; declare c cursor for select email from customers order by id`)).answer();
    const portal = { target: "portal", name: "c" } as const;
    anna.send(describeMessage(portal), execute(2, "c"), syncMessage);
    expect(await anna.answer()).toBe("T(email) D(b***@example.com) D(c***@example.com) s Z(T)");
    anna.send(parse("f", "fetch 2 from c"), describeMessage({ target: "statement", name: "f" }));
    anna.send(bindMessage("", "f"), execute(), syncMessage);
    expect(await anna.answer()).toBe(
      "1 t T(email) 2 D(d***@example.com) D(e***@example.com) C(FETCH 2) Z(T)",
    );
    await anna.send(query("rollback")).answer();
  });
});

describe("SQL's PREPARE", () => {
  test("has the limits of what it prepared, in one message too", async () => {
    const anna = await as("anna");
    const text = `prepare p as ${ALL}; execute p`;
    expect(await anna.send(query(text)).answer()).toBe("C(PREPARE) T(id) D×10 E(54000) Z(I)");
    // Prepared statements know no transactions.
    expect(await anna.send(query("execute p")).answer()).toBe("T(id) D×10 E(54000) Z(I)");
    expect(await anna.send(query("deallocate p")).answer()).toBe("C(DEALLOCATE) Z(I)");
    expect(await anna.send(query("execute p")).answer()).toBe("E(26000) Z(I)");
  });

  test("is one name space with Parse", async () => {
    const anna = await as("anna");
    await anna.send(parse("p", "select email from customers where id = $1"), syncMessage).answer();
    expect(await anna.send(query("execute p(7)")).answer()).toBe(
      "T(email) D(a***@example.com) C(EXECUTE) Z(I)".replace("EXECUTE", "SELECT 1"),
    );
    await anna.send(query("discard all")).answer();
    expect(await anna.send(query("execute p(7)")).answer()).toBe("E(26000) Z(I)");
  });
});

describe("COPY", () => {
  test("stops after the allowed rows, in and out of a block", async () => {
    const anna = await as("anna");
    expect(await anna.send(query("copy customers (id) to stdout")).answer()).toBe(
      `H ${"d ".repeat(10)}E(54000) Z(I)`,
    );
    await anna.send(query("begin")).answer();
    const some = "copy (select id from customers limit 30) to stdout";
    expect(await anna.send(query(some)).answer()).toBe(`H ${"d ".repeat(10)}E(54000) Z(E)`);
    await anna.send(query("rollback")).answer();
    expect(await anna.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("in binary may have as many rows as the limit says, its trailer is none", async () => {
    const anna = await as("anna");
    const text = "copy (select id from customers limit 10) to stdout (format binary)";
    expect(await anna.send(query(text)).answer()).toBe(`H ${"d ".repeat(11)}c C(COPY 10) Z(I)`);
  });

  test.each(["csv header", "(format csv, header)", "(format csv, header 'ON')", "(format csv, header 1)"])(
    "a line of the columns' names is no row: %s",
    async (options) => {
      const anna = await as("anna");
      const text = `copy (select id from customers limit 10) to stdout ${options}`;
      expect(await anna.send(query(text)).answer()).toBe(`H ${"d ".repeat(11)}c C(COPY 10) Z(I)`);
      expect(world.sluice.statements()).toMatchObject([{ rows: 10, people: 10 }]);
    },
  );

  test.each(["csv", "(format csv, header off)", "(format csv, header 0)"])(
    "without such a line the first is a row: %s",
    async (options) => {
      const anna = await as("anna");
      const text = `copy (select id from customers limit 11) to stdout ${options}`;
      expect(await anna.send(query(text)).answer()).toBe(`H ${"d ".repeat(10)}E(54000) Z(I)`);
    },
  );
});

describe("on_excess: truncate", () => {
  test("gives the first rows, a warning and their number", async () => {
    const ben = await as("ben");
    const seen = await ben.send(query(ALL)).until("Z");
    expect(shortOf(seen)).toBe("T(id) D×10 N(01000) C(SELECT 10) Z(I)");
    expect(fieldOf(seen.find(({ type }) => type === "N")?.bytes ?? Buffer.alloc(0), "S")).toBe("WARNING");
    expect(world.sluice.statements()).toMatchObject([{ decision: "cut", rows: 10 }]);
    expect(await ben.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("a result of exactly so many rows has no warning", async () => {
    const ben = await as("ben");
    expect(await ben.send(query(`${ALL} limit 10`)).answer()).toBe("T(id) D×10 C(SELECT 10) Z(I)");
    ben.send(parse("", `${ALL} limit 10`), bind, execute(), syncMessage);
    expect(await ben.answer()).toBe("1 2 D×10 C(SELECT 10) Z(I)");
  });

  test("leaves a block as it is", async () => {
    const ben = await as("ben");
    await ben.send(query("begin")).answer();
    expect(await ben.send(query(ALL)).answer()).toBe("T(id) D×10 N(01000) C(SELECT 10) Z(T)");
    expect(await ben.send(query("commit")).answer()).toBe("C(COMMIT) Z(I)");
  });

  test("in the extended protocol too, whole and by portions", async () => {
    const ben = await as("ben");
    ben.send(parse("", ALL), bind, execute(), syncMessage);
    expect(await ben.answer()).toBe("1 2 D×10 N(01000) C(SELECT 10) Z(I)");
    await ben.send(query("begin")).answer();
    ben.send(parse("", ALL), bindMessage("p", ""), execute(6, "p"), syncMessage);
    expect(await ben.answer()).toBe("1 2 D×6 s Z(T)");
    expect(await ben.send(execute(6, "p"), syncMessage).answer()).toBe("D×4 N(01000) C(SELECT 4) Z(T)");
    expect(await ben.send(execute(6, "p"), syncMessage).answer()).toBe("N(01000) C(SELECT 0) Z(T)");
    await ben.send(query("rollback")).answer();
  });

  test("a write is done whole, and its tag says so", async () => {
    const ben = await as("ben");
    const write = "update tickets set region = 'xx' where id between 101 and 150 returning id";
    expect(await ben.send(query(write)).answer()).toBe("T(id) D×10 N(01000) C(UPDATE 50) Z(I)");
    const { rows } = await world.database.query("select count(*)::int from tickets where region = 'xx'");
    expect(rows[0]?.count).toBe(50);
  });

  test("COPY and FETCH end early as well", async () => {
    const ben = await as("ben");
    const copied = await ben.send(query("copy customers (id) to stdout")).answer();
    expect(copied).toBe(`H ${"d ".repeat(10)}c N(01000) C(COPY 10) Z(I)`);
    await ben.send(query(`begin; declare c cursor for ${ALL}`)).answer();
    expect(await ben.send(query("fetch all from c")).answer()).toBe("T(id) D×10 N(01000) C(FETCH 10) Z(T)");
    await ben.send(query("rollback")).answer();
  });

  test("several statements in one message cannot be truncated, and are refused", async () => {
    const ben = await as("ben");
    expect(await ben.send(query(`${ALL}; select 1`)).answer()).toBe("E(42501) Z(I)");
    expect(await ben.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("a statement that fails says so, and the session goes on", async () => {
    const ben = await as("ben");
    expect(await ben.send(query("select 1/(id - id) from customers")).answer()).toBe(
      "T(?column?) E(22012) Z(I)",
    );
    expect(await ben.send(query("select nothing from customers")).answer()).toBe("E(42703) Z(I)");
    expect(await ben.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });
});

describe("a limit of bytes", () => {
  test("stops many small rows and one big one", async () => {
    const metabase = await as("metabase");
    expect(await metabase.send(query("select repeat('x', 500) as x from customers")).answer()).toMatch(
      /^T\(x\) D×4 E\(54000\) Z\(I\)$/,
    );
    expect(await metabase.send(query("select repeat('x', 1000000) as x from customers")).answer()).toBe(
      "T(x) E(54000) Z(I)",
    );
    expect(await metabase.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
    expect(world.sluice.statements().map(({ rule }) => rule)).toEqual([
      "roles.narrow.bytes",
      "roles.narrow.bytes",
      undefined,
    ]);
  });
});
