import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  freshDatabase,
  PASSWORDS,
  pgbench,
  pgDump,
  psql,
  startDebianPostgres,
  supportSchema,
  type TestDatabase,
} from "./postgres.ts";
import { redisUrl, startRedis } from "./redis.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("harness");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

test("a test finds the helpdesk's customers", async () => {
  const { rows } = await database.query("SELECT id, name, email, phone FROM customers WHERE id = 7");
  expect(rows).toEqual([
    { id: "7", name: "Alice Ng 7", email: "alice.ng.7@example.com", phone: "+1 555 010700007" },
  ]);
});

test("psql, pg_dump and pgbench run, and users log in with their passwords", async () => {
  const uri = database.uriFor("anna", PASSWORDS.anna);
  const counted = await psql(["-Atc", "SELECT count(*) FROM ONLY customers"], { uri });
  expect(counted).toEqual({ stdout: "1000\n", stderr: "", code: 0 });
  const wrong = await psql(["-c", "SELECT 1"], { uri: database.uriFor("anna", "wrong") });
  expect(wrong.stderr).toContain("password authentication failed");
  expect((await pgbench(["--version"], {})).stdout).toContain("pgbench");
  expect((await pgDump(["--version"], {})).stdout).toContain("pg_dump");
});

test("each test file has a Redis of its own", async () => {
  const [one, two] = [await redisUrl(), await redisUrl()];
  expect(one).not.toBe(two);
  const redis = new Redis(one);
  expect(await redis.dbsize()).toBe(0);
  redis.disconnect();
});

test("a Redis can be killed and started again on its port", async () => {
  const first = await startRedis({});
  await first.kill();
  const second = await startRedis({ port: first.port });
  const redis = new Redis(second.url);
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
  await second.stop();
});

test("an older Postgres is available too", async () => {
  const server = await startDebianPostgres();
  const { stdout } = await psql(["-Atc", "SHOW server_version_num"], { uri: server.uri });
  expect(Number(stdout)).toBeGreaterThanOrEqual(130000);
  await server.stop();
});
