import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Ledger } from "../../proxy/protocol/ledger.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { makeWorld, type World } from "./world.ts";

let [world, pooled]: World[] = [];
beforeAll(async () => {
  [world, pooled] = [await makeWorld(), await makeWorld("npm", { pool: { size: 1 } })];
});
afterAll(async () => {
  await world?.close();
  await pooled?.close();
});

const MESSAGES = Buffer.concat(
  Array.from({ length: 10_000 }, () => [bindMessage("", ""), executeMessage("", 0)]).flat(),
);

// Their processing takes many milliseconds: others must have had their turn many times.
test.each([
  ["a role that sees all", "helpdesk_app", () => world],
  ["a guarded role", "metabase", () => world],
  ["a pool's client", "helpdesk_app", () => pooled],
])("20,000 pipelined messages of %s are dealt with in turns, and answered in order", async (_, user, of) => {
  const client = await (of() as World).sluice.raw(user);
  const turns = vi.spyOn(globalThis, "setImmediate");
  client.send(parseMessage("", Buffer.from("select 1 as one")), MESSAGES, syncMessage);
  const answer = await client.until("Z");
  expect(turns.mock.calls.length).toBeGreaterThan(10);
  turns.mockRestore();
  expect(answer.filter(({ type }) => type === "C")).toHaveLength(10_000);
  client.socket.destroy();
});

/** Bytes of one read of a socket; a Bind and an Execute of these take 26. */
const READ = 64 * 1024;
const MOST = 10_000 + 2 * Math.ceil((2 * READ) / 26);

// A limit of a guarded role holds its messages back anyway. Memory for what awaits its answer, and garbage that V8 has to look at, are bounded.
test.each([
  ["a role that sees all", "helpdesk_app", () => world],
  ["a pool's client", "helpdesk_app", () => pooled],
])(
  "no more is read from %s while 10,000 messages await their answers, and then the rest",
  async (_, user, of) => {
    const { sluice, database } = of() as World;
    await database.query("create table if not exists held (a int); grant select on held to public");
    const holder = new pg.Client({ connectionString: database.uri });
    await holder.connect();
    const client = await sluice.raw(user);
    let sent = 0;
    const { sent: enter } = Ledger.prototype;
    // A spy would keep all of them.
    Ledger.prototype.sent = function (...args) {
      sent++;
      enter.apply(this, args);
    };
    try {
      await holder.query("begin; lock table held");
      client.send(
        parseMessage("", Buffer.from("select a from held")),
        bindMessage("", ""),
        executeMessage("", 0),
        parseMessage("", Buffer.from("select 1 as one")),
        ...Array.from({ length: 2 }, () => MESSAGES),
        syncMessage,
      );
      await vi.waitFor(() => expect(sent).toBeGreaterThan(10_000), { timeout: 20_000 });
      // Whatever could be read has been read by the time that others have been answered a hundred times.
      const other = await world?.sluice.connect("helpdesk_app");
      for (let i = 0; i < 100; i++) await other?.query("select 1");
      await other?.end();
      expect(sent).toBeLessThan(MOST);
      await holder.query("rollback");
      const answer = await client.until("Z");
      expect(answer.filter(({ type }) => type === "C")).toHaveLength(20_001);
    } finally {
      Ledger.prototype.sent = enter;
      client.socket.destroy();
      await holder.end();
    }
  },
);
