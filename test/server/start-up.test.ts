import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import fc from "fast-check";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { ServerSettings } from "../../proxy/app/server.ts";
import { decodeBackendKey } from "../../proxy/wire/backend-messages.ts";
import { FrameReader } from "../../proxy/wire/frames.ts";
import { cstring, int32, message } from "../../proxy/wire/messages.ts";
import { cancelRequest, sslRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { freshDatabase, PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { RawClient } from "../harness/raw-client.ts";
import { ask, type RelayOptions, startRelay } from "./relay.ts";

let database: TestDatabase;
let sluice: TestProxy;
const started: TestProxy[] = [];

beforeAll(async () => {
  database = await freshDatabase("startup");
  sluice = await start();
});
afterEach(async () => {
  // The first one serves all tests.
  for (const proxy of started.splice(1)) await proxy.close();
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

async function start(
  settings: Partial<ServerSettings> = {},
  more: Partial<RelayOptions> = {},
): Promise<TestProxy> {
  const upstream = `postgresql://127.0.0.1:${database.port}/?sslmode=disable`;
  const proxy = await startRelay({ upstream, ...more, settings });
  started.push(proxy);
  return proxy;
}

/** The application of the helpdesk, which sees all. */
const app = (proxy: TestProxy): pg.ClientConfig =>
  proxy.config("helpdesk_app", PASSWORDS.helpdesk_app, database.database);

/** A startup packet of any version. */
function startup(version: number, parameters: readonly (readonly [string, string])[]): Buffer {
  const body = Buffer.concat([
    int32(version),
    ...parameters.flatMap(([name, value]) => [cstring(name), cstring(value)]),
    Buffer.alloc(1),
  ]);
  return Buffer.concat([int32(body.length + 4), body]);
}

const GSSENC_REQUEST = Buffer.concat([int32(8), int32((1234 << 16) | 5680)]);
const hello = startupMessage([["user", "anna"]]);

test("a storm of logins connects while Sluice is busy", () => {
  const dial = `
    const net = require("node:net");
    let connected = 0;
    const done = () => { process.stdout.write(String(connected)); process.exit(); };
    for (let i = 0; i < 1200; i++)
      net.connect(${sluice.port}, "127.0.0.1", () => { if (++connected === 1200) done(); }).on("error", () => {});
    setTimeout(done, 20_000);`;
  // This process, in which the proxy runs, does nothing meanwhile.
  const { stdout } = spawnSync(process.execPath, ["-e", dial], { encoding: "utf8" });
  expect(stdout).toBe("1200");
});

describe("the first packet", () => {
  test.each([
    ["true", "1", "database"],
    ["on", "yes", "on"],
  ])("a replication connection is refused (%s, %s, %s)", async (...values) => {
    for (const replication of values) {
      const client = await RawClient.connect(sluice.port);
      client.send(
        startupMessage([
          ["user", "helpdesk_app"],
          ["replication", replication],
        ]),
      );
      const told = await client.farewell();
      expect(told.get("C")).toBe("0A000");
      expect(told.get("M")).toBe("replication connections are not served");
    }
  });

  test("TLS that is not there and GSSAPI encryption are answered N, once each, and the login goes on", async () => {
    const client = await RawClient.connect(sluice.port);
    const answer = async () => String((await once(client.socket, "data"))[0]);
    client.send(GSSENC_REQUEST);
    expect(await answer()).toBe("N");
    client.send(sslRequest);
    expect(await answer()).toBe("N");
    client.send(sslRequest);
    expect(await answer()).toMatch(/^E.*unsupported frontend protocol 1234.5679/s);
    await client.closed();
  });

  test.each([
    ["SSL", sslRequest],
    ["GSSAPI encryption", GSSENC_REQUEST],
  ])(
    "a client that does not wait for the answer about %s is turned away, as by Postgres",
    async (what, request) => {
      const client = await RawClient.connect(sluice.port);
      client.socket.removeAllListeners("data");
      const said: Buffer[] = [];
      client.socket.on("data", (bytes: Buffer) => said.push(bytes));
      client.send(request, startup(3 << 16, [["user", "anna"]]));
      await client.closed();
      expect(Buffer.concat(said).toString()).toMatch(
        new RegExp(`^NE.*08P01.*received unencrypted data after ${what}`, "s"),
      );
    },
  );

  test.each([
    ["protocol 2", startup(2 << 16, []), "0A000", /unsupported frontend protocol 2.0/],
    ["protocol 4", startup(4 << 16, []), "0A000", /unsupported frontend protocol 4.0/],
    ["no user", startup(3 << 16, [["database", "x"]]), "28000", /no PostgreSQL user name/],
    [
      "two users",
      startup(3 << 16, [
        ["user", "anna"],
        ["user", "postgres"],
      ]),
      "08P01",
      /given twice/,
    ],
    ["a name that the server would cut", startup(3 << 16, [["user", "a".repeat(64)]]), "28000", /63 bytes/],
    ["no end", Buffer.concat([int32(13), int32(3 << 16), Buffer.from("user\0")]), "08P01", /./],
    ["more behind the end", Buffer.concat([int32(10), int32(3 << 16), Buffer.alloc(2)]), "08P01", /./],
  ])("%s is refused", async (_, packet, sqlstate, words) => {
    const client = await RawClient.connect(sluice.port);
    client.send(packet);
    const told = await client.farewell();
    expect([told.get("S"), told.get("C")]).toEqual(["FATAL", sqlstate]);
    expect(told.get("M")).toMatch(words);
  });

  // As Postgres: its log alone says so.
  test.each([
    ["10 kB and more", Buffer.concat([int32(10_005), int32(3 << 16)])],
    ["a length of nothing", int32(0)],
    ["a web browser", Buffer.from("GET / HTTP/1.1\r\nHost: db\r\n\r\n")],
    ["a TLS client, where there is no TLS", Buffer.from("160301020001000100", "hex")],
    ["a cancel request without a key", cancelRequest(1, Buffer.alloc(0))],
    ["a cancel request with a key of 300 bytes", cancelRequest(1, Buffer.alloc(300))],
    ["a cancel request without a process", Buffer.from("0000000804d2162e", "hex")],
    ["a client that says good-bye at once", Buffer.from("5800000004", "hex")],
  ])("%s is left without a word", async (_, packet) => {
    const socket = connect(sluice.port, "127.0.0.1");
    const heard: Buffer[] = [];
    socket.on("data", (bytes) => heard.push(bytes)).on("error", () => undefined);
    socket.write(packet);
    await once(socket, "close");
    expect(heard).toEqual([]);
  });

  test("names that are not UTF-8 are refused", async () => {
    for (const name of ["user", "database"]) {
      const client = await RawClient.connect(sluice.port);
      const other = name === "user" ? "" : "user\0anna\0";
      const body = Buffer.concat([
        int32(3 << 16),
        Buffer.from(other + name),
        Buffer.from("\0\xff\xfe\0\0", "latin1"),
      ]);
      client.send(int32(body.length + 4), body);
      expect((await client.farewell()).get("C")).toBe("22021");
    }
  });

  test("a packet that arrives byte by byte is read as one", async () => {
    const client = await RawClient.connect(sluice.port);
    client.socket.setNoDelay(true);
    for (const byte of hello) client.send(Buffer.of(byte));
    expect((await client.until("R")).map(({ type }) => type)).toEqual(["R"]);
    client.socket.destroy();
  });
});

describe("protocol versions", () => {
  const open = async (version: number, options: readonly (readonly [string, string])[] = []) => {
    const proxy = await trusting();
    const client = await RawClient.connect(proxy.port);
    client.send(startup(version, [["user", "app_any"], ["database", "any"], ...options]));
    const messages = await client.until("Z");
    client.socket.destroy();
    const reader = new FrameReader(1000, () => false);
    for (const { bytes } of messages) reader.push(Buffer.from(bytes));
    let key: Buffer | undefined;
    while (reader.next()) if (reader.type === "K".charCodeAt(0)) key = decodeBackendKey(reader).key;
    const negotiation = messages.find(({ type }) => type === "v")?.bytes;
    return { key, negotiation, first: messages[0]?.type };
  };

  test("a client of 3.0 gets a key of 4 bytes, and no negotiation", async () => {
    expect(await open(3 << 16)).toMatchObject({ key: { length: 4 }, negotiation: undefined });
  });

  test("a client of 3.2 gets a key of 32 bytes, whatever the server speaks", async () => {
    expect(await open((3 << 16) | 2)).toMatchObject({ key: { length: 32 }, negotiation: undefined });
  });

  test("a client that asks for more, or for options that nobody knows, hears first what is spoken here", async () => {
    const future = await open((3 << 16) | 9, [["_pq_.telepathy", "on"]]);
    expect(future.first).toBe("v");
    expect(future.key).toHaveLength(32);
    expect(future.negotiation?.subarray(5)).toEqual(
      Buffer.concat([int32((3 << 16) | 2), int32(1), cstring("_pq_.telepathy")]),
    );
  });
});

/** A proxy before a server that lets everybody in, says no more than it must, and notes cancel requests. */
async function trusting(cancels: string[] = []): Promise<TestProxy> {
  const greeting = Buffer.concat([
    message(0x52, int32(0)),
    message(0x4b, int32(77), Buffer.from("key!")),
    message(0x5a, Buffer.from("I")),
  ]);
  const fake = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (packet: Buffer) => {
      if (packet.readInt32BE(4) === ((1234 << 16) | 5678)) {
        cancels.push(`${packet.readInt32BE(8)} ${packet.subarray(12).toString()}`);
        socket.end();
      } else {
        socket.write(greeting);
      }
    });
  });
  fake.listen(0, "127.0.0.1");
  await once(fake, "listening");
  const { port } = fake.address() as AddressInfo;
  const proxy = await startRelay({ upstream: `postgresql://127.0.0.1:${port}/?sslmode=disable` });
  started.push({ ...proxy, close: () => proxy.close().then(() => void fake.close()) });
  return proxy;
}

describe("cancel requests", () => {
  test("a client cancels its own query, and no other", async () => {
    const [one, other] = [new pg.Client(app(sluice)), new pg.Client(app(sluice))];
    await Promise.all([one.connect(), other.connect()]);
    const sleeping = one.query("SELECT pg_sleep(60)").catch((error) => error.code);
    const bystander = other.query("SELECT pg_sleep(1), 'done' AS answer");
    // The query must be there before the request: asked of the server itself.
    await vi.waitFor(async () => {
      const { rows } = await database.query(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'",
      );
      expect(rows).toHaveLength(1);
    });
    const { processID, secretKey } = one as unknown as { processID: number; secretKey: number };
    const canceller = await RawClient.connect(sluice.port);
    canceller.send(cancelRequest(processID, int32(secretKey)));
    await canceller.closed();
    expect(await sleeping).toBe("57014");
    expect((await bystander).rows[0]).toMatchObject({ answer: "done" });
    await Promise.all([one.end(), other.end()]);
  });

  test("the server's own key stays with the proxy", async () => {
    const client = new pg.Client(app(sluice));
    await client.connect();
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
    expect(processID).toBe(rows[0].pid);
    // The number is the server's, the secret is not: past the proxy nothing is cancelled by it.
    const sleeping = client.query("SELECT pg_sleep(0.5)");
    const canceller = await RawClient.connect(Number(new URL(database.uri).port));
    canceller.send(cancelRequest(processID, int32(secretKey)));
    await canceller.closed();
    expect((await sleeping).rowCount).toBe(1);
    await client.end();
  });

  test("a key that is wrong, too short, or of a session that has ended does nothing and says nothing", async () => {
    const cancels: string[] = [];
    const proxy = await trusting(cancels);
    const client = await RawClient.connect(proxy.port);
    client.send(startup((3 << 16) | 2, [["user", "app_any"]]));
    const reader = new FrameReader(1000, () => false);
    reader.push((await client.until("Z")).find(({ type }) => type === "K")?.bytes ?? Buffer.alloc(0));
    reader.next();
    const { processId, key } = decodeBackendKey(reader);
    const request = async (pid: number, secret: Buffer) => {
      const canceller = await RawClient.connect(proxy.port);
      let said = 0;
      canceller.socket.on("data", (chunk: Buffer) => {
        said += chunk.length;
      });
      canceller.send(cancelRequest(pid, secret));
      await canceller.closed();
      return said;
    };
    const wrong = Buffer.from(key);
    wrong[31] = (wrong[31] ?? 0) ^ 1;
    expect(await request(processId, wrong)).toBe(0);
    expect(await request(processId, key.subarray(0, 4))).toBe(0);
    expect(await request(processId ^ 1, key)).toBe(0);
    expect(cancels).toEqual([]);
    expect(await request(processId, key)).toBe(0);
    expect(cancels).toEqual(["77 key!"]);
    client.socket.end();
    await client.closed();
    await vi.waitFor(() => expect(proxy.sessions).toBe(0));
    await request(processId, key);
    expect(cancels).toHaveLength(1);
  });
});

describe("limits", () => {
  test.each([
    ["says nothing", Buffer.alloc(0), ""],
    ["stops inside its first packet", hello.subarray(0, 6), ""],
    ["never answers the server", hello, "57014"],
  ])("a client that %s is disconnected when its time is up", async (_, bytes, sqlstate) => {
    const hasty = await start({ loginTimeout: 1_000 });
    const client = await RawClient.connect(hasty.port);
    client.send(bytes);
    const told = await client.farewell().catch(() => undefined);
    await client.closed();
    expect(told?.get("C") ?? "").toBe(sqlstate);
    expect(await hasty.failures("timeout")).toBe(1);
  });

  test("a client that keeps talking gains no time by it", async () => {
    const hasty = await start({ loginTimeout: 200 });
    const client = await RawClient.connect(hasty.port);
    client.send(hello.subarray(0, 5));
    const drip = setInterval(() => client.socket.writable && client.send(Buffer.of(0)), 20);
    // What crosses the end of a connection resets it.
    await client.closed().catch(() => undefined);
    clearInterval(drip);
    expect(await hasty.failures("timeout")).toBe(1);
  });

  test("where the time is over because the server says nothing, that is what the client is told", async () => {
    const mute = createServer((socket) => socket.on("error", () => {}));
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    const { port } = mute.address() as AddressInfo;
    const proxy = await startRelay({
      upstream: `postgresql://127.0.0.1:${port}/?sslmode=disable`,
      settings: { loginTimeout: 500 },
    });
    started.push({ ...proxy, close: () => proxy.close().then(() => void mute.close()) });
    const failure = await ask(app(proxy)).catch((error) => error);
    expect(failure).toMatchObject({
      code: "08006",
      message: expect.stringMatching(/did not answer within the login timeout/),
    });
  });

  test("a session that has begun is not measured by the time for login", async () => {
    const hasty = await start({ loginTimeout: 3_000 });
    expect(await ask(app(hasty), "SELECT 'still here' AS answer FROM pg_sleep(3.2)")).toBe("still here");
  });

  test("one client too many is told so, can still cancel, and gets in when another leaves", async () => {
    const small = await start({ maxClients: 2 });
    const clients = [new pg.Client(app(small)), new pg.Client(app(small))];
    for (const client of clients) await client.connect();
    const failure = await ask(app(small)).catch((error) => error);
    expect(failure).toMatchObject({ code: "53300", message: "sorry, too many clients already" });
    const sleeping = clients[0]?.query("SELECT pg_sleep(61)").catch((error) => error.code);
    await vi.waitFor(async () => {
      const { rows } = await database.query(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(61)%'",
      );
      expect(rows).toHaveLength(1);
    });
    const { processID, secretKey } = clients[0] as unknown as { processID: number; secretKey: number };
    const canceller = await RawClient.connect(small.port);
    canceller.send(cancelRequest(processID, int32(secretKey)));
    expect(await sleeping).toBe("57014");
    await clients[0]?.end();
    await vi.waitFor(async () => expect(await ask(app(small))).toBe("helpdesk_app"));
    await clients[1]?.end();
  });
});

describe("garbage", () => {
  test("whatever bytes come first, the proxy answers by closing and serves the next client", async () => {
    const seen = await start({ loginTimeout: 300 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 0, maxLength: 300 }), async (bytes) => {
        const client = await RawClient.connect(seen.port);
        client.socket.end(Buffer.from(bytes));
        await client.closed();
      }),
      { numRuns: 60 },
    );
    expect(await ask(app(seen))).toBe("helpdesk_app");
    expect(seen.log.join("")).not.toContain("an error of the proxy");
  });

  test("whatever follows a good startup packet, nothing of it reaches a session", async () => {
    const seen = await start({ loginTimeout: 1_000 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (bytes) => {
        const client = await RawClient.connect(seen.port);
        client.send(hello, Buffer.from(bytes));
        client.socket.end();
        await client.closed();
      }),
      { numRuns: 40 },
    );
    expect(seen.established).toEqual([]);
    expect(seen.log.join("")).not.toContain("an error of the proxy");
  });

  test("200 such connections leave no socket behind, here or at the server", async () => {
    const seen = await start({ loginTimeout: 400, maxClients: 300 });
    const bytes = [Buffer.from("\x00\x00"), Buffer.from("QUIT\r\n"), hello, Buffer.concat([hello, hello])];
    const clients = await Promise.all(Array.from({ length: 200 }, () => RawClient.connect(seen.port)));
    for (const [index, client] of clients.entries())
      client.send(bytes[index % bytes.length] ?? Buffer.alloc(0));
    await Promise.all(clients.map((client) => client.closed()));
    await seen.close();
    await vi.waitFor(async () => {
      const { rows } = await database.query("SELECT 1 FROM pg_stat_activity WHERE usename = 'anna'");
      expect(rows).toEqual([]);
    });
  });
});

describe("the end", () => {
  test("a proxy that closes tells its clients, and listens no more", async () => {
    const proxy = await start();
    const client = new pg.Client(app(proxy));
    const told = new Promise((resolve) => client.on("error", resolve));
    await client.connect();
    const halfway = await RawClient.connect(proxy.port);
    halfway.send(hello);
    await halfway.until("R");
    expect(proxy.sessions).toBe(1);
    const closed = proxy.close();
    expect(await told).toMatchObject({ code: "57P01", severity: "FATAL" });
    expect((await halfway.farewell()).get("C")).toBe("57P03");
    await closed;
    expect(proxy.sessions).toBe(0);
    await expect(RawClient.connect(proxy.port)).rejects.toThrow("ECONNREFUSED");
  });

  test("a session that crashes ends alone: its client hears XX000, the operator why, others nothing", async () => {
    const crash = async () => Promise.reject(new Error("a broken invariant"));
    const proxy = await start({}, { prepareSession: async () => crash });
    const crashing = new pg.Client(app(proxy));
    const told = new Promise((resolve) => crashing.on("error", resolve));
    await crashing.connect();
    expect(await told).toMatchObject({ code: "XX000", message: "internal error of the proxy" });
    expect(proxy.log.join("")).toContain("a broken invariant");
    await vi.waitFor(() => expect(proxy.sessions).toBe(0));
    expect(await ask(app(sluice))).toBe("helpdesk_app");
  });

  test("a session that cannot be prepared is refused before the client may begin", async () => {
    const prepareSession = () => Promise.reject(new Error("no catalog"));
    const proxy = await start({}, { prepareSession });
    expect(await ask(app(proxy)).catch((error) => error)).toMatchObject({ code: "XX000" });
  });
});
