import { randomBytes } from "node:crypto";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import pg from "pg";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
} from "vitest";
import { auditVerify } from "../../proxy/commands/audit-verify.ts";
import { freePort, type RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { logIn } from "../admin/console/browsing.ts";
import { captured } from "../commands/captured.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { startPostgres } from "../harness/postgres.ts";
import { launchRedis } from "../harness/redis-process.ts";
import { type SluiceOptions, startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY =
  "version: 1\nroles: { app: { users: [anna], reads: all, writes: all, sees: all, budget: none } }\n";

let files: Awaited<ReturnType<typeof makeCertificates>>;
let server: RunningPostgres;
let admin: pg.Client;
let folder: string;
let sluice: TestSluice | undefined;

beforeAll(async () => {
  files = await makeCertificates();
  const { certificate, key } = files.database;
  server = await startPostgres({
    hba: ["host all all 127.0.0.1/32 scram-sha-256"],
    settings: { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key },
  });
  admin = new pg.Client({ connectionString: server.uri });
  await admin.connect();
});
afterAll(async () => {
  await admin?.end();
  await server?.stop();
  await files?.remove();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-reload-"));
  await admin.query("DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN PASSWORD 'one'");
});
afterEach(async () => {
  await sluice?.close();
  sluice = undefined;
  await rm(folder, { recursive: true, force: true });
});

const secret = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 });
const uriOf = (password: string, more = "") =>
  `postgresql://keeper:${password}@127.0.0.1:${server.port}/postgres${more}`;

/** Sessions log in with the credentials of --upstream. */
async function start(options: Partial<SluiceOptions> = {}): Promise<TestSluice> {
  const verifier = formatVerifier(await makeVerifier("hers", 4096, randomBytes(16)));
  await secret("users", `${formatUser("anna", verifier)}\n`);
  const flags = [
    "--auth",
    "scram",
    "--users",
    join(folder, "users"),
    "--upstream-file",
    join(folder, "upstream"),
  ];
  sluice = await startSluice({
    policy: POLICY,
    upstream: "",
    ...options,
    flags: [...flags, ...(options.flags ?? [])],
  });
  return sluice;
}

/** The SQLSTATE of a login, or "in". */
async function logInAs(to: TestSluice): Promise<string> {
  const client = new pg.Client({
    host: to.host,
    port: to.port,
    user: "anna",
    password: "hers",
    database: "postgres",
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("SELECT 1");
    return "in";
  } catch (error) {
    return (error as pg.DatabaseError).code ?? "lost";
  } finally {
    await client.end().catch(() => {});
  }
}

describe.each(["session", "transaction"])("with --pool %s, a reload reads", (pool) => {
  test("the password towards the server; a bad file leaves the last one, and the log says what is wrong", async () => {
    await secret("upstream", uriOf("one"));
    const running = await start({ flags: ["--pool", pool] });
    expect(await logInAs(running)).toBe("in");
    await admin.query("ALTER ROLE keeper PASSWORD 'two'");
    await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'");
    expect(await logInAs(running)).not.toBe("in");
    expect(running.log).toContainEqual(
      expect.objectContaining({
        msg: expect.stringMatching(/^login failed$|of the pool could not be opened/),
        problem: expect.stringContaining("--upstream"),
      }),
    );
    await secret("upstream", uriOf("two"));
    await running.reload();
    expect(await logInAs(running)).toBe("in");
    await secret("upstream", "no uri");
    await running.reload();
    expect(await logInAs(running)).toBe("in");
    expect(running.log).toContainEqual(
      expect.objectContaining({
        level: "error",
        msg: expect.stringContaining("the last ones stay in force"),
      }),
    );
  });
});

test("the authorities of the server's certificate are read again, and bad ones leave the last", async () => {
  const root = join(folder, "root.pem");
  await copyFile(files.client.certificate, root);
  const verifying = `?sslmode=verify-ca&sslrootcert=${encodeURIComponent(root)}`;
  await secret("upstream", uriOf("one", verifying));
  const running = await start();
  expect(await logInAs(running)).not.toBe("in");
  await copyFile(files.database.certificate, root);
  await running.reload();
  expect(await logInAs(running)).toBe("in");
  await writeFile(root, "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n");
  await running.reload();
  expect(await logInAs(running)).toBe("in");
});

test("the tokens of the console are read again", async () => {
  await secret("upstream", uriOf("one"));
  const [first, second] = [randomBytes(24).toString("hex"), randomBytes(24).toString("hex")];
  await secret("tokens", first);
  const running = await start({ flags: ["--console-token-file", join(folder, "tokens")] });
  const officer = await logIn(running, first);
  expect(await officer.see("/console")).toContain("Overview");
  await secret("tokens", second);
  await running.reload();
  // Whoever logged in with a token that is no more is logged out.
  expect(await officer.see("/console")).toContain("Log in to the console");
  await logIn(running, second);
  await expect(logIn(running, first)).rejects.toThrow(/not logged in/);
});

test("the password of Redis is read again, and connections that were lost come back with it", async () => {
  const redis = await launchRedis({ args: ["--requirepass", "one"] });
  onTestFinished(() => redis.stop());
  await secret("upstream", uriOf("one"));
  await secret("redis", `redis://:one@127.0.0.1:${redis.port}`);
  const running = await start({ flags: ["--redis-file", join(folder, "redis")] });
  const countersUp = () => running.metric("sluice_counters_up");
  await vi.waitFor(async () => expect(await countersUp()).toBe(1), { timeout: 20_000 });
  const operator = new Redis({ port: redis.port, password: "one" });
  onTestFinished(() => operator.disconnect());
  await operator.config("SET", "requirepass", "two");
  await operator.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await vi.waitFor(async () => expect(await countersUp()).toBe(0), { timeout: 20_000 });
  await secret("redis", `redis://:two@127.0.0.1:${redis.port}`);
  await running.reload();
  await vi.waitFor(async () => expect(await countersUp()).toBe(1), { timeout: 20_000 });
});

test("the authorities of Redis are read again; bad ones are told of, and the last ones stay", async () => {
  const { proxy, database } = files;
  const port = await freePort();
  const redis = await launchRedis({
    args: [
      ...["--tls-port", String(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", proxy.certificate],
      ...["--tls-cert-file", proxy.certificate, "--tls-key-file", proxy.key],
    ],
  });
  onTestFinished(() => redis.stop());
  const operator = new Redis({ port: redis.port });
  onTestFinished(() => operator.disconnect());
  await secret("upstream", uriOf("one"));
  const ca = join(folder, "ca.pem");
  await copyFile(proxy.certificate, ca);
  const running = await start({ flags: ["--redis", `rediss://127.0.0.1:${port}`, "--redis-ca", ca] });
  const countersAre = (up: number) =>
    vi.waitFor(async () => expect(await running.metric("sluice_counters_up")).toBe(up), { timeout: 30_000 });
  const lose = () => operator.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await countersAre(1);

  await writeFile(ca, "no certificate");
  await running.reload();
  expect(JSON.stringify(running.log)).toContain("holds no certificate");
  await lose();
  await countersAre(1);

  // Redis gets another certificate, of other authorities.
  await operator.config("SET", "tls-cert-file", database.certificate, "tls-key-file", database.key);
  await lose();
  await countersAre(0);
  await copyFile(database.certificate, ca);
  await running.reload();
  await countersAre(1);

  const verify = (...flags: string[]) =>
    captured(() => auditVerify(["--audit", folder, "--redis", `rediss://127.0.0.1:${port}`, ...flags]));
  expect((await verify()).errors).toContain("Redis does not answer");
  expect((await verify("--redis-ca", ca)).errors).not.toContain("Redis does not answer");
});

test("authorities of Redis that are none are told of at the start", async () => {
  await secret("upstream", uriOf("one"));
  await writeFile(join(folder, "ca.pem"), "no certificate");
  const flags = ["--redis", "rediss://127.0.0.1:1", "--redis-ca", join(folder, "ca.pem")];
  await expect(start({ flags })).rejects.toThrow(/--redis-ca ".*" holds no certificate/);
  await expect(
    start({ flags: ["--redis", "redis://127.0.0.1:1", "--redis-ca", join(folder, "ca.pem")] }),
  ).rejects.toThrow("--redis-ca: needs a --redis that begins with rediss");
});
