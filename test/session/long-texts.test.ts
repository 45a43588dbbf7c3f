import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Analyst } from "../../proxy/analyst/analyst.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";
import { makeWorld, type World } from "./world.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
roles:
  agent: { users: [anna], reads: all, writes: [public.tickets], sees: [], rows: 100000 }
  counted: { users: [cleo], reads: all, writes: all, sees: all, watch: true, budget: { 1d: 100000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

const many = (count: number, make: (i: number) => string, between = ", ") =>
  Array.from({ length: count }, (_, i) => make(i)).join(between);
/** 90 kB whose analysis takes some hundred milliseconds. */
const LONG = `select id, email from customers where ${many(4_000, (i) => `(id = ${i} and id <> -1)`, " or ")} order by id`;

let program: Program;
let world: World;
let analyst: Analyst;
const lost: string[] = [];
beforeAll(async () => {
  program = await compileSluice();
  const thread = pathToFileURL(join(program.main, "../analyst/thread.js"));
  analyst = new Analyst({ thread, onLost: (why) => lost.push(why) });
  world = await makeWorld("npm", { policy: POLICY, analyst });
});
afterAll(async () => {
  await world.close();
  await analyst.close();
});

async function withClient<T>(user: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await world.sluice.connect(user);
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

test.each(["anna", "cleo"])("others are served while a long text of %s is analysed", async (user) => {
  await withClient(user, (client) =>
    withClient("helpdesk_app", async (other) => {
      let isOver = false;
      const long = client.query(LONG).finally(() => {
        isOver = true;
      });
      let answers = 0;
      while (!isOver) {
        await other.query("select 1");
        answers++;
      }
      const { rows } = await long;
      expect(rows.length).toBeGreaterThan(1);
      if (user === "anna") for (const { email } of rows) expect(email).toMatch(/^.\*\*\*@/);
      expect(answers).toBeGreaterThan(3);
    }),
  );
});

test("what a client sends behind a long text is answered behind it", async () => {
  const client = await world.sluice.raw("anna");
  const text = Buffer.from(LONG.replace("select", "select /* pipelined */"));
  client.send(
    parseMessage("long", text),
    bindMessage("", "long"),
    executeMessage("", 2),
    parseMessage("", Buffer.from("select 1 as one")),
    bindMessage("", ""),
    executeMessage("", 0),
    syncMessage,
  );
  expect((await client.answer()).replaceAll(/D\([^)]*\)/g, "D")).toBe("1 2 D D s 1 2 D C(SELECT 1) Z(I)");
  client.socket.destroy();
});

test("a bulk INSERT with thousands of rows of literals goes through, and its event has the text", async () => {
  world.sluice.statements();
  const sql = `insert into tickets (id, customer_id, subject, body, status, region, created_at) values ${many(3_000, (i) => `(${100_000 + i}, 1, 'no. ${i}', 'a text', 'open', 'eu', '2026-01-01')`)}`;
  await withClient("anna", async (client) => {
    await client.query("begin");
    expect((await client.query(sql)).rowCount).toBe(3_000);
    await client.query("rollback");
  });
  expect(world.sluice.statements().map(({ statement }) => statement)).toContain(
    "insert into tickets (id, customer_id, subject, body, status, region, created_at) values ($1)",
  );
});

describe("texts that end the parser", () => {
  test.each([
    ["parentheses", `select ${"(".repeat(10_000)}1${")".repeat(10_000)}`],
    ["sums", `select 1${"+1".repeat(30_000)}`],
    ["unions", many(16_000, () => "select 1", " union ")],
  ])("%s, one after the other, are refused, and others are served", async (_, sql) => {
    await withClient("anna", (client) =>
      withClient("anna", async (other) => {
        for (let i = 0; i < 5; i++) {
          const refused = client.query(`${sql} -- ${i}`).then(
            () => "no error",
            ({ code }: { code: string }) => code,
          );
          expect((await other.query(`select ${i} as i`)).rows).toEqual([{ i }]);
          expect(await refused).toBe("54001");
        }
      }),
    );
  });
});

test("where the thread cannot be had the session goes on, and the text is taken when it is sent again", async () => {
  const nowhere = new Analyst({ thread: pathToFileURL("/nowhere.js"), onLost: () => {} });
  const { analyse } = analyst;
  const sql = LONG.replace("select", "select /* again */");
  await withClient("anna", async (client) => {
    analyst.analyse = (text, scope) => nowhere.analyse(text, scope);
    await expect(client.query(sql)).rejects.toMatchObject({ code: "58000", hint: "Send it again." });
    analyst.analyse = analyse;
    expect((await client.query(sql)).rows.length).toBeGreaterThan(1);
  });
});

test("an uncounted long statement of a watched role is charged by its size, and the event says so", async () => {
  const { analyse } = analyst;
  const nowhere = new Analyst({ thread: pathToFileURL("/nowhere.js"), onLost: () => {} });
  world.sluice.statements();
  analyst.analyse = (text, scope) => nowhere.analyse(text, scope);
  await withClient("cleo", (client) => client.query(LONG.replace("select", "select /* lost */")));
  analyst.analyse = analyse;
  const [event] = world.sluice.statements().filter(({ user }) => user === "cleo");
  expect(event).toMatchObject({ uncounted: true, decision: "allow" });
  expect(event?.people).toBeGreaterThan(0);
});
