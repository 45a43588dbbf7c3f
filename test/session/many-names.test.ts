import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { Kept } from "../../proxy/session/statement/decision.ts";
import { ObservedNames } from "../../proxy/session/transparent/observed-names.ts";
import {
  bindMessage,
  closeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { type ProxyOptions, startProxy } from "../harness/proxy.ts";
import type { Raw } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

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

const WATCHED = `
version: 1
tables: { public.customers: { subject: id } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true }
`;

/** Where statements are kept, and a client. */
const WAYS: readonly (readonly [string, () => Promise<Raw>])[] = [
  ["a guarded user", () => world.sluice.raw("anna")],
  ["a watched application", () => started({ policy: WATCHED })],
  ["a role that sees all, in a pool", () => started({ policy: POLICY, pool: { size: 1 } })],
];

async function started(options: ProxyOptions): Promise<Raw> {
  const sluice = await startProxy(world.database, options);
  onTestFinished(() => sluice.close());
  return sluice.raw("helpdesk_app");
}

test.each(WAYS)(
  "prepared statements of %s do not fill the memory, and make room when they are closed",
  async (_, open) => {
    const client = await open();
    const parse = (i: number) => [parseMessage(`s${i}`, Buffer.from(LONG)), sync];
    const count = await taken(client, parse);
    expect(count).toBeGreaterThan(20);
    expect(count).toBeLessThan(400);
    expect(await client.send(parseMessage("", Buffer.from("select 1")), sync).answer()).toBe("1 Z(I)");
    expect(await client.send(closeMessage({ target: "statement", name: "s0" }), sync).answer()).toBe(
      "3 Z(I)",
    );
    expect(await client.send(...parse(0)).answer()).toBe("1 Z(I)");
    expect(await client.send(queryMessage(Buffer.from("deallocate all"))).answer()).toBe(
      "C(DEALLOCATE ALL) Z(I)",
    );
    expect(await taken(client, parse)).toBe(count);
    client.socket.destroy();
  },
);

test("of a role that sees all nothing is refused, and only so much is kept for the record", () => {
  const names = new ObservedNames();
  const kept = { text: Buffer.alloc(200_000) } as Kept;
  for (let i = 0; i < 400; i++) names.parsed(`s${i}`, kept);
  expect(names.statement("s0")).toBeDefined();
  expect(names.statement("s399")).toBeUndefined();
  names.bound("p", "s0");
  expect(names.portal("p")).toBeUndefined();
  names.closed({ target: "statement", name: "s0" });
  names.parsed("s399", kept);
  expect(names.statement("s399")).toBeDefined();
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
