import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { POLICY } from "../clients/policy.ts";
import {
  createRoles,
  databaseOn,
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  startPostgres,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { servesAsBefore } from "./afterwards.ts";
import { query, RawClient } from "./raw-client.ts";

/** Between Sluice and the server: a wire that can be cut. */
interface Wire {
  readonly uri: string;
  /** Cuts what is connected now, without a word. */
  cut(): void;
  close(): Promise<void>;
}

let database: TestDatabase;
let wire: Wire;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("upstream");
  await supportSchema(database.uri);
  wire = await stretch(database);
  sluice = await startSluice({ policy: POLICY, upstream: wire.uri });
});
afterAll(async () => {
  await sluice?.close();
  await wire?.close();
  await database.drop();
});

async function stretch(database: TestDatabase): Promise<Wire> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const upstream = connect({ host: database.host, port: database.port });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy()).on("close", () => sockets.delete(one));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const uri = new URL(database.uri);
  uri.port = String((server.address() as AddressInfo).port);
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    uri: uri.href,
    cut,
    async close() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}

/** What a login is told. */
async function refusal(uri: string) {
  const client = new pg.Client({ connectionString: uri });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.end();
    return undefined;
  } catch (error) {
    const { severity, code, message } = error as pg.DatabaseError;
    return { severity, code, message };
  }
}

/** For a second or two: a server finds out that its client has gone only when it answers. */
const SLOW = "SELECT count(*) FROM generate_series(1, 8000000)";
/** More than the buffers on its way hold. */
const BIG = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)";

describe.each<SupportUser>(["anna", "helpdesk_app"])("%s is told when the server is lost:", (user) => {
  afterEach(() => servesAsBefore(sluice, database));
  const open = () => RawClient.loggedIn(sluice.uriFor(user, PASSWORDS[user]));

  const working = async () => {
    const client = await open();
    client.say(query(SLOW));
    const active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $1 AND usename = $2";
    await expect.poll(async () => (await database.query(active, [SLOW, user])).rowCount).toBe(1);
    return client;
  };

  test("its process is ended by an administrator while it works on an answer", async () => {
    const client = await working();
    await database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = $2",
      [database.database, user],
    );
    // RowDescription waited in the server's buffer.
    expect(await client.end()).toEqual(["T", "E FATAL 57P01", "end"]);
  });

  test("the wire to it is cut while it works on an answer", async () => {
    const client = await working();
    wire.cut();
    expect(await client.end()).toEqual(["E FATAL 08006", "end"]);
  });

  test("the wire to it is cut in the middle of a result, and perhaps of a row", async () => {
    const client = await open();
    client.say(query(BIG));
    await client.expect("T");
    wire.cut();
    const seen = await client.end();
    // In the middle of a row no other message can stand.
    expect(["D", "E FATAL 08006"]).toContain(seen.at(-2));
    expect(seen.at(-1)).toBe("end");
    expect(seen).not.toContain("C");
  });

  test("the wire to it is cut between two statements", async () => {
    const client = await open();
    wire.cut();
    expect(await client.end()).toEqual(["E FATAL 08006", "end"]);
  });
});

describe("a login that the server refuses is refused in the server's words:", () => {
  afterEach(() => servesAsBefore(sluice, database));
  const both = async (user: SupportUser, password: string, name = database.database) => {
    const at = (uri: string) => {
      const url = new URL(uri);
      url.pathname = `/${name}`;
      return refusal(url.href);
    };
    return [await at(sluice.uriFor(user, password)), await at(database.uriFor(user, password))] as const;
  };

  test.each<SupportUser>(["anna", "helpdesk_app"])("a wrong password of %s", async (user) => {
    const [through, direct] = await both(user, "wrong");
    expect(through).toEqual(direct);
    expect(through).toMatchObject({ severity: "FATAL", code: "28P01" });
  });

  test("a database that does not exist", async () => {
    const [through, direct] = await both("anna", PASSWORDS.anna, "nowhere");
    expect(through).toEqual(direct);
    expect(through).toMatchObject({ severity: "FATAL", code: "3D000" });
  });

  test("a user whom nobody knows learns nothing about who is known", async () => {
    const stranger = sluice.uriFor("stranger", "wrong");
    expect(await refusal(stranger)).toMatchObject({ severity: "FATAL", code: "28P01" });
  });
});

test("a server that is not there: 08006, and served once it is", async () => {
  const port = await freePort();
  const away = await startSluice({
    policy: POLICY,
    upstream: `postgresql://postgres:postgres-password@127.0.0.1:${port}/support`,
  });
  try {
    expect(await refusal(away.uriFor("anna", PASSWORDS.anna))).toMatchObject({
      severity: "FATAL",
      code: "08006",
    });
    expect((await fetch(`${away.adminUrl}/readyz`)).status).toBe(503);
    expect((await fetch(`${away.adminUrl}/healthz`)).status).toBe(200);
  } finally {
    await away.close();
  }
});

test("a server that stops and comes back: every session is told, and new ones are served after it", async () => {
  const folder = { port: await freePort() };
  const first = await startPostgres(folder);
  await createRoles(first.uri);
  const own = await databaseOn(first.uri, "stopped");
  await supportSchema(own.uri);
  const before = await startSluice({ policy: POLICY, upstream: own.uri });
  const busy = await RawClient.loggedIn(before.uriFor("anna", PASSWORDS.anna));
  const idle = await RawClient.loggedIn(before.uriFor("helpdesk_app", PASSWORDS.helpdesk_app));
  busy.say(query(SLOW));
  await first.stop();
  expect((await busy.end()).slice(-2)).toEqual(["E FATAL 57P01", "end"]);
  expect(await idle.end()).toEqual(["E FATAL 57P01", "end"]);
  expect(await refusal(before.uriFor("anna", PASSWORDS.anna))).toMatchObject({ code: "08006" });
  await expect.poll(() => before.sessions()).toBe(0);
  await before.close();
  await own.drop().catch(() => undefined);
});

test("a server that has no room says so", async () => {
  const small = await startPostgres({
    settings: { max_connections: "8", superuser_reserved_connections: "4" },
  });
  await createRoles(small.uri);
  const own = await databaseOn(small.uri, "small");
  await supportSchema(own.uri);
  const before = await startSluice({ policy: POLICY, upstream: own.uri });
  const anna = before.uriFor("anna", PASSWORDS.anna);
  const clients = [await RawClient.loggedIn(anna)];
  try {
    await expect
      .poll(async () => {
        const refused = await refusal(anna);
        if (refused === undefined) clients.push(await RawClient.loggedIn(anna));
        return refused?.code;
      })
      .toBe("53300");
  } finally {
    for (const client of clients) client.socket.destroy();
    await before.close();
    await own.drop();
    await small.stop();
  }
});
