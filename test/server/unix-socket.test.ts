import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSettings } from "../../proxy/settings.ts";
import { freshDatabase, PASSWORDS, psql, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles: { agent: { users: [anna], reads: all, rows: 100 } }
`;

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await freshDatabase("unix-socket");
  await supportSchema(database.uri);
  folder = await mkdtemp(join(tmpdir(), "sluice-socket-"));
});
afterAll(async () => {
  await database?.drop();
  await rm(folder, { recursive: true, force: true });
});

test("clients connect by a Unix socket, as libpq finds it", async () => {
  const sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    flags: ["--listen", `${folder}/:6432`],
  });
  try {
    const login = {
      host: folder,
      port: 6432,
      user: "anna",
      password: PASSWORDS.anna,
      database: database.database,
    };
    const client = new pg.Client(login);
    await client.connect();
    expect((await client.query("SELECT email FROM customers WHERE id = 7")).rows).toEqual([
      { email: "a***@example.com" },
    ]);
    await client.end();
    const environment = {
      ...{ PGHOST: folder, PGPORT: "6432", PGUSER: "anna", PGPASSWORD: PASSWORDS.anna },
      PGDATABASE: database.database,
    };
    const asked = psql(["-Atc", "SELECT session_user"], { environment });
    expect(await asked).toMatchObject({ stdout: "anna\n", code: 0 });
    expect((await stat(join(folder, ".s.PGSQL.6432"))).mode & 0o777).toBe(0o777);
  } finally {
    await sluice.close();
  }
});

test("a socket that somebody listens at is not taken away", async () => {
  const path = join(folder, ".s.PGSQL.6433");
  const other = createServer().listen({ path });
  const flags = ["--listen", `${folder}:6433`];
  await expect(startSluice({ policy: POLICY, upstream: database.uri, flags })).rejects.toThrow(/EADDRINUSE/);
  other.close();
});

test("a Unix socket has no TLS, and that is said", () => {
  const flags = [
    "--upstream",
    "postgresql://a@b/c",
    "--listen",
    "/run:1",
    "--tls-cert",
    "x",
    "--tls-key",
    "y",
  ];
  const read = readSettings(["--config", "/dev/null", ...flags], {});
  expect(read).toMatchObject({ ok: false, problems: [expect.stringContaining("a Unix socket")] });
});
