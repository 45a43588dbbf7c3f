import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { psql, startPostgres } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { startSluice as serve } from "../harness/sluice.ts";
import { type RelayOptions, startRelay } from "./relay.ts";

/* libpq binds SCRAM to its TLS connection wherever it can, and with sslmode=prefer goes on without TLS where that fails. */

let files: Awaited<ReturnType<typeof makeCertificates>>;
let server: RunningPostgres;
let folder: string;
let users: string;

beforeAll(async () => {
  files = await makeCertificates();
  const { certificate, key } = files.database;
  server = await startPostgres({ settings: { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key } });
  const admin = new pg.Client({ connectionString: server.uri });
  await admin.connect();
  await admin.query("CREATE ROLE anna LOGIN PASSWORD 'anna-password'");
  await admin.end();
  folder = await mkdtemp(join(tmpdir(), "sluice-binding-"));
  users = join(folder, "users.txt");
  const verifier = formatVerifier(await makeVerifier("anna-password", 4096, randomBytes(16)));
  await writeFile(users, `${formatUser("anna", verifier)}\n`, { mode: 0o600 });
});
afterAll(async () => {
  await server?.stop();
  await files?.remove();
  await rm(folder, { recursive: true, force: true });
});

async function start(settings: NonNullable<RelayOptions["settings"]>): Promise<TestProxy> {
  const { username, password } = new URL(server.uri);
  const own = settings.auth === "scram" ? `${username}:${password}@` : "";
  const sluice = await startRelay({
    upstream: `postgresql://${own}localhost:${server.port}/?sslmode=require`,
    settings,
  });
  onTestFinished(() => sluice.close());
  return sluice;
}

/** psql with libpq's own defaults but for what is given: whether its connection has TLS, or why there is none. */
async function connect(
  { port }: { readonly port: number },
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const uri = `postgresql://anna:anna-password@localhost:${port}/postgres`;
  const { stdout, stderr, code } = await psql(["-c", "\\conninfo"], { uri, environment });
  if (code !== 0) return stderr;
  return /SSL connection \(|SSL Connection +\| true/.test(stdout) ? "TLS" : "plain";
}

const BOUND = { PGSSLMODE: "require", PGCHANNELBINDING: "require" };

describe("a proxy that has the database's own certificate", () => {
  test("relays SCRAM with channel binding, and libpq's defaults give TLS", async () => {
    const { certificate: tlsCert, key: tlsKey } = files.database;
    const sluice = await start({ tlsCert, tlsKey });
    expect(await connect(sluice, BOUND)).toBe("TLS");
    expect(await connect(sluice)).toBe("TLS");
    expect(await connect(sluice, { PGSSLMODE: "verify-full", PGSSLROOTCERT: tlsCert })).toBe("TLS");
    expect(await connect(sluice, { PGSSLMODE: "require", PGCHANNELBINDING: "disable" })).toBe("TLS");
    expect(await connect(sluice, { PGPASSWORD: "wrong", ...BOUND })).toMatch(
      /password authentication failed/,
    );
  });
});

describe("a proxy with another certificate", () => {
  test("with --tls-required no client goes on without TLS", async () => {
    const { certificate: tlsCert, key: tlsKey } = files.proxy;
    const sluice = await start({ tlsCert, tlsKey, tlsRequired: true });
    const refused = /this server takes connections with TLS only/;
    expect(await connect(sluice)).toMatch(refused);
    expect(await connect(sluice, { PGSSLMODE: "disable" })).toMatch(refused);
    expect(await connect(sluice, { PGSSLMODE: "allow", PGCHANNELBINDING: "disable" })).toBe("TLS");
    expect(await connect(sluice, { PGCHANNELBINDING: "disable" })).toBe("TLS");
  });
});

describe("a proxy that checks passwords itself", () => {
  test.each([
    ["an elliptic curve's", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]],
    ["SHA-384", ["-newkey", "rsa:2048", "-sha384"]],
    ["SHA-1", ["-newkey", "rsa:2048", "-sha1"]],
    ["RSASSA-PSS", ["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-sha512"]],
  ])("offers channel binding with a certificate of %s", async (_, kind) => {
    const [tlsCert, tlsKey] = makeCertificate(kind);
    const sluice = await start({ auth: "scram", users, tlsCert, tlsKey });
    expect(await connect(sluice, BOUND)).toBe("TLS");
    expect(await connect(sluice)).toBe("TLS");
    expect(await connect(sluice, { PGSSLMODE: "require", PGCHANNELBINDING: "disable" })).toBe("TLS");
    expect(await connect(sluice, { PGSSLMODE: "disable" })).toBe("plain");
    expect(await connect(sluice, { PGPASSWORD: "wrong", ...BOUND })).toMatch(
      /password authentication failed/,
    );
  });

  test("offers none with a certificate whose signature names no hash, as Postgres", async () => {
    const [tlsCert, tlsKey] = makeCertificate(["-newkey", "ed25519"]);
    const sluice = await start({ auth: "scram", users, tlsCert, tlsKey });
    expect(await connect(sluice)).toBe("TLS");
    expect(await connect(sluice, BOUND)).toMatch(/channel binding/);
  });

  test("takes node-postgres, which binds when it is told to", async () => {
    const { certificate: tlsCert, key: tlsKey } = files.proxy;
    const sluice = await start({ auth: "scram", users, tlsCert, tlsKey });
    const ssl = { rejectUnauthorized: false };
    // Its types do not know this option yet.
    const config = { ...sluice.config("anna", "anna-password"), ssl, enableChannelBinding: true };
    const client = new pg.Client(config);
    await client.connect();
    expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await client.end();
  });
});

function makeCertificate(kind: readonly string[]): readonly [certificate: string, key: string] {
  const [certificate, key] = [join(folder, "tls.pem"), join(folder, "tls.key")];
  const args = ["req", "-x509", ...kind, "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  execFileSync("openssl", [...args, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  return [certificate, key];
}

describe("the log at the start", () => {
  const POLICY = "version: 1\nroles: { app: { users: [anna], reads: all, sees: all } }";
  const flags = ({ certificate, key }: typeof files.proxy) => ["--tls-cert", certificate, "--tls-key", key];
  const upstream = (query: string) => `${server.uri.replace("127.0.0.1", "localhost")}?${query}`;
  const told = async (query: string, more: readonly string[]) => {
    const sluice = await serve({ policy: POLICY, upstream: upstream(query), flags: more });
    onTestFinished(() => sluice.close());
    return () => sluice.lines.filter((line) => /TLS|channel binding/.test(line)).join("");
  };

  test("says that libpq's default goes on without TLS, and what to do", async () => {
    const lines = await told("sslmode=require", flags(files.proxy));
    await expect
      .poll(lines)
      .toMatch(/"level":"warn".*sslmode=prefer.*WITHOUT TLS.*--tls-required.*cannot be relayed/);
  });

  test("says what is left with --tls-required", async () => {
    const lines = await told("sslmode=prefer", [...flags(files.proxy), "--tls-required"]);
    await expect.poll(lines).toMatch(/channel_binding=disable/);
    expect(lines()).not.toMatch(/WITHOUT TLS/);
  });

  test("says that clients on a network have no TLS", async () => {
    const lines = await told("sslmode=require", ["--listen", "0.0.0.0:0"]);
    await expect.poll(lines).toMatch(/clients connect without TLS/);
  });

  test("a switch takes a value as well, and needs a certificate", async () => {
    await expect(told("sslmode=disable", ["--tls-required"])).rejects.toThrow(
      /--tls-required: needs --tls-cert/,
    );
    await expect(told("sslmode=disable", ["--tls-required", "perhaps"])).rejects.toThrow(/on or off/);
    await told("sslmode=disable", ["--tls-required", "off"]);
  });
});
