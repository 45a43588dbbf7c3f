import { afterAll, beforeAll, expect, test, vi } from "vitest";
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
