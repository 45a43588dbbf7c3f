import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  closeMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { fieldOf, query, type Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;
let anna: Raw;

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(async () => {
  await world?.close();
});

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));
const FORBIDDEN = "select * from pg_catalog.pg_authid";
const execute = executeMessage("", 0);
const bind = bindMessage("", "");

async function fresh(): Promise<Raw> {
  anna?.socket.destroy();
  anna = await world.sluice.raw("anna");
  return anna;
}

describe("a refused simple query", () => {
  test("fails alone outside a block, and the session goes on", async () => {
    await fresh();
    expect(await anna.send(query(FORBIDDEN)).answer()).toBe("E(42501) Z(I)");
    expect(await anna.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
  });

  test("fails its block, as any error does", async () => {
    await fresh();
    await anna.send(query("begin")).answer();
    expect(await anna.send(query(FORBIDDEN)).answer()).toBe("E(42501) Z(E)");
    expect(await anna.send(query("select 1")).answer()).toBe("E(25P02) Z(E)");
    expect(await anna.send(query("commit")).answer()).toBe("C(ROLLBACK) Z(I)");
  });

  test("takes back what earlier statements of its message would have done: none of them runs", async () => {
    await fresh();
    const text = `update tickets set status = 'gone' where id = 1; ${FORBIDDEN}`;
    expect(await anna.send(query(text)).answer()).toBe("E(42501) Z(I)");
    const { rows } = await world.database.query("select status from tickets where id = 1");
    expect(rows[0]?.status).not.toBe("gone");
  });

  test("says which policy line refused, and never what the server said", async () => {
    await fresh();
    const [error] = await anna.send(query("delete from customers")).until("Z");
    expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "M")).toMatch(/may not write public.customers/);
    expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "n")).toBe("roles.agent.writes");
    expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "H")).toMatch(/writes/);
  });

  test("shows a syntax error with Postgres's words and the place in the client's own text", async () => {
    await fresh();
    const [error] = await anna.send(query("select 1 +* from where")).until("Z");
    expect(shortOf(error === undefined ? [] : [error])).toBe("E(42601)");
    expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "P")).toMatch(/^\d+$/);
  });

  test("shows an error of the server at the place in the client's own text, though a rewritten one ran", async () => {
    await fresh();
    const text = "select c.id, c.nothing from customers c";
    const [error] = await anna.send(query(text)).until("Z");
    expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "P")).toBe(String(text.indexOf("c.nothing") + 1));
  });
});

test("a server that ends the session before it comes to a refused statement is not hidden by the refusal", async () => {
  await fresh();
  const other = await world.sluice.raw("ben");
  await anna.send(query("select 1")).answer();
  await other.send(query("select 1")).answer();
  world.sluice.statements();
  const { rows } = await world.database.query(
    "select pid from pg_stat_activity where usename = 'anna' order by backend_start desc limit 1",
  );
  const pid = Number(rows[0]?.pid);
  process.kill(pid, "SIGSTOP");
  anna.send(query(FORBIDDEN));
  // The proxy has read what came before this.
  await other.send(query("select 1")).answer();
  other.socket.destroy();
  await world.database.query(`select pg_terminate_backend(${pid})`);
  process.kill(pid, "SIGCONT");
  const [error] = await anna.until("E");
  expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "V")).toBe("FATAL");
  expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "C")).toBe("57P01");
  expect(world.sluice.statements()).toMatchObject([
    { decision: "allow", user: "ben" },
    { decision: "refuse", sqlstate: "42501" },
  ]);
});

describe("a refused message of a pipeline", () => {
  test("makes the server skip to Sync, and the next pipeline runs", async () => {
    await fresh();
    anna.send(
      parse("", FORBIDDEN),
      bind,
      describeMessage({ target: "portal", name: "" }),
      execute,
      syncMessage,
    );
    anna.send(parse("", "select 2 as two"), bind, execute, syncMessage);
    expect(await anna.answer()).toBe("E(42501) Z(I)");
    expect(await anna.answer()).toBe("1 2 D(2) C(SELECT 1) Z(I)");
  });

  test("rolls back what its pipeline wrote before", async () => {
    await fresh();
    anna.send(parse("", "update tickets set status = 'gone' where id = 2"), bind, execute);
    anna.send(parse("", FORBIDDEN), bind, execute, syncMessage);
    expect(await anna.answer()).toBe("1 2 C(UPDATE 1) E(42501) Z(I)");
    const { rows } = await world.database.query("select status from tickets where id = 2");
    expect(rows[0]?.status).not.toBe("gone");
  });

  test("leaves statements of that name and of others as they were", async () => {
    await fresh();
    await anna.send(parse("kept", "select 3 as three"), syncMessage).answer();
    expect(await anna.send(parse("new", FORBIDDEN), syncMessage).answer()).toBe("E(42501) Z(I)");
    expect(await anna.send(bindMessage("", "new"), execute, syncMessage).answer()).toBe("E(26000) Z(I)");
    expect(await anna.send(bindMessage("", "kept"), execute, syncMessage).answer()).toBe(
      "2 D(3) C(SELECT 1) Z(I)",
    );
  });

  test("an error of the server undoes what the skipped messages would have defined", async () => {
    await fresh();
    anna.send(parse("", "select 1/0"), bind, execute, parse("skipped", "select 4"), syncMessage);
    expect(await anna.answer()).toBe("1 E(22012) Z(I)");
    anna.send(bindMessage("", "skipped"), execute, syncMessage);
    expect(await anna.answer()).toBe("E(26000) Z(I)");
  });

  test("a statement that a failed pipeline would have replaced keeps its own treatment", async () => {
    await fresh();
    await anna.send(parse("s", "select id, email from customers where id = 7"), syncMessage).answer();
    anna.send(parse("", "select 1/0"), bind, execute);
    anna.send(closeMessage({ target: "statement", name: "s" }), parse("s", "select 5 as five"), syncMessage);
    anna.send(bindMessage("", "s"), describeMessage({ target: "portal", name: "" }), execute, syncMessage);
    expect(await anna.answer()).toBe("1 E(22012) Z(I)");
    // The subject field that was appended to the real statement stays behind.
    expect(await anna.answer()).toBe("2 T(id,email) D(7,a***@example.com) C(SELECT 1) Z(I)");
  });

  test("no statement that moves names hides behind EXECUTE, to pass one's rows under another's treatment", async () => {
    await fresh();
    await anna.send(query("prepare s as select 'one' as one")).answer();
    anna.send(parse("gone", "deallocate s"), parse("again", "prepare s as select email from customers"));
    anna.send(query("execute gone"), query("execute again"), query("execute s"), syncMessage);
    expect(await anna.answer()).toBe("1 1 E(42501) Z(I)");
    expect(await anna.answer()).toBe("E(42501) Z(I)");
    expect(await anna.answer()).toBe("T(one) D(one) C(SELECT 1) Z(I)");
  });

  test("a name that nobody gave fails as in Postgres", async () => {
    await fresh();
    const target = { target: "statement", name: "nobody" } as const;
    expect(await anna.send(bindMessage("", "nobody"), syncMessage).answer()).toBe("E(26000) Z(I)");
    expect(await anna.send(describeMessage(target), syncMessage).answer()).toBe("E(26000) Z(I)");
    expect(await anna.send(executeMessage("nobody", 0), syncMessage).answer()).toBe("E(34000) Z(I)");
    expect(await anna.send(query("execute nobody")).answer()).toBe("E(26000) Z(I)");
    expect(await anna.send(query("begin; fetch all from nobody")).answer()).toBe("E(34000) Z(I)");
  });

  test("a refused Parse without Sync is answered at Flush, and the rest is skipped until Sync", async () => {
    await fresh();
    anna.send(parse("", FORBIDDEN), flushMessage);
    expect(shortOf(await anna.until("E"))).toBe("E(42501)");
    anna.send(parse("", "select 1"), bind, execute, query("select 2"), syncMessage);
    expect(await anna.answer()).toBe("Z(I)");
  });
});

test("an address that a client types is in no event, however they send it", async () => {
  await fresh();
  world.sluice.statements();
  const address = "alice.ng.7@example.com";
  for (const text of [
    `select id from customers where email = '${address}'`,
    "prepare find(text) as select id from customers where email = $1",
    `execute find('${address}')`,
    `prepare found as select id from customers where email = '${address}'`,
    `select id from customers where email = '${address}`,
    `select id from customers where email = E'${address}`,
    `comment on table customers is '${address}'`,
    `create table copied as select '${address}' as email`,
  ])
    await anna.send(query(text)).answer();
  const events = world.sluice.statements();
  expect(events).toHaveLength(8);
  expect(JSON.stringify(events)).not.toContain(address);
});

describe("messages that nobody expects", () => {
  test("the function call protocol is refused, and the session goes on", async () => {
    await fresh();
    world.sluice.statements();
    const call = Buffer.concat([
      Buffer.from("F"),
      Buffer.from([0, 0, 0, 14, 0, 0, 4, 210, 0, 0, 0, 0, 0, 0]),
    ]);
    expect(await anna.send(call).answer()).toBe("E(0A000) Z(I)");
    expect(await anna.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    expect(world.sluice.statements()).toMatchObject([
      { decision: "refuse", sqlstate: "0A000", statement: "" },
      { decision: "allow" },
    ]);
  });

  test("copy data without a COPY is ignored, as in Postgres", async () => {
    await fresh();
    const stray = [
      Buffer.from("d\0\0\0\u0005x"),
      Buffer.from("c\0\0\0\u0004"),
      Buffer.from("f\0\0\0\u0005\0"),
    ];
    expect(await anna.send(...stray, query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
  });

  test("an unknown message ends the session", async () => {
    await fresh();
    anna.send(Buffer.from("y\0\0\0\u0004"));
    expect(shortOf(await anna.until("E"))).toBe("E(08P01)");
    await anna.closed();
  });

  test("what does not fit its own length is an error of that message", async () => {
    await fresh();
    anna.send(Buffer.from("B\0\0\0\u0007abc"), syncMessage, query("select 1 as one"));
    expect(await anna.answer()).toBe("E(08P01) Z(I)");
    expect(await anna.answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
  });

  test("a statement that no parser can hold is refused each time, and nobody else's is for it", async () => {
    await fresh();
    const other = await world.sluice.raw("anna");
    const deep = query(`select 1${" union select 1".repeat(15_000)}`);
    // A parser whose stack overflowed so often would take no statement any more.
    for (let i = 0; i < 20; i++) {
      expect(await anna.send(deep).answer()).toBe("E(54001) Z(I)");
      expect(await other.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    }
    other.socket.destroy();
  });

  test("several empty statements are one empty query", async () => {
    await fresh();
    expect(await anna.send(query(" ;; -- nothing")).answer()).toBe("I Z(I)");
    expect(await anna.send(parse("", ""), bind, execute, syncMessage).answer()).toBe("1 2 I Z(I)");
  });
});
