import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});
afterAll(() => world?.close());

const query = (text: string) => queryMessage(Buffer.from(text));
const parse = (name: string, text: string) => parseMessage(name, Buffer.from(text));
const run = (name: string) => [bindMessage("", name), executeMessage("", 0), syncMessage];
const COPY_DONE = message(Frontend.CopyDone);
const copyData = (text: string) => message(Frontend.CopyData, Buffer.from(text));

/** What is on record of a session that gets each of these, and waits for each ReadyForQuery. */
async function recorded(...sent: readonly (readonly Buffer[])[]): Promise<readonly string[]> {
  const { sluice } = world;
  const client = await sluice.raw("helpdesk_app");
  sluice.statements();
  for (const messages of sent) {
    client.send(...messages);
    await client.answer();
  }
  client.socket.end();
  await client.closed();
  await expect.poll(() => sluice.events.at(-1)?.kind).toBe("logout");
  return sluice
    .statements()
    .map(({ statement, rows, sqlstate }) => `${statement} ${sqlstate ?? `${rows} rows`}`);
}

test("a Parse that fails does not put its text on record under a name that is taken", async () => {
  const events = await recorded(
    [parse("s", "select id from tickets limit 2"), syncMessage],
    [parse("s", "select email from customers"), syncMessage],
    run("s"),
  );
  expect(events).toContain("select id from tickets limit $1 2 rows");
  expect(events).toContain("select email from customers 42P05");
});

test("a name that SQL gave and took away is on record with the text that it stands for", async () => {
  const events = await recorded(
    [parse("s", "select id from tickets limit 2"), syncMessage],
    [query("deallocate s; prepare s as select email from customers limit 3")],
    run("s"),
  );
  expect(
    events.some((event) => event.includes("select email from customers") && event.endsWith("3 rows")),
  ).toBe(true);
  expect(events).not.toContain("select id from tickets limit $1 3 rows");
});

test("a query that a client hides behind a COPY which fails is on record", async () => {
  const { sluice } = world;
  const client = await sluice.raw("helpdesk_app");
  sluice.statements();
  client.send(query("copy tickets (id, customer_id) from stdin"));
  await client.until("G");
  client.send(copyData("no number\n"), query("select email from customers limit 4"));
  expect(await client.answer()).toBe("E(22P02) Z(I)");
  expect(await client.answer()).toContain("C(SELECT 4)");
  client.socket.end();
  await client.closed();
  await expect
    .poll(() => sluice.events.map((event) => (event.kind === "statement" ? event.statement : "")))
    .toContain("select email from customers limit $1");
});

test("a COPY whose end the client sends ahead leaves what follows on record", async () => {
  const { sluice } = world;
  const client = await sluice.raw("helpdesk_app");
  sluice.statements();
  client.send(query("create temporary table copied (id int)"));
  await client.answer();
  client.send(
    parse("", "copy copied from stdin"),
    ...[bindMessage("", ""), executeMessage("", 0)],
    ...[copyData("1\n"), COPY_DONE, syncMessage],
    query("select email from customers limit 5"),
  );
  expect(await client.answer()).toBe("1 2 G C(COPY 1) Z(I)");
  expect(await client.answer()).toContain("C(SELECT 5)");
  client.socket.end();
  await client.closed();
  await expect
    .poll(() => sluice.statements().map(({ statement, rows }) => `${statement} ${rows}`))
    .toContain("select email from customers limit $1 5");
});
