import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
admins: [boss]
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let database: TestDatabase;
let folder: string;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("pool_admin");
  folder = await mkdtemp(join(tmpdir(), "sluice-pool-"));
  const users = join(folder, "users.txt");
  const verifier = formatVerifier(await makeVerifier("secret", 4096, randomBytes(16)));
  await writeFile(users, ["boss", "helpdesk_app"].map((user) => `${formatUser(user, verifier)}\n`).join(""), {
    mode: 0o600,
  });
  const flags = ["--auth", "scram", "--users", users, "--pool", "transaction", "--pool-size", "1"];
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, flags });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
  await rm(folder, { recursive: true, force: true });
});

async function connect(user: string, to?: string): Promise<pg.Client> {
  const url = new URL(sluice.uriFor(user, "secret"));
  if (to !== undefined) url.pathname = `/${to}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  return client;
}

test("SHOW POOLS and SHOW SERVERS tell who works, who waits, and what is free", async () => {
  const admin = await connect("boss", "pgbouncer");
  const [one, other] = [await connect("helpdesk_app"), await connect("helpdesk_app")];
  const pools = async () => (await admin.query("SHOW POOLS")).rows;
  const states = async () => (await admin.query("SHOW SERVERS")).rows.map(({ state }) => state);
  await one.query("BEGIN");
  const waiting = other.query("SELECT 1 AS one");
  await expect.poll(pools).toMatchObject([
    {
      user: "helpdesk_app",
      cl_active: 1,
      cl_waiting: 1,
      sv_active: 1,
      sv_idle: 0,
      pool_mode: "transaction",
    },
  ]);
  expect(await states()).toEqual(["active"]);
  await one.query("COMMIT");
  expect((await waiting).rows).toEqual([{ one: 1 }]);
  await expect.poll(pools).toMatchObject([{ cl_waiting: 0, sv_active: 0, sv_idle: 1 }]);
  expect(await states()).toEqual(["idle"]);
  await Promise.all([admin.end(), one.end(), other.end()]);
});
