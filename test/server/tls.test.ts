import { chmod, copyFile } from "node:fs/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { sslRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { psql, startPostgres } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { RawClient } from "../harness/raw-client.ts";
import { ask, startRelay } from "./relay.ts";

const USERS = `
  SET password_encryption = 'scram-sha-256';
  CREATE ROLE anna LOGIN PASSWORD 'anna-password';
  CREATE ROLE app_clear LOGIN PASSWORD 'clear-password';`;
const HBA = [
  "host all app_clear 127.0.0.1/32 password",
  "hostssl all all 127.0.0.1/32 scram-sha-256",
  "host all postgres 127.0.0.1/32 scram-sha-256",
];

let files: Awaited<ReturnType<typeof makeCertificates>>;
let server: RunningPostgres;
let sluice: TestProxy;
let demanding: TestProxy;

beforeAll(async () => {
  files = await makeCertificates();
  const { certificate, key } = files.database;
  const settings = { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key };
  server = await startPostgres({ hba: HBA, settings });
  const admin = new pg.Client({ connectionString: server.uri });
  await admin.connect();
  await admin.query(USERS);
  await admin.end();
  const upstream = `postgresql://127.0.0.1:${server.port}/?sslmode=require`;
  const tls = { tlsCert: files.proxy.certificate, tlsKey: files.proxy.key };
  sluice = await startRelay({ upstream, settings: tls });
  demanding = await startRelay({ upstream, settings: { ...tls, tlsClientCa: files.client.certificate } });
});
afterAll(async () => {
  await sluice?.close();
  await demanding?.close();
  await server?.stop();
  await files?.remove();
});

/** psql as anna, with libpq's own settings; channel binding is for tests of its own. */
function connect(port: number, more: Readonly<Record<string, string>>, host = "127.0.0.1") {
  const uri = `postgresql://anna:anna-password@${host}:${port}/postgres`;
  const sql = "SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  return psql(["-Atc", sql], { uri, environment: { PGCHANNELBINDING: "disable", ...more } });
}

describe("TLS towards clients", () => {
  test("sslmode=require is served", async () => {
    expect(await connect(sluice.port, { PGSSLMODE: "require" })).toMatchObject({
      stdout: "anna|t\n",
      code: 0,
    });
  });

  test("sslmode=verify-full with the root certificate is served, and with another one is not", async () => {
    const environment = { PGSSLMODE: "verify-full", PGSSLROOTCERT: files.proxy.certificate };
    expect(await connect(sluice.port, environment, "localhost")).toMatchObject({ stdout: "anna|t\n" });
    const mistaken = { ...environment, PGSSLROOTCERT: files.stranger.certificate };
    expect((await connect(sluice.port, mistaken, "localhost")).stderr).toMatch(/certificate verify failed/);
  });

  test("a client that asks for no TLS is served without, as in Postgres", async () => {
    expect(await connect(sluice.port, { PGSSLMODE: "disable" })).toMatchObject({ stdout: "anna|t\n" });
  });

  test("node-postgres logs in over TLS", async () => {
    const config = sluice.config("anna", "anna-password");
    expect(await ask({ ...config, ssl: { rejectUnauthorized: false } })).toBe("anna");
  });

  test("a password in the clear is relayed over TLS, and on this machine", async () => {
    const config = sluice.config("app_clear", "clear-password");
    expect(await ask({ ...config, ssl: { rejectUnauthorized: false } })).toBe("app_clear");
  });

  test("psql whose channel binding cannot be relayed is told what to do", async () => {
    // The default of libpq: bind if the server can. Over TLS it then tells the server that it could have.
    const { stderr } = await connect(sluice.port, { PGSSLMODE: "require", PGCHANNELBINDING: "prefer" });
    expect(stderr).toMatch(/FATAL: +SCRAM channel binding cannot be relayed/);
    expect(stderr).toMatch(/HINT: +Connect with channel_binding=disable .* --auth scram/);
  });

  test("what stands behind an SSLRequest in the clear is never taken for the client's", async () => {
    const client = await RawClient.connect(sluice.port);
    client.send(sslRequest, startupMessage([["user", "anna"]]));
    expect((await client.farewell()).get("M")).toMatch(/unencrypted data after SSL request/);
  });

  test("files that are no certificate and key fail the start", async () => {
    const upstream = `postgresql://127.0.0.1:${server.port}/`;
    const { certificate, key } = files.proxy;
    const start = (tlsCert?: string, tlsKey?: string) =>
      startRelay({ upstream, settings: { tlsCert, tlsKey } });
    await expect(start(certificate, undefined)).rejects.toThrow(/both --tls-cert and --tls-key/);
    await expect(start(key, key)).rejects.toThrow();
    await expect(start(`${certificate}.missing`, key)).rejects.toThrow(/ENOENT/);
    const open = `${key}.open`;
    await copyFile(key, open);
    await chmod(open, 0o644);
    await expect(start(certificate, open)).rejects.toThrow(/group or world access/);
  });
});

describe("client certificates", () => {
  test("one that the authority signed gets in", async () => {
    const { certificate, key } = files.client;
    const environment = { PGSSLMODE: "require", PGSSLCERT: certificate, PGSSLKEY: key };
    expect(await connect(demanding.port, environment)).toMatchObject({ stdout: "anna|t\n" });
  });

  test.each([
    ["none", () => ({ PGSSLMODE: "require" })],
    [
      "a stranger's",
      () => ({ PGSSLMODE: "require", PGSSLCERT: files.stranger.certificate, PGSSLKEY: files.stranger.key }),
    ],
  ])("%s does not", async (_, environment) => {
    const before = demanding.established.length;
    expect(await connect(demanding.port, environment())).toMatchObject({ stdout: "", code: 2 });
    expect(demanding.established).toHaveLength(before);
  });

  test("leaving TLS out does not get around them", async () => {
    const { stderr } = await connect(demanding.port, { PGSSLMODE: "disable" });
    expect(stderr).toMatch(/FATAL: +connection requires a valid client certificate/);
  });
});

describe("TLS towards the server", () => {
  const through = async (query: string, user = "anna", password = "anna-password"): Promise<unknown> => {
    const proxy = await startRelay({ upstream: `postgresql://localhost:${server.port}/${query}` });
    const sql = "SELECT ssl::text AS answer FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    const answer = await ask(proxy.config(user, password), sql).catch((error) => error.code);
    await proxy.close();
    return answer;
  };

  test("the server is verified as sslmode says", async () => {
    const own = encodeURIComponent(files.database.certificate);
    const other = encodeURIComponent(files.stranger.certificate);
    expect(await through("")).toBe("true");
    expect(await through("?sslmode=require")).toBe("true");
    expect(await through(`?sslmode=verify-full&sslrootcert=${own}`)).toBe("true");
    expect(await through(`?sslmode=verify-full&sslrootcert=${other}`)).toBe("08006");
    expect(await through(`?sslmode=verify-ca&sslrootcert=${other}`)).toBe("08006");
    // The server wants TLS for anna (hostssl).
    expect(await through("?sslmode=disable")).toBe("28000");
  });

  test("sslmode=allow takes TLS only where the server turns the login away without, as libpq has it", async () => {
    expect(await through("?sslmode=allow")).toBe("true");
    const { password } = new URL(server.uri);
    expect(await through("?sslmode=allow", "postgres", password)).toBe("false");
    expect(await through("?sslmode=prefer", "postgres", password)).toBe("true");
    expect(await through("?sslmode=allow", "anna", "wrong")).toBe("28P01");
  });

  test("a client without TLS meets no channel binding, and nothing has to be set", async () => {
    const environment = { PGSSLMODE: "disable", PGCHANNELBINDING: "prefer" };
    expect(await connect(sluice.port, environment)).toMatchObject({ stdout: "anna|t\n" });
  });
});
