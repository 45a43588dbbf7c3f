import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import type { Raw } from "../harness/raw-client.ts";
import { query } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

/** Both are counted, one has a limit of bytes as well. */
const policy = `${POLICY.replace("bytes: 2kB", "bytes: 1MB, budget: { 1d: 1000 }").replace("users: [ben], extends: agent, on_excess: truncate", "users: [], extends: agent")}
  watched: { users: [ben], reads: all, writes: all, sees: all, watch: true, budget: { 1d: 10000000 } }
`;

const MEGABYTE = 1024 * 1024;

let [world, pooled, wide]: World[] = [];
let wideAndPooled: TestProxy | undefined;
beforeAll(async () => {
  [world, pooled, wide] = [
    await makeWorld("npm", { policy }),
    await makeWorld("npm", { pool: { size: 1 } }),
    await makeWorld("npm", { policy, settings: { maxMessage: 100 * MEGABYTE } }),
  ];
  const settings = { maxMessage: 100 * MEGABYTE };
  wideAndPooled = await startProxy((wide as World).database, { policy, settings, pool: { size: 1 } });
});
afterAll(async () => {
  await wideAndPooled?.close();
  await world?.close();
  await pooled?.close();
  await wide?.close();
});

/** A Bind of the one parameter of a statement. */
function bindOf(statement: string, value: Buffer): Buffer {
  const values = [uint16(0), uint16(1), int32(value.length), value, uint16(0)];
  return message(Frontend.Bind, cstring(""), cstring(statement), ...values);
}

/** The most memory that a piece of work needs beyond what there was. */
async function grownBy(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 2);
  await work();
  clearInterval(watch);
  return most - before;
}

test.each([
  ["session mode", () => world],
  ["a pool", () => pooled],
])("a parameter that is longer than --max-message is relayed, and not gathered, in %s", async (_, of) => {
  const client = await (of() as World).sluice.raw("helpdesk_app");
  client.send(parseMessage("s", Buffer.from("select length($1::text) as length")), syncMessage);
  expect(await client.answer()).toBe("1 Z(I)");
  // The tests' --max-message is one megabyte.
  const value = Buffer.alloc(40 * MEGABYTE, "x");
  client.send(bindOf("s", value), executeMessage("", 0), syncMessage);
  expect(await client.answer()).toBe(`2 D(${value.length}) C(SELECT 1) Z(I)`);
  // What is skipped is skipped to its end.
  client.send(
    parseMessage("", Buffer.from("no sql")),
    bindOf("s", value),
    executeMessage("", 0),
    syncMessage,
  );
  expect(await client.answer()).toBe("E(42601) Z(I)");
  client.send(bindOf("missing", value), syncMessage);
  expect(await client.answer()).toBe("E(26000) Z(I)");
  client.send(bindMessage("", "s"), syncMessage);
  expect(await client.answer()).toBe("E(08P01) Z(I)");
  client.socket.destroy();
});

/** 40 MB, and a word that must not stand in the audit log. */
const longText = (what: string) =>
  `select length('secret${"x".repeat(40 * MEGABYTE)}') as ${what} from tickets limit 1`;

test.each([
  ["session mode", () => wide?.sluice],
  ["a pool", () => wideAndPooled],
])(
  "a long text of a role that sees all is relayed while it arrives, and its beginning is on record, in %s",
  async (_, of) => {
    const sluice = of() as TestProxy;
    const client = await sluice.raw("helpdesk_app");
    const first = query(longText("asked"));
    const prepared = [
      parseMessage("s", Buffer.from(longText("prepared"))),
      bindMessage("", "s"),
      executeMessage("", 0),
    ];
    client.send(query("select 1"));
    await client.answer();
    const grown = await grownBy(async () => {
      client.socket.write(first);
      expect(await client.answer()).toBe(`T(asked) D(${40 * MEGABYTE + 6}) C(SELECT 1) Z(I)`);
    });
    // The test's own copies are older, and what the server answers is short.
    expect(grown).toBeLessThan(30 * MEGABYTE);
    client.send(...prepared, syncMessage);
    expect(await client.answer()).toBe(`1 2 D(${40 * MEGABYTE + 6}) C(SELECT 1) Z(I)`);
    client.send(query(`${longText("wrong")} and`), query("select 2 as two"));
    expect(await client.answer()).toBe("E(42601) Z(I)");
    expect(await client.answer()).toBe("T(two) D(2) C(SELECT 1) Z(I)");
    // What a long text may have left behind is nobody else's.
    client.send(query(`set app.carried to 'x'; ${longText("more")}`));
    await client.answer();
    client.socket.destroy();
    const other = await sluice.raw("helpdesk_app");
    other.send(query("select coalesce(current_setting('app.carried', true), '') as nothing"));
    expect(await other.answer()).toBe("T(nothing) D() C(SELECT 1) Z(I)");
    other.socket.destroy();
    await expect
      .poll(() => sluice.statements().map(({ command, statement }) => ({ command, statement })))
      .toContainEqual({
        command: "SELECT",
        statement: expect.stringMatching(/^select length\( … \d+ bytes more$/),
      });
    expect(JSON.stringify(sluice.events)).not.toContain("secret");
  },
);

test("a text that is longer than --max-message is refused at its head", async () => {
  const client = await (wide as World).sluice.raw("helpdesk_app");
  const head = Buffer.alloc(5);
  head.write("Q");
  head.writeInt32BE(101 * MEGABYTE, 1);
  client.send(head);
  expect((await client.next())?.type).toBe("E");
  await client.closed();
});

test.each([
  [
    "a row past the role's bytes",
    "metabase",
    "select id, repeat(status, 20000000) from tickets limit 1",
    "T(id,repeat) ",
  ],
  [
    "a row of COPY past them",
    "metabase",
    "copy (select id, repeat(status, 20000000) from tickets limit 1) to stdout",
    "H ",
  ],
  [
    "a row that is too long to be held",
    "cleo",
    "select id, repeat(status, 20000000) from tickets limit 1",
    "T(id,repeat) ",
  ],
  ["a value that does not fit", "metabase", "select repeat('x', 80000000)::int", ""],
])("%s is dropped while it arrives", async (_, user, sql, begin) => {
  const client = await (world as World).sluice.raw(user);
  const grown = await grownBy(async () => {
    client.send(query(sql));
    expect(await client.answer()).toBe(`${begin}E(${begin === "" ? "22P02" : "54000"}) Z(I)`);
  });
  // It has 80 MB, and what is dropped is freed when the garbage collector comes to it.
  expect(grown).toBeLessThan(60 * MEGABYTE);
  client.socket.destroy();
});

/** What comes up to ReadyForQuery, of which nothing is kept but its end. */
async function drained(
  { socket }: Raw,
  ...messages: readonly Buffer[]
): Promise<{ bytes: number; end: string }> {
  socket.removeAllListeners("data");
  let [bytes, end] = [0, ""];
  const done = new Promise<void>((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      end = (end + chunk.toString("latin1", Math.max(0, chunk.length - 40))).slice(-40);
      if (end.endsWith("Z\0\0\0\x05I")) resolve();
    });
  });
  socket.write(Buffer.concat(messages));
  await done;
  return { bytes, end };
}

describe("a watched role", () => {
  // 80 MB, and a column would be added at its end.
  const long = "select id, repeat(status, 20000000) from tickets limit 1";

  test("a row that is too long to be held ends its statement, which is then sent as it was written", async () => {
    const sluice = (world as World).sluice;
    const client = await sluice.raw("ben");
    client.send(query(long));
    expect(await client.answer()).toBe("T(id,repeat) E(54000) Z(I)");
    expect(await drained(client, query(long))).toMatchObject({ end: expect.stringContaining("SELECT 1") });
    client.socket.destroy();

    const uncounted = () => sluice.events.filter((event) => event.kind === "statement" && event.uncounted);
    await expect.poll(uncounted).toMatchObject([{ user: "ben", rows: 1, people: 1, decision: "allow" }]);
  });

  test("the same of a statement that is prepared", async () => {
    const client = await (world as World).sluice.raw("ben");
    client.send(parseMessage("s", Buffer.from(long.replace("limit", "offset 1 limit"))), syncMessage);
    expect(await client.answer()).toBe("1 Z(I)");
    const run = [bindMessage("", "s"), executeMessage("", 0), syncMessage];
    client.send(...run);
    expect(await client.answer()).toBe("2 E(54000) Z(I)");
    expect(await drained(client, ...run)).toMatchObject({ end: expect.stringContaining("SELECT 1") });
    client.socket.destroy();
  });
});

test.each(["ben", "helpdesk_app"])("a long error of %s passes whole while it arrives", async (user) => {
  const client = await (world as World).sluice.raw(user);
  const grown = await grownBy(async () => {
    const { bytes } = await drained(client, query("select repeat('x', 80000000)::int"));
    expect(bytes).toBeGreaterThan(80_000_000);
  });
  expect(grown).toBeLessThan(60 * MEGABYTE);
  expect(await drained(client, query("select 1"))).toMatchObject({
    end: expect.stringContaining("SELECT 1"),
  });
  client.socket.destroy();
});
