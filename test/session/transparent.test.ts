import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { query } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
  await world.database.query(`
    CREATE FUNCTION public.emails_of(i int) RETURNS text LANGUAGE sql AS $$
      SELECT string_agg(email, ' ') FROM (SELECT email FROM public.customers LIMIT i) s $$;
    CREATE VIEW public.by_function AS SELECT emails_of(1) FROM generate_series(1, 9);
    CREATE VIEW public.over_customers AS SELECT id, email FROM public.customers;
    GRANT SELECT ON public.by_function, public.over_customers TO helpdesk_app;
    GRANT TEMPORARY ON DATABASE ${world.database.database} TO helpdesk_app;
  `);
});
afterAll(() => world?.close());

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

test("a trace is its own statement's, whatever has come since into the memory that it was read from", async () => {
  const { sluice } = world;
  const traced = (text: string, digit: string) =>
    `${text} /*traceparent='00-${digit.repeat(32)}-${digit.repeat(16)}-01'*/`;
  const client = await sluice.raw("helpdesk_app");
  // Memory that fits what follows, so that it is read into again.
  client.send(query(traced("select 1 as one, pg_sleep(0.0)", "a")));
  await client.answer();
  sluice.statements();
  client.send(query(traced("select 1 as one, pg_sleep(0.5)", "b")));
  client.send(parse("s", traced("select 2 as two, pg_sleep(0.0)", "c")), syncMessage);
  await client.answer();
  client.send(query(traced("select 3 as three, pg_sleep(0)", "d")));
  client.send(...run("s"));
  for (let answers = 0; answers < 3; answers++) await client.answer();
  client.socket.end();
  await client.closed();
  await expect.poll(() => sluice.events.at(-1)?.kind).toBe("logout");
  const traces = sluice.statements().map(({ traceparent = "" }) => traceparent.at(3));
  expect(traces.toSorted()).toEqual(["a", "b", "c", "d"]);
});

/** An officer who asks who read a table is told of all that may have read it. */
describe("no way of writing it takes a table off the record", () => {
  const HIDDEN = "select email from customers limit 5";
  const long = `/* ${"x".repeat(40_000)} */`;

  test.each([
    ["a comment before it", [[query(`${long} ${HIDDEN}`)]]],
    [
      "a list of tables before it",
      [[query(`select 1 ${long} from tickets t, customers c where 'a' <> $q$ $q$ limit 5`)]],
    ],
    ["EXECUTE", [[query(`prepare hidden as ${HIDDEN}`)], [query("execute hidden")]]],
    ["FETCH", [[query(`begin; declare c cursor for ${HIDDEN}`)], [query("fetch all from c")]]],
    [
      "an Execute of a cursor",
      [[query(`begin; declare c cursor for ${HIDDEN}`)], [executeMessage("c", 0), syncMessage]],
    ],
    [
      "strings that end elsewhere",
      [
        [query("set standard_conforming_strings = off")],
        [query("select 'a\\', 1 from tickets --', email from customers limit 5")],
      ],
    ],
    ["a query in a string", [[query("select query_to_xml('table customers', true, false, '')")]]],
    ["a function", [[query("select emails_of(5)")]]],
    ["a view with a function", [[query("select * from by_function limit 5")]]],
    [
      "a temporary copy",
      [
        [query("create temporary table hidden_copy as table customers")],
        [query("select * from hidden_copy limit 5")],
      ],
    ],
  ] as const)("%s", async (_, sent) => {
    await recorded(...sent);
    const { events } = world.sluice;
    const mine = events.slice(events.findLastIndex(({ kind }) => kind === "login"));
    const shown = mine.flatMap((event) => (event.kind === "statement" && event.rows > 0 ? [event] : []));
    expect(shown).toMatchObject([{ readsMore: true }]);
  });

  test("the function call protocol is on record", async () => {
    const { rows } = await world.database.query<{ oid: number }>(
      "SELECT oid::int FROM pg_proc WHERE proname = 'emails_of'",
    );
    // No formats, one argument of one byte in text, the result in text.
    const call = Buffer.alloc(15);
    call.writeUInt32BE(rows[0]?.oid ?? 0, 0);
    call.writeInt16BE(1, 6);
    call.writeInt32BE(1, 8);
    call.write("5", 12, "latin1");
    const events = await recorded([message(Frontend.FunctionCall, call)]);
    expect(events).toEqual([`CALL "public"."emails_of"() 1 rows`]);
    expect(world.sluice.events.at(-2)).toMatchObject({ readsMore: true, bytes: expect.any(Number) });
  });

  test("what a view, a parent and a child are read from is named beside them", async () => {
    const beneathOf = async (sql: string) => {
      await recorded([query(sql)]);
      const event = world.sluice.events.at(-2);
      return event?.kind === "statement"
        ? [...(event.beneath ?? []), ...(event.readsMore ? ["more"] : [])]
        : [];
    };
    expect(await beneathOf("select * from over_customers limit 1")).toEqual([
      "public.customers",
      "public.vip_customers",
    ]);
    expect(await beneathOf("select * from vip_customers limit 1")).toEqual(["public.customers"]);
    expect(await beneathOf("select id, lower(status) from tickets limit 1")).toEqual([]);
  });
});
