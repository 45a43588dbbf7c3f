import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { authenticationSasl } from "../../proxy/wire/backend-messages.ts";
import { int32, message } from "../../proxy/wire/messages.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { freshDatabase, psql, startPostgres } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { RawClient } from "../harness/raw-client.ts";
import { ask, startRelay } from "./relay.ts";

/** One user for each method that a server may ask for. */
const USERS = `
  SET password_encryption = 'scram-sha-256';
  CREATE ROLE anna LOGIN PASSWORD 'anna-password';
  CREATE ROLE helpdesk_app LOGIN PASSWORD 'app-password';
  CREATE ROLE app_clear LOGIN PASSWORD 'clear-password';
  CREATE ROLE app_trusted LOGIN;
  CREATE ROLE app_unwanted LOGIN PASSWORD 'unwanted';
  CREATE ROLE norole LOGIN PASSWORD 'norole-password';
  CREATE ROLE zoe LOGIN PASSWORD 'zoe-password';
  SET password_encryption = 'md5';
  CREATE ROLE app_md5 LOGIN PASSWORD 'md5-password';`;
const HBA = [
  "host all app_clear 127.0.0.1/32 password",
  "host all app_trusted 127.0.0.1/32 trust",
  "host all app_unwanted 127.0.0.1/32 reject",
  "host all app_md5 127.0.0.1/32 md5",
  "host all all 127.0.0.1/32 scram-sha-256",
];

let server: RunningPostgres;
let sluice: TestProxy;

beforeAll(async () => {
  server = await startPostgres({ hba: HBA });
  const admin = new pg.Client({ connectionString: server.uri });
  await admin.connect();
  await admin.query(USERS);
  await admin.end();
  sluice = await startRelay({ upstream: `postgresql://127.0.0.1:${server.port}/?sslmode=disable` });
});
afterAll(async () => {
  await sluice?.close();
  await server?.stop();
});

describe("the server's own login, relayed", () => {
  test.each([
    ["anna", "anna-password"],
    ["helpdesk_app", "app-password"],
    ["app_md5", "md5-password"],
    ["app_clear", "clear-password"],
    ["app_trusted", ""],
  ])("%s gets in with the password that the database knows", async (user, password) => {
    expect(await ask(sluice.config(user, password))).toBe(user);
  });

  test.each(["anna", "app_md5", "app_clear"])(
    "a wrong password of %s fails with the words of Postgres",
    async (user) => {
      const direct = await ask({ ...sluice.config(user, "wrong"), port: server.port }).catch(
        (error) => error,
      );
      const before = await sluice.failures("password");
      const proxied = await ask(sluice.config(user, "wrong")).catch((error) => error);
      expect(proxied).toMatchObject({ code: "28P01", message: direct.message, severity: "FATAL" });
      expect(await sluice.failures("password")).toBe(before + 1);
      expect(sluice.events.at(-1)).toMatchObject({ kind: "login refused", user, sqlstate: "28P01" });
    },
  );

  test("postgres.js logs in and asks", async () => {
    const sql = postgres({
      host: "127.0.0.1",
      port: sluice.port,
      user: "anna",
      password: "anna-password",
      database: "postgres",
      max: 1,
    });
    expect(await sql`SELECT ${"ja"}::text AS answer`).toMatchObject([{ answer: "ja" }]);
    await sql.end();
  });

  test("psql logs in, and the database is named after the user when none is given", async () => {
    const uri = `postgresql://anna:anna-password@127.0.0.1:${sluice.port}/postgres`;
    const { stdout, stderr } = await psql(["-Atc", "SELECT session_user"], { uri });
    expect({ stdout, stderr }).toEqual({ stdout: "anna\n", stderr: "" });
    const bare = await RawClient.connect(sluice.port);
    bare.send(startupMessage([["user", "app_trusted"]]));
    expect((await bare.farewell()).get("M")).toBe('database "app_trusted" does not exist');
  });

  test("a user whom the database rejects hears the database's own reason", async () => {
    const failure = await ask(sluice.config("app_unwanted", "unwanted")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", message: expect.stringMatching(/pg_hba.conf rejects/) });
  });

  test("a password that is right does not help a user without a role", async () => {
    const failure = await ask(sluice.config("norole", "norole-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", constraint: "unknown_users" });
    expect(sluice.events.at(-1)).toMatchObject({
      kind: "login refused",
      user: "norole",
      sqlstate: "28000",
    });
    expect(await sluice.failures("no_role")).toBeGreaterThan(0);
  });

  test("whether a user has a role is told only to a client that knows the password", async () => {
    const failure = await ask(sluice.config("norole", "wrong")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28P01" });
  });

  test("a role with networks is closed to users from elsewhere", async () => {
    const failure = await ask(sluice.config("zoe", "zoe-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", constraint: "roles.far_agent.from" });
  });

  test("a server that lets the proxy in without a password is the operator's to know", async () => {
    await ask(sluice.config("app_trusted", ""));
    expect(sluice.log.join("")).toMatch(/anyone can log in as any user/);
  });

  test("login leaves an event that names user, role, database, client and application", async () => {
    await ask({ ...sluice.config("anna", "anna-password"), application_name: "desk" });
    expect(sluice.events.findLast(({ kind }) => kind === "login")).toMatchObject({
      user: "anna",
      role: "agent",
      database: "postgres",
      client: "127.0.0.1",
      application: "desk",
    });
  });

  test("no log line and no event holds a password", async () => {
    await ask(sluice.config("anna", "anna-password"));
    await ask(sluice.config("anna", "wrong-password")).catch(() => {});
    expect(sluice.log.join("") + JSON.stringify(sluice.events)).not.toContain("-password");
  });
});

describe("what the exchange does not allow", () => {
  const hello = startupMessage([
    ["user", "anna"],
    ["database", "postgres"],
  ]);

  test("a query in place of the password ends the connection and reaches no server", async () => {
    const client = await RawClient.connect(sluice.port);
    client.send(hello);
    await client.until("R");
    client.send(message(0x51, Buffer.from("SELECT 1\0")));
    const told = await client.farewell();
    expect(told.get("C")).toBe("08P01");
    expect(told.get("M")).toBe("expected password response, got message type 81");
  });

  test("a password message longer than any password ends the connection", async () => {
    const client = await RawClient.connect(sluice.port);
    client.send(hello);
    await client.until("R");
    client.send(Buffer.from("p"), int32(20_000));
    expect((await client.farewell()).get("C")).toBe("08P01");
  });

  test("channel binding is not offered, and a client that insists on it is turned away", async () => {
    const client = await RawClient.connect(sluice.port);
    client.send(hello);
    const offer = (await client.until("R"))[0]?.bytes.toString("latin1");
    expect(offer).toContain("SCRAM-SHA-256\0");
    expect(offer).not.toContain("PLUS");
    const choice = Buffer.from("SCRAM-SHA-256-PLUS\0");
    client.send(message(0x70, choice, int32(0)));
    expect((await client.farewell()).get("M")).toMatch(/invalid SASL authentication mechanism/);
  });

  test("a client that leaves to ask its user for the password is no failed login", async () => {
    const events = sluice.events.length;
    const client = await RawClient.connect(sluice.port);
    client.send(hello);
    await client.until("R");
    client.socket.end();
    await client.closed();
    // The next login is through the same proxy, later: whatever the first left behind is there by now.
    await ask(sluice.config("anna", "anna-password"));
    expect(sluice.events.slice(events).map(({ kind }) => kind)).toEqual(["login"]);
  });
});

describe("settings of the startup packet", () => {
  test("a guarded session reads and writes UTF8 with standard strings, whatever the role's defaults are", async () => {
    const admin = new pg.Client({ connectionString: server.uri });
    await admin.connect();
    await admin.query("ALTER ROLE anna SET standard_conforming_strings = off");
    await admin.query("ALTER ROLE anna SET client_encoding = 'LATIN1'");
    try {
      const config = sluice.config("anna", "anna-password");
      expect(await ask(config, "SELECT current_setting('standard_conforming_strings') AS answer")).toBe("on");
      expect(await ask(config, "SELECT current_setting('client_encoding') AS answer")).toBe("UTF8");
      expect(sluice.established.at(-1)).toMatchObject({ pinned: true, user: "anna", databaseUser: "anna" });
    } finally {
      await admin.query("ALTER ROLE anna RESET ALL");
      await admin.end();
    }
  });

  test.each([
    ["-c search_path=sales -c statement_timeout=5s", "search_path", "sales"],
    ["-c search_path=sales --statement-timeout=5s", "statement_timeout", "5s"],
    ["-csearch_path=sales", "search_path", "sales"],
    ["-c lock_timeout=7\\ s", "lock_timeout", "7s"],
  ])("a guarded session may start with options %s", async (options, name, value) => {
    const config = { ...sluice.config("anna", "anna-password"), options };
    expect(await ask(config, `SELECT current_setting('${name}') AS answer`)).toBe(value);
  });

  test.each([
    "-c session_preload_libraries=x",
    "-c search_path=pg_temp,public",
    "-c search_path=public,pg_catalog",
    "-e",
    "-ec role=postgres",
    "-c role=helpdesk_app",
  ])("a guarded session may not start with options %s", async (options) => {
    const failure = await ask({ ...sluice.config("anna", "anna-password"), options }).catch((error) => error);
    expect(failure).toMatchObject({ code: "42501", severity: "FATAL" });
  });

  test("a guarded session in another encoding is refused before it can misread anything", async () => {
    const { stderr } = await inLatin1("anna:anna-password", sluice.port);
    expect(stderr).toMatch(
      /FATAL: +client_encoding must be UTF8 for this role\nHINT: .*PGCLIENTENCODING=UTF8/,
    );
  });

  test("psql in the C locale, which asks for SQL_ASCII, gets UTF8", async () => {
    const uri = `postgresql://anna:anna-password@127.0.0.1:${sluice.port}/postgres`;
    const environment = { PGCLIENTENCODING: "SQL_ASCII" };
    const { stdout } = await psql(["-Atc", "SHOW client_encoding"], { uri, environment });
    expect(stdout).toBe("UTF8\n");
  });

  test.each([
    "-c role=anna",
    "-crole=anna",
    "--role=anna",
    "-c ROLE=anna",
    "-c session-authorization=anna",
    "-c session_authorization=anna",
    "-c sluice.user=anna",
    "-e -c role=anna",
    "-ec role=anna",
  ])("nobody, not even a role that sees all, becomes another user by options %s", async (options) => {
    const failure = await ask({ ...sluice.config("app_trusted", ""), options }).catch((error) => error);
    expect(failure).toMatchObject({ code: "42501" });
  });

  test("nobody becomes another user by a parameter of its own, in any case of its letters", async () => {
    for (const name of ["role", "RoLe", "session_authorization", "sluice.user"]) {
      const client = await RawClient.connect(sluice.port);
      client.send(
        startupMessage([
          ["user", "app_trusted"],
          ["database", "postgres"],
          [name, "anna"],
        ]),
      );
      expect((await client.farewell()).get("C")).toBe("42501");
    }
  });

  test("a role that sees all starts with the settings that it asks for", async () => {
    const config = { ...sluice.config("app_trusted", ""), options: "-c work_mem=7MB" };
    expect(await ask(config, "SELECT current_setting('work_mem') AS answer")).toBe("7MB");
    expect((await inLatin1("app_trusted", sluice.port)).stdout).toBe("LATIN1\n");
  });

  test("observe changes nothing: a guarded role's own settings pass", async () => {
    const policy = "version: 1\nmode: observe\nroles: { agent: { users: [anna], rows: 100 } }";
    const observing = await startRelay({ upstream: `postgresql://127.0.0.1:${server.port}/`, policy });
    expect((await inLatin1("anna:anna-password", observing.port)).stdout).toBe("LATIN1\n");
    await observing.close();
  });
});

/** psql, for node-postgres asks for UTF8 whatever it is told. */
function inLatin1(login: string, port: number) {
  const uri = `postgresql://${login}@127.0.0.1:${port}/postgres`;
  const environment = { PGCLIENTENCODING: "LATIN1" };
  return psql(["-Atc", "SHOW client_encoding"], { uri, environment });
}

describe("a server that fails", () => {
  const answering = async (onSocket: (socket: Socket) => void) => {
    const fake = createServer((socket) => {
      socket.on("error", () => {});
      onSocket(socket);
    });
    fake.listen(0, "127.0.0.1");
    await once(fake, "listening");
    const { port } = fake.address() as AddressInfo;
    const behind = await startRelay({ upstream: `postgresql://127.0.0.1:${port}/?sslmode=disable` });
    return {
      behind,
      close: async () => {
        await behind.close();
        fake.close();
      },
    };
  };

  test("a server that is away is 08006, with what it means", async () => {
    const fake = createServer().listen(0, "127.0.0.1");
    await once(fake, "listening");
    const { port } = fake.address() as AddressInfo;
    fake.close();
    await once(fake, "close");
    const alone = await startRelay({ upstream: `postgresql://127.0.0.1:${port}/` });
    const failure = await ask(alone.config("anna", "anna-password")).catch((error) => error);
    expect(failure).toMatchObject({
      code: "08006",
      severity: "FATAL",
      hint: expect.stringContaining("database"),
    });
    expect(await alone.failures("upstream")).toBe(1);
    expect(alone.log.join("")).toContain("ECONNREFUSED");
    await alone.close();
  });

  test.each([
    ["closes at once", (socket: Socket) => socket.destroy()],
    ["closes after the startup packet", (socket: Socket) => socket.once("data", () => socket.end())],
    ["closes inside a message", (socket: Socket) => socket.end("R\0\0")],
    ["is a web server", (socket: Socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")],
    ["sends rows before login", (socket: Socket) => socket.write(message(0x44, Buffer.alloc(2)))],
    ["ends an exchange that never began", (socket: Socket) => socket.write(message(0x52, int32(12)))],
    ["announces a message of 2 GB", (socket: Socket) => socket.write("R\x7f\xff\xff\xff")],
  ])("a server that %s is 08006 to the client", async (_, behave) => {
    const { behind, close } = await answering(behave);
    const failure = await ask(behind.config("anna", "anna-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "08006", severity: "FATAL" });
    await close();
  });

  test("a server that takes channel binding only is told apart from a wrong password", async () => {
    const { behind, close } = await answering((socket) =>
      socket.once("data", () => socket.write(authenticationSasl(["SCRAM-SHA-256-PLUS"]))),
    );
    const failure = await ask(behind.config("anna", "anna-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", detail: expect.stringContaining("channel binding only") });
    await close();
  });

  test("a server that says AuthenticationOk half-way through SCRAM is not believed", async () => {
    const { behind, close } = await answering((socket) => {
      socket.once("data", () => {
        socket.write(authenticationSasl(["SCRAM-SHA-256"]));
        socket.once("data", () => socket.write(message(0x52, int32(0))));
      });
    });
    const failure = await ask(behind.config("anna", "anna-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "08006" });
    await close();
  });

  test("GSSAPI is refused with what to use in its place", async () => {
    const { behind, close } = await answering((socket) => socket.write(message(0x52, int32(7))));
    const failure = await ask(behind.config("anna", "anna-password")).catch((error) => error);
    expect(failure).toMatchObject({ code: "28000", hint: expect.stringContaining("scram-sha-256") });
    await close();
  });

  test("a server that logs in somebody else than the user who was judged is not used", async () => {
    const parameter = message(0x53, Buffer.from("session_authorization\0postgres\0"));
    const { behind, close } = await answering((socket) =>
      socket.once("data", () =>
        socket.write(Buffer.concat([message(0x52, int32(0)), parameter, message(0x5a, Buffer.from("I"))])),
      ),
    );
    const failure = await ask(behind.config("helpdesk_app", "x")).catch((error) => error);
    expect(failure).toMatchObject({ code: "XX000" });
    await close();
  });

  test("a server that ignores the pins gets no guarded session", async () => {
    const { behind, close } = await answering((socket) =>
      socket.once("data", () =>
        socket.write(Buffer.concat([message(0x52, int32(0)), message(0x5a, Buffer.from("I"))])),
      ),
    );
    const failure = await ask(behind.config("anna", "x")).catch((error) => error);
    expect(failure).toMatchObject({ code: "XX000", hint: expect.stringContaining("pooler") });
    await close();
  });
});

test("the run's server is served as well as one of our own", async () => {
  const database = await freshDatabase("login");
  const url = new URL(database.uri);
  const other = await startRelay({ upstream: `postgresql://127.0.0.1:${database.port}/` });
  const config = other.config(url.username, decodeURIComponent(url.password), database.database);
  expect(await ask(config, "SELECT current_database() AS answer")).toBe(database.database);
  await other.close();
  await database.drop();
});
