import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSettings } from "../../proxy/settings/settings.ts";
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

test("clients connect by each of several addresses, with TLS by those that are none of this machine's", async () => {
  const [cert, key] = [join(folder, "server.pem"), join(folder, "server.key")];
  const request =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost";
  execFileSync("openssl", [...request.split(" "), "-keyout", key, "-out", cert], { stdio: "ignore" });
  const sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    flags: [
      // Beside the one that each of the tests' proxies has.
      ...["--listen", "127.0.0.1:0,[::1]:0", "--listen", `${folder}:6434`],
      ...["--tls-cert", cert, "--tls-key", key, "--tls-required"],
    ],
  });
  const ask = (host: string, port: number, sslmode: string) =>
    psql(["-Atc", "SELECT session_user"], {
      environment: {
        ...{ PGHOST: host, PGPORT: String(port), PGUSER: "anna", PGPASSWORD: PASSWORDS.anna },
        ...{ PGDATABASE: database.database, PGSSLMODE: sslmode, PGCHANNELBINDING: "disable" },
      },
    });
  try {
    expect(sluice.addresses.map(({ host }) => host)).toEqual(["127.0.0.1", "127.0.0.1", "::1", folder]);
    for (const { host, port } of sluice.addresses) {
      expect(await ask(host, port, "prefer")).toMatchObject({ stdout: "anna\n", code: 0 });
      const plain = await ask(host, port, "disable");
      if (host === folder) expect(plain).toMatchObject({ stdout: "anna\n" });
      else expect(plain.stderr).toContain("--tls-required");
    }
  } finally {
    await sluice.close();
  }
  // Nobody listens at any of them any more.
  for (const { host, port } of sluice.addresses) expect((await ask(host, port, "prefer")).code).not.toBe(0);
});

test("where one of several addresses is taken nothing is listened at", async () => {
  const other = createServer().listen({ path: join(folder, ".s.PGSQL.6435") });
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const { port } = free.address() as AddressInfo;
  free.close();
  const flags = ["--listen", `127.0.0.1:${port},${folder}:6435`];
  await expect(startSluice({ policy: POLICY, upstream: database.uri, flags })).rejects.toThrow(/EADDRINUSE/);
  const again = createServer().listen(port, "127.0.0.1");
  await once(again, "listening");
  again.close();
  other.close();
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
