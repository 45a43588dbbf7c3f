import type pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { ControlConnection } from "../../proxy/catalog/control-connection.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("control");
});
afterAll(() => database.drop());

function control(lingerMs: number): ControlConnection {
  const { hostname, port, username, password } = new URL(database.uri);
  const connection = { host: hostname, port: Number(port), user: username, password };
  const one = new ControlConnection({ connection, database: database.database, lingerMs });
  onTestFinished(() => one.close());
  return one;
}

const pidOf = async (client: pg.Client) =>
  (await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid, pg_sleep(0.1)")).rows[0]?.pid;

test("work that takes longer than the linger time is completed, one piece after the other", async () => {
  const one = control(20);
  const pids = await Promise.all([one.run(pidOf), one.run(pidOf), one.run(pidOf)]);
  expect(new Set(pids).size).toBe(1);
  // A call during the linger time of the last one.
  const next = await one.run(pidOf);
  expect(next).toBeTypeOf("number");
  await expect.poll(() => one.isOpen).toBe(false);
  expect(await one.run(pidOf)).not.toBe(next);
});

test("a caller who keeps it finds it open, and a lost connection is opened again", async () => {
  const one = control(20);
  const stop = one.keep();
  const pid = await one.run(pidOf);
  expect(await one.run(async (client) => (await client.query("SELECT pg_sleep(0.2)")).rowCount)).toBe(1);
  expect(await one.run(pidOf)).toBe(pid);
  const lost = new Promise((resolve) => {
    one.onLost = resolve;
  });
  await database.query("SELECT pg_terminate_backend($1)", [pid]);
  await lost;
  expect(await one.run(pidOf)).not.toBe(pid);
  stop();
  stop();
  await expect.poll(() => one.isOpen).toBe(false);
  await one.close();
  await expect(one.run(pidOf)).rejects.toThrow("closed");
});
