import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  closeMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, int32, message } from "../../proxy/wire/messages.ts";
import { cancelRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { CANARY_SETUP, showsCanary } from "../attack/canary.ts";
import { ATTACK_POLICY } from "../attack/worlds.ts";
import { query, RawClient } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { chunks, mutate } from "./mutate.ts";
import { Random } from "./random.ts";

/** Whole sessions with messages changed, moved and cut at random. Longer by hand: as in codecs.test.ts. */
const SECONDS = Number(process.env.SLUICE_FUZZ_SECONDS ?? 4);
const SEED = Number(process.env.SLUICE_FUZZ_SEED ?? 1);
/** So many on a machine, too, that does fewer in its time. */
const LEAST = 48;

const POLICY = `${ATTACK_POLICY}
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));

/** Conversations of clients that mean well. */
const CONVERSATIONS: readonly (readonly Buffer[])[] = [
  [query("SELECT id, email FROM customers WHERE id < 9")],
  [
    parse("", "SELECT email FROM customers WHERE id = 7"),
    bindMessage("", ""),
    executeMessage("", 0),
    syncMessage,
  ],
  [
    parse("s", "SELECT * FROM customers WHERE id < 20"),
    describeMessage({ target: "statement", name: "s" }),
    bindMessage("p", "s"),
    executeMessage("p", 3),
    flushMessage,
    executeMessage("p", 0),
    closeMessage({ target: "portal", name: "p" }),
    syncMessage,
  ],
  [query("BEGIN"), query("DECLARE c CURSOR FOR TABLE customers"), query("FETCH 5 FROM c"), query("ROLLBACK")],
  [query("PREPARE q AS SELECT c FROM customers c LIMIT 5"), query("EXECUTE q"), query("DEALLOCATE q")],
  [query("COPY (SELECT email FROM customers LIMIT 5) TO STDOUT")],
  [
    query("COPY notes FROM STDIN"),
    message(Frontend.CopyData, Buffer.from("2\tx\t{}\t{}\n")),
    message(Frontend.CopyDone),
  ],
  [query("SELECT 1; SELECT email FROM customers LIMIT 2; SELECT 1/0")],
  [
    parse("t", "SELECT email FROM customers"),
    parse("t", "SELECT 1"),
    bindMessage("", "t"),
    executeMessage("", 0),
    syncMessage,
  ],
  [message(Frontend.FunctionCall, int32(1), Buffer.alloc(6)), syncMessage],
];
const POOL = CONVERSATIONS.flat();

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(CANARY_SETUP);
});
afterAll(() => world?.close());

/** All that comes back until the proxy or the client ends it. */
async function say(messages: readonly Buffer[], random: Random): Promise<Buffer> {
  const client = await RawClient.connect(world.sluice.port);
  const received: Buffer[] = [];
  client.socket.on("data", (bytes) => received.push(bytes));
  const closed = client.closed();
  for (const chunk of chunks(Buffer.concat(messages), random)) {
    if (client.socket.writable) client.socket.write(chunk);
    // Bytes that are written at once arrive at once.
    if (random.below(4) === 0) await new Promise(setImmediate);
  }
  client.socket.end();
  await closed;
  return Buffer.concat(received);
}

const startup = (user: string) =>
  startupMessage(
    new Map([
      ["user", user],
      ["database", world.database.database],
    ]),
  );

async function servesAsBefore(): Promise<void> {
  await expect
    .poll(async () => {
      const { rows } = await world.database.query<{ count: string }>(
        "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('cleo', 'helpdesk_app') AND datname = current_database()",
      );
      return rows[0]?.count;
    })
    .toBe("0");
  const client = await world.sluice.connect("cleo");
  expect((await client.query("SELECT email FROM customers WHERE id = 7")).rows).toEqual([
    { email: "hidden" },
  ]);
  await client.end();
}

setFlagsFromString("--expose_gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes that the proxy holds, which runs in this process: what the test keeps of events and log lines is left out. */
function heldMemory(): number {
  for (const kept of [world.sluice.events, world.sluice.log]) (kept as unknown[]).length = 0;
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

describe.each([
  { what: "a guarded session", user: "cleo", mayShow: false },
  { what: "a session that sees all", user: "helpdesk_app", mayShow: true },
])("$what", ({ user, mayShow }) => {
  test("whatever order, form and cut its messages come in: it ends, shows nothing, and others are served", {
    timeout: (SECONDS + 60) * 1_000,
  }, async () => {
    const random = new Random(SEED);
    const end = performance.now() + (SECONDS * 1_000) / 2;
    let sessions = 0;
    let before = 0;
    while (sessions < LEAST || performance.now() < end) {
      const inputs = Array.from({ length: 8 }, () => mutate(random.of(CONVERSATIONS), POOL, random));
      const answers = await Promise.all(inputs.map((input) => say([startup(user), ...input], random)));
      sessions += inputs.length;
      for (const [i, answer] of answers.entries())
        if (!mayShow && showsCanary(answer)) expect.fail(Buffer.concat(inputs[i] ?? []).toString("latin1"));
      if (sessions === 80) before = heldMemory();
    }
    await servesAsBefore();
    // Verdicts of many texts are kept, up to their cache's own limit.
    if (before > 0) expect(heldMemory() - before).toBeLessThan(24 * 1024 * 1024);
  });
});

test("start-ups changed at random end, and log nobody in by another name", {
  timeout: (SECONDS + 60) * 1_000,
}, async () => {
  const random = new Random(SEED);
  const packets = [
    [startup("cleo")],
    [Buffer.concat([int32(8), int32(80877103)]), startup("cleo")],
    [cancelRequest(7, Buffer.alloc(4, 7))],
  ];
  const end = performance.now() + (SECONDS * 1_000) / 4;
  (world.sluice.events as unknown[]).length = 0;
  let tried = 0;
  while (tried < LEAST || performance.now() < end) {
    const inputs = Array.from({ length: 8 }, () => mutate(random.of(packets), packets.flat(), random));
    await Promise.all(inputs.map((input) => say(input, random)));
    tried += inputs.length;
  }
  await servesAsBefore();
  const users = world.sluice.events.flatMap((event) => (event.kind === "login" ? [event.user] : []));
  expect(users.length).toBeGreaterThan(0);
  expect(users.filter((user) => user !== "cleo")).toEqual([]);
});
