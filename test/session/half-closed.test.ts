import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  copyFailMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { sslRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Message, query, Raw, RawClient, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

/* `printf … | nc` and its kin close their sending side behind their last message, and read on. */

const WATCHES = "sees: all, watch: true, budget: { 1h: 1000000 }";
const WATCHED = POLICY.replace("sees: all, budget: none", WATCHES);

let world: World;
const sluices = new Map<string, TestProxy>();
beforeAll(async () => {
  world = await makeWorld();
  for (const [name, policy] of [
    ["open", POLICY],
    ["watched", WATCHED],
  ] as const) {
    sluices.set(`session, ${name}`, await startProxy(world.database, { policy }));
    sluices.set(`pool, ${name}`, await startProxy(world.database, { policy, pool: { size: 1 } }));
  }
});
afterAll(async () => {
  for (const sluice of sluices.values()) await sluice.close();
  await world?.close();
});

const parse = (sql: string) => parseMessage("", Buffer.from(sql));
const steps = (sql: string) => [
  parse(sql),
  bindMessage("", ""),
  describeMessage({ target: "portal", name: "" }),
  executeMessage("", 0),
];
const wrongRow = message(Frontend.CopyData, Buffer.from("900001\t1\n"));
const copyDone = message(Frontend.CopyDone);

/** What the client gets up to the end of its connection, which must come. */
async function tillEnd(next: () => Promise<Message | undefined>): Promise<string> {
  const seen: Message[] = [];
  for (let message = await next(); message !== undefined; message = await next()) seen.push(message);
  // A parameter is told when the server, or the pool, likes to.
  return shortOf(seen.filter(({ type }) => type !== "S"));
}

async function answered(client: Raw, sent: readonly Buffer[]): Promise<string> {
  client.socket.end(Buffer.concat(sent));
  return tillEnd(() => client.next());
}

const ways = [
  ["sees all", "helpdesk_app", "session, open"],
  ["is watched", "helpdesk_app", "session, watched"],
  ["is guarded", "anna", "session, open"],
  ["sees all", "helpdesk_app", "pool, open"],
  ["is watched", "helpdesk_app", "pool, watched"],
  ["is guarded", "anna", "pool, open"],
] as const;

const SENT: readonly (readonly [string, readonly Buffer[]])[] = [
  ["nothing", []],
  ["a query", [query("select 1 as one")]],
  ["a slow query", [query("select 1 as one from pg_sleep(0.2)")]],
  [
    "queries",
    [query("select 1 as one from pg_sleep(0.1)"), query("select 2 as two"), query("this is no sql")],
  ],
  ["a query and Terminate", [query("select 1 as one from pg_sleep(0.1)"), terminateMessage]],
  ["Sync", [syncMessage]],
  ["a pipeline", [...steps("select 1 as one from pg_sleep(0.1)"), ...steps("select 2 as two"), syncMessage]],
  ["a pipeline that fails", [...steps("select 1/0 from pg_sleep(0.1)"), ...steps("select 2"), syncMessage]],
  ["a pipeline with Flush", [...steps("select 1 as one from pg_sleep(0.1)"), flushMessage]],
  ["a query, and a pipeline without Sync", [query("select 1 as one from pg_sleep(0.1)"), parse("select 2")]],
  ["an open transaction", [query("begin"), query("select 1 as one from pg_sleep(0.1)")]],
  ["a long answer", [query("select g from generate_series(1, 30000) g")]],
  ["an answer of COPY", [query("copy (select g from generate_series(1, 9) g) to stdout")]],
  ["COPY without an end", [query("select 1 as one"), query("copy tickets (id, customer_id) from stdin")]],
  ["COPY that fails", [query("copy tickets from stdin"), wrongRow, copyDone, query("select 2 as two")]],
  ["COPY", [query("copy tickets from stdin"), copyDone, query("select 2 as two")]],
  ["COPY in a pipeline without an end", steps("copy tickets from stdin")],
  [
    "COPY that is broken off",
    [query("copy tickets from stdin"), copyFailMessage("enough"), query("select 2 as two")],
  ],
  [
    "a message without its end",
    [query("select 1 as one from pg_sleep(0.1)"), query("select 2").subarray(0, 9)],
  ],
  ["a write", [query("update tickets set status = status where id = 1 returning id")]],
  [
    "a write in a pipeline",
    [...steps("update tickets set status = status where id = 1 returning id"), syncMessage],
  ],
];

describe.each(ways)("a client that %s (%s, %s) and closes its sending side", (_, user, way) => {
  test.each(SENT)("gets the answers to %s that a server gives", async (__, sent) => {
    const { server, database } = world;
    const direct = await Raw.logIn(server.port, user, database.database);
    const client = await Raw.logIn(sluices.get(way)?.port ?? 0, user, database.database);
    expect(await answered(client, sent)).toBe(await answered(direct, sent));
  });
});

test("one who closes at once behind the startup packet is served", async () => {
  const { server, database } = world;
  const all = Buffer.concat([startupPacket("helpdesk_app", database.database), query("select 1 as one")]);
  const answers = [server.port, sluices.get("session, open")?.port ?? 0].map(async (port) => {
    const client = await RawClient.connect(port);
    client.socket.end(all);
    return (await tillEnd(() => client.message())).replace(/^.*?Z/, "Z");
  });
  const [direct, proxied] = await Promise.all(answers);
  expect(proxied).toBe(direct);
  expect(proxied).toBe("Z(I) T(one) D(1) C(SELECT 1) Z(I)");
});

test("the connection that a pool has lent to one is the next one's, and no transaction is left open on it", async () => {
  const { database } = world;
  const pool = sluices.get("pool, open");
  const next = await Raw.logIn(pool?.port ?? 0, "helpdesk_app", database.database);
  for (const sent of [[query("begin")], steps("select 1"), [query("copy tickets from stdin")]]) {
    const client = await Raw.logIn(pool?.port ?? 0, "helpdesk_app", database.database);
    await answered(client, sent);
    expect(await next.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
  }
  next.socket.destroy();
});

test("one who never reads is ended by --statement-timeout", async () => {
  const { database } = world;
  const sluice = await startProxy(database, { policy: POLICY, settings: { statementTimeout: 300 } });
  try {
    for (const user of ["helpdesk_app", "ben"]) {
      const client = await Raw.logIn(sluice.port, user, database.database);
      client.socket.pause();
      client.socket.end(query("select repeat('x', 100000) from generate_series(1, 10000)"));
      await expect
        .poll(() => sluice.events.at(-1), { timeout: 20_000 })
        .toMatchObject({ kind: "logout", user });
      client.socket.destroy();
    }
  } finally {
    await sluice.close();
  }
}, 60_000);

test("over TLS on both sides as without", async () => {
  const files = await makeCertificates();
  const { certificate, key } = files.database;
  const secure = await makeWorld("npm", {
    server: { settings: { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key } },
    upstreamQuery: "sslmode=require",
    settings: { tlsCert: files.proxy.certificate, tlsKey: files.proxy.key },
  });
  try {
    const long = [
      query("select 1 as one from pg_sleep(0.1)"),
      query("select g from generate_series(1, 30000) g"),
    ];
    for (const user of ["helpdesk_app", "anna"]) {
      for (const sent of [long, [query("copy tickets from stdin")]]) {
        const ports = [secure.server.port, secure.sluice.port];
        const [direct, proxied] = await Promise.all(
          ports.map((port) => overTls(port, user, secure.database.database, sent)),
        );
        expect(proxied).toBe(direct);
      }
    }
  } finally {
    await secure.close();
    await files.remove();
  }
});

/** All that a client gets over TLS from its first ReadyForQuery on. */
async function overTls(
  port: number,
  user: string,
  database: string,
  sent: readonly Buffer[],
): Promise<string> {
  const plain = connect({ host: "127.0.0.1", port });
  plain.write(sslRequest);
  await once(plain, "data");
  const socket = connectTls({ socket: plain, rejectUnauthorized: false, ALPNProtocols: ["postgresql"] });
  await once(socket, "secureConnect");
  const client = new RawClient(socket);
  client.send(startupPacket(user, database));
  await client.until("Z");
  socket.end(Buffer.concat(sent));
  return `Z(I) ${await tillEnd(() => client.message())}`;
}

function startupPacket(user: string, database: string): Buffer {
  return startupMessage([
    ["user", user],
    ["database", database],
  ]);
}
