import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  closeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import type { Raw } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/* What a client has named stays in the proxy's memory for as long as the client likes. */

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});
afterAll(async () => {
  await world?.close();
});

const LONG = `select '${"x".repeat(200_000)}'`;
const sync = syncMessage;

/** How often the message made for a number is taken; more than `most` is without end. */
async function taken(client: Raw, make: (i: number) => readonly Buffer[], most = 400): Promise<number> {
  for (let i = 0; i < most; i++) {
    const answer = await client.send(...make(i)).answer();
    if (answer.includes("E(54000)")) return i;
    if (answer.includes("E(")) throw new Error(answer);
  }
  return most;
}

test("prepared statements do not fill the memory, and make room when they are closed", async () => {
  const anna = await world.sluice.raw("anna");
  const parse = (i: number) => [parseMessage(`s${i}`, Buffer.from(LONG)), sync];
  const count = await taken(anna, parse);
  expect(count).toBeGreaterThan(20);
  expect(count).toBeLessThan(400);
  expect(await anna.send(parseMessage("", Buffer.from("select 1")), sync).answer()).toBe("1 Z(I)");
  expect(await anna.send(closeMessage({ target: "statement", name: "s0" }), sync).answer()).toBe("3 Z(I)");
  expect(await anna.send(...parse(0)).answer()).toBe("1 Z(I)");
  expect(await anna.send(queryMessage(Buffer.from("deallocate all"))).answer()).toBe(
    "C(DEALLOCATE ALL) Z(I)",
  );
  expect(await taken(anna, parse)).toBe(count);
  anna.socket.destroy();
});

test.each([
  ["PREPARE", (i: number) => [queryMessage(Buffer.from(`prepare p${i} as ${LONG}`))]],
  ["cursors", (i: number) => [queryMessage(Buffer.from(`declare c${i} cursor for ${LONG}`))]],
  ["portals", (i: number) => [parseMessage("", Buffer.from(LONG)), bindMessage(`b${i}`, ""), sync]],
])("%s do not fill it either", async (_, make) => {
  const anna = await world.sluice.raw("anna");
  await anna.send(queryMessage(Buffer.from("begin"))).answer();
  expect(await taken(anna, make)).toBeLessThan(400);
  anna.socket.destroy();
});

test("a name that is given over and over holds no more than once", async () => {
  const anna = await world.sluice.raw("anna");
  const again = () => [
    closeMessage({ target: "statement", name: "s" }),
    parseMessage("s", Buffer.from(LONG)),
    sync,
  ];
  expect(await taken(anna, again, 200)).toBe(200);
  anna.socket.destroy();
});
