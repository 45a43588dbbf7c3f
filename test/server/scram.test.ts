import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { message } from "../../proxy/wire/messages.ts";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { psql, startPostgres } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { RawClient } from "../harness/raw-client.ts";
import { ask, type RelayOptions, startRelay } from "./relay.ts";

/** The proxy's own login, once for each method that the server may ask for. */
const LOGINS = ["proxy_scram", "proxy_md5", "proxy_clear"] as const;
const HBA = [
  "host all proxy_clear 127.0.0.1/32 password",
  "host all proxy_md5 127.0.0.1/32 md5",
  "host all all 127.0.0.1/32 scram-sha-256",
];
const USERS = `
  SET password_encryption = 'scram-sha-256';
  CREATE ROLE proxy_scram LOGIN PASSWORD 'p:ss w/rd'; CREATE ROLE proxy_clear LOGIN PASSWORD 'p:ss w/rd';
  SET password_encryption = 'md5';
  CREATE ROLE proxy_md5 LOGIN PASSWORD 'p:ss w/rd';`;

let server: RunningPostgres;
let folder: string;
let usersFile: string;
let sluice: TestProxy;

const line = async (user: string, password: string) =>
  formatUser(user, formatVerifier(await makeVerifier(password, 4096, randomBytes(16))));

beforeAll(async () => {
  server = await startPostgres({ hba: HBA });
  const { stderr } = await psql(["-v", "ON_ERROR_STOP=1", "-qc", USERS], { uri: server.uri });
  expect(stderr).not.toMatch(/ERROR/);
  folder = await mkdtemp(join(tmpdir(), "sluice-users-"));
  usersFile = join(folder, "users.txt");
  const lines = [await line("anna", "anna secret"), await line("norole", "norole secret")];
  await writeFile(usersFile, `${lines.join("\n")}\n`, { mode: 0o600 });
  sluice = await start("proxy_scram");
});
afterAll(async () => {
  await sluice?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

function start(
  login: string,
  more: Partial<RelayOptions> = {},
  password = "p:ss w/rd",
  path = "",
): Promise<TestProxy> {
  const uri = `postgresql://${login}:${encodeURIComponent(password)}@127.0.0.1:${server.port}/${path}?sslmode=disable`;
  return startRelay({
    upstream: uri,
    settings: { auth: "scram", users: usersFile, ...more.settings },
  });
}

describe("users whom the proxy itself knows", () => {
  test.each(LOGINS)("anna logs in with her own password, the proxy upstream as %s", async (login) => {
    const proxy = await start(login);
    const config = proxy.config("anna", "anna secret");
    expect(await ask(config, "SELECT session_user AS answer")).toBe(login);
    expect(proxy.established.at(-1)).toMatchObject({ user: "anna", databaseUser: login, pinned: true });
    await proxy.close();
  });

  test("row security can ask who she is", async () => {
    const config = sluice.config("anna", "anna secret");
    expect(await ask(config, "SELECT current_setting('sluice.user') AS answer")).toBe("anna");
  });

  test("psql and postgres.js log in as well", async () => {
    const uri = `postgresql://anna:anna%20secret@127.0.0.1:${sluice.port}/postgres`;
    expect((await psql(["-Atc", "SELECT 1"], { uri })).stdout).toBe("1\n");
    const sql = postgres(uri, { max: 1 });
    expect(await sql`SELECT 2 AS answer`).toMatchObject([{ answer: 2 }]);
    await sql.end();
  });

  test("a wrong password and a user who does not exist look the same", async () => {
    const wrong = await ask(sluice.config("anna", "wrong")).catch((error) => error);
    const nobody = await ask(sluice.config("agent_nobody", "wrong")).catch((error) => error);
    expect(wrong).toMatchObject({ code: "28P01", message: 'password authentication failed for user "anna"' });
    expect(nobody).toMatchObject({
      code: "28P01",
      message: 'password authentication failed for user "agent_nobody"',
    });
    expect(await sluice.failures("password")).toBe(2);
    expect(sluice.established.map(({ user }) => user)).not.toContain("agent_nobody");
  });

  test("a user who does not exist has the same salt at every attempt", async () => {
    const challenge = async () => {
      const client = await RawClient.connect(sluice.port);
      client.send(startupMessage([["user", "agent_nobody"]]));
      await client.until("R");
      const first = Buffer.from("n,,n=,r=abcdefghijklmnopqrstuvwx");
      const length = Buffer.alloc(4);
      length.writeInt32BE(first.length);
      client.send(message(0x70, Buffer.from("SCRAM-SHA-256\0"), length, first));
      const text = (await client.until("R")).at(-1)?.bytes.toString("latin1");
      client.socket.destroy();
      return /,s=([^,]+),/.exec(text ?? "")?.[1];
    };
    const salt = await challenge();
    expect(salt).toMatch(/^[A-Za-z0-9+/]{22}==$/);
    expect(await challenge()).toBe(salt);
  });

  test("a user of the file without a role is told so, and the server is not asked", async () => {
    const failure = await ask(sluice.config("norole", "norole secret")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", constraint: "unknown_users" });
  });

  test("a client cannot say whom row security sees", async () => {
    const config = { ...sluice.config("anna", "anna secret"), options: "-c sluice.user=cleo" };
    expect(await ask(config).catch((error) => error)).toMatchObject({ code: "42501" });
  });

  test("the database of --upstream is the only one", async () => {
    const bound = await start("proxy_scram", {}, undefined, "postgres");
    expect(await ask(bound.config("anna", "anna secret"), "SELECT current_database() AS answer")).toBe(
      "postgres",
    );
    const failure = await ask(bound.config("anna", "anna secret", "template1")).catch((error) => error);
    expect(failure).toMatchObject({ code: "3D000", message: 'database "template1" does not exist' });
    await bound.close();
  });

  test("a database that the server does not have is told in the server's words", async () => {
    const failure = await ask(sluice.config("anna", "anna secret", "nowhere")).catch((error) => error);
    expect(failure).toMatchObject({ code: "3D000", message: 'database "nowhere" does not exist' });
  });

  test("credentials of --upstream that are wrong are the operator's mistake, not the client's", async () => {
    const mistaken = await start("proxy_scram", {}, "no longer this");
    const failure = await ask(mistaken.config("anna", "anna secret")).catch((error) => error);
    expect(failure).toMatchObject({ code: "08006", detail: expect.stringContaining("28P01") });
    const told = JSON.stringify({ ...failure, message: failure.message });
    expect(told).not.toMatch(/proxy_scram|no longer this/);
    expect(await mistaken.failures("upstream")).toBe(1);
    await mistaken.close();
  });
});

describe("the users file", () => {
  test("is read again on reload, and a broken one leaves the old one in force", async () => {
    const path = join(folder, "changing.txt");
    const write = (text: string) => writeFile(path, text, { mode: 0o600 });
    await write(await line("anna", "first"));
    const proxy = await start("proxy_scram", { settings: { users: path } });
    const inWith = (password: string) =>
      ask(proxy.config("anna", password)).then(
        () => "in",
        () => "out",
      );
    expect(await inWith("first")).toBe("in");
    await write(await line("anna", "second"));
    await proxy.reload();
    expect([await inWith("first"), await inWith("second")]).toEqual(["out", "in"]);
    await write('"anna" "a plain password"');
    await proxy.reload();
    expect(await inWith("second")).toBe("in");
    expect(proxy.log.join("")).toMatch(/changing.txt:1: a SCRAM-SHA-256 verifier only/);
    expect(proxy.log.join("")).not.toContain("a plain password");
    await proxy.close();
  });

  test.each([
    ["that is missing", undefined, 0o600, /cannot be read \(ENOENT\)/],
    ["that is empty", "", 0o600, /no user in it/],
    ["with plain passwords", '"anna" "secret"', 0o600, /verifier only/],
    ["that everybody may read", '"anna" "secret"', 0o644, /chmod 640/],
  ])("a file %s fails the start, and says why", async (_, text, mode, words) => {
    const path = join(folder, `broken-${randomBytes(4).toString("hex")}.txt`);
    if (text !== undefined) await writeFile(path, text, { mode });
    await expect(start("proxy_scram", { settings: { users: path } })).rejects.toThrow(words);
  });

  test("without a file, or without a user of --upstream, the proxy does not start", async () => {
    await expect(start("proxy_scram", { settings: { users: undefined } })).rejects.toThrow(/needs --users/);
    const settings = { auth: "scram", users: usersFile } as const;
    await expect(startRelay({ upstream: "postgresql://127.0.0.1/", settings })).rejects.toThrow(
      /needs a user/,
    );
  });
});
