import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { makeWorld, POLICY, type World } from "../session/world.ts";

/** metabase is watched. */
const WATCHED = POLICY.replace(
  /narrow: .*/,
  "narrow: { users: [metabase], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 1000000 } }",
);

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 1 }, policy: WATCHED });
});
afterAll(() => world?.close());

const SELECT = parseMessage("s", Buffer.from("select 1 as one"));
const RUN = [bindMessage("", "s"), executeMessage("", 0), syncMessage];
const BODY = Buffer.from("no string");

describe.each([
  ["sees all", "helpdesk_app"],
  ["is guarded", "anna"],
  ["is watched", "metabase"],
])("of a client that %s", (_, user) => {
  test.each([
    ["Query", Frontend.Query],
    ["Parse", Frontend.Parse],
    ["Bind", Frontend.Bind],
    ["Describe", Frontend.Describe],
    ["Close", Frontend.Close],
    ["Execute", Frontend.Execute],
  ])("a %s whose body is wrong is an error of that message, with a pool as well", async (_, type) => {
    const client = await world.sluice.raw(user);
    // The first message that the pool hears of.
    client.send(message(type, BODY));
    if (type !== Frontend.Query) client.send(syncMessage);
    expect(await client.answer()).toBe("E(08P01) Z(I)");
    client.send(SELECT, syncMessage);
    expect(await client.answer()).toBe("1 Z(I)");
    client.send(message(type, BODY));
    if (type !== Frontend.Query) client.send(syncMessage);
    expect(await client.answer()).toBe("E(08P01) Z(I)");
    client.send(...RUN);
    expect(await client.answer()).toBe("2 D(1) C(SELECT 1) Z(I)");
    client.socket.destroy();
  });

  test("who leaves at the beginning of a COPY leaves at once", async () => {
    const client = await world.sluice.raw(user);
    client.send(queryMessage(Buffer.from("copy tickets (id, customer_id) from stdin")), terminateMessage);
    await client.closed();
    const next = await world.sluice.raw(user);
    next.send(queryMessage(Buffer.from("select 1 as one")));
    expect(await next.answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    next.socket.destroy();
  });
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

test.each(["select 2 as two", "set datestyle to 'German, DMY'"])(
  "a server that a query in a pipeline has left out of step is not handed on so: %s",
  async (text) => {
    const client = await world.sluice.raw("helpdesk_app");
    const next = await world.sluice.raw("helpdesk_app");
    const query = queryMessage(Buffer.from("select 1 as one"));
    const run = [parseMessage("", Buffer.from(text)), bindMessage("", ""), executeMessage("", 0)];
    client.send(...run, query, syncMessage);
    await client.answer();
    await client.answer();
    next.send(query);
    expect(await next.answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    client.send(query);
    expect(await client.answer()).toMatch(/T\(one\) D\(1\) C\(SELECT 1\) Z\(I\)$/);
    client.socket.destroy();
    next.socket.destroy();
  },
);
