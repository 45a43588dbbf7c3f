import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Repetitions } from "../../proxy/session/record/coalescing.ts";
import type { Judged } from "../../proxy/session/statement/decision.ts";
import { UNKNOWN_STATEMENT } from "../../proxy/session/statement/run.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await makeWorld("npm", {});
});
afterAll(() => world?.close());

/** What the log has of a session that sees all, once that session is over. */
async function eventsOf(work: (client: pg.Client) => Promise<void>) {
  world.sluice.statements();
  const app = await world.sluice.connect("helpdesk_app");
  await work(app);
  await app.end();
  await expect.poll(() => world.sluice.events.at(-1)?.kind).toBe("logout");
  return world.sluice.statements();
}

test("what an application runs over and over is one event with the number, whatever its literals", async () => {
  const events = await eventsOf(async (client) => {
    const asked = Array.from({ length: 40 }, (_, i) =>
      client.query(`select name from customers where id = ${i + 1}`),
    );
    await Promise.all(asked);
  });
  const reads = events.filter(({ relations }) => relations.includes("public.customers"));
  // A slow machine may need more than one moment for them.
  expect(reads.length).toBeLessThan(40);
  expect(reads.reduce((sum, { count = 1 }) => sum + count, 0)).toBe(40);
  expect(reads.reduce((sum, { rows }) => sum + rows, 0)).toBe(40);
  for (const { statement, startTime, time, count } of reads) {
    expect(statement).toBe("select name from customers where id = $1");
    if (count !== undefined) expect(startTime).toBeLessThanOrEqual(time);
  }
});

test("a statement that fails, or defines something, has an event of its own, behind what came before it", async () => {
  const events = await eventsOf(async (client) => {
    await client.query("select 1 as one");
    await expect(client.query("select 1 / 0 as none")).rejects.toThrow("division by zero");
    await client.query("create table made_here (id int)");
    await client.query("drop table made_here");
  });
  expect(events.map(({ command, sqlstate, count }) => [command, sqlstate, count])).toEqual([
    ["SELECT", undefined, undefined],
    ["SELECT", "22012", undefined],
    ["CREATE TABLE", undefined, undefined],
    ["DROP TABLE", undefined, undefined],
  ]);
});

test("a session that breaks off leaves what it has run", async () => {
  world.sluice.statements();
  const client = await world.sluice.connect("helpdesk_app");
  await client.query("select 7 as seven");
  client.connection.stream.destroy();
  await expect
    .poll(() => world.sluice.events.filter(({ kind }) => kind === "statement").at(-1))
    .toMatchObject({ statement: "select $1 as seven", rows: 1 });
});

test("events of many statements are written one by one, and not all in one turn", () => {
  const written: number[] = [];
  const repetitions = new Repetitions({ observed: ({ rows }) => written.push(rows) }, Date.now);
  const statement = { ...UNKNOWN_STATEMENT, command: "SELECT" };
  const judged = {} as Judged;
  for (let i = 0; i < 100; i++) {
    const own = { ...statement };
    repetitions.add({
      judged,
      statement: own,
      shape: own,
      rows: i,
      bytes: 0,
      written: undefined,
      duration: 0,
    });
  }
  expect(written).toEqual(Array.from({ length: 68 }, (_, i) => i));
  repetitions.flush();
  expect(written).toHaveLength(100);
});
