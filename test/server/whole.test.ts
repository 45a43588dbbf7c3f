import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { compose, type Running } from "../../proxy/app/compose.ts";
import { createLog } from "../../proxy/log.ts";
import { readSettings } from "../../proxy/settings/settings.ts";
import {
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], finds: [email], rows: 10, budget: { 1d: 20 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let database: TestDatabase;
let folder: string;
let sluice: Running;

beforeAll(async () => {
  database = await freshDatabase("whole");
  await supportSchema(database.uri);
  folder = await mkdtemp(join(tmpdir(), "sluice-whole-"));
  await writeFile(join(folder, "policy.yaml"), POLICY);
  const free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
  const places = ["--policy", join(folder, "policy.yaml"), "--audit", join(folder, "audit")];
  const read = readSettings([...free, ...places, "--upstream", database.uri], {});
  if (!read.ok) throw new Error(read.problems.join("\n"));
  const composed = await compose(read.settings, createLog({ level: "silent" }));
  if (!composed.ok) throw new Error(composed.problems.join("\n"));
  sluice = composed.running;
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
  await rm(folder, { recursive: true, force: true });
});

async function as<T>(user: SupportUser, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const [{ host, port }] = sluice.addresses;
  const login = { host, port, user, password: PASSWORDS[user], database: database.database };
  const client = new pg.Client(login);
  client.on("error", () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

test("anna logs in with the database's password and sees masks; the application sees addresses", async () => {
  const sql = "SELECT email FROM customers WHERE id = $1";
  const seen = (client: pg.Client) => client.query(sql, [7]).then(({ rows }) => rows[0].email);
  expect(await as("anna", seen)).toBe("a***@example.com");
  expect(await as("helpdesk_app", seen)).toBe("alice.ng.7@example.com");
});

test("a dump by anna stops at her limit, and the session goes on", async () => {
  const count = "SELECT count(*)::int AS answer FROM customers";
  const { rows: direct } = await database.query(count);
  const answer = await as("anna", async (client) => {
    const dump = await client.query("SELECT * FROM customers").catch((error) => error.code);
    const { rows } = await client.query(count);
    return [dump, rows[0].answer];
  });
  expect(answer).toEqual(["54000", direct[0]?.answer]);
});

test("closing the proxy ends an idle session with 57P01 and leaves none behind", async () => {
  const [{ host, port }] = sluice.addresses;
  const login = { host, port, user: "anna", password: PASSWORDS.anna, database: database.database };
  const client = new pg.Client(login);
  const told = new Promise((resolve) => client.on("error", resolve));
  await client.connect();
  await client.query("SELECT 1");
  expect(sluice.sessions()).toBe(1);
  await sluice.close();
  expect(await told).toMatchObject({ code: "57P01", severity: "FATAL" });
  expect(sluice.sessions()).toBe(0);
  const left = "SELECT 1 FROM pg_stat_activity WHERE usename = 'anna' AND datname = current_database()";
  await vi.waitFor(async () => expect((await database.query(left)).rows).toEqual([]));
});
