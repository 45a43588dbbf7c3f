import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { makeWorld, type World } from "../session/world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 1 } });
});
afterAll(() => world?.close());

const SELECT = parseMessage("s", Buffer.from("select 1 as one"));
const RUN = [bindMessage("", "s"), executeMessage("", 0), syncMessage];
const BODY = Buffer.from("no string");

test.each([
  ["Query", Frontend.Query],
  ["Parse", Frontend.Parse],
  ["Bind", Frontend.Bind],
  ["Describe", Frontend.Describe],
  ["Close", Frontend.Close],
  ["Execute", Frontend.Execute],
])("a %s whose body is wrong is an error of that message, with a pool as well", async (_, type) => {
  const client = await world.sluice.raw("helpdesk_app");
  client.send(SELECT, syncMessage);
  expect(await client.answer()).toBe("1 Z(I)");
  client.send(message(type, BODY));
  if (type !== Frontend.Query) client.send(syncMessage);
  expect(await client.answer()).toBe("E(08P01) Z(I)");
  client.send(...RUN);
  expect(await client.answer()).toBe("2 D(1) C(SELECT 1) Z(I)");
  client.socket.destroy();
});

test("a name that a skipped Parse would have given is not there for the next pipeline", async () => {
  const client = await world.sluice.raw("helpdesk_app");
  const other = await world.sluice.raw("helpdesk_app");
  // The connection has the statement already: the pool would answer the Parse itself.
  other.send(SELECT, syncMessage);
  await other.answer();
  const wrong = parseMessage("", Buffer.from("no sql"));
  client.send(wrong, SELECT, syncMessage, ...RUN, queryMessage(Buffer.from("select 2")));
  expect(await client.answer()).toBe("E(42601) Z(I)");
  expect(await client.answer()).toBe("E(26000) Z(I)");
  expect(await client.answer()).toBe("T(?column?) D(2) C(SELECT 1) Z(I)");
  client.socket.destroy();
  other.socket.destroy();
});
