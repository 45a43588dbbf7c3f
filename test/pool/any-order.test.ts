import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  closeMessage,
  copyFailMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { type Message, Raw, shortOf } from "../session/sluice.ts";
import { makeWorld, type World } from "../session/world.ts";

/** What a pool carries: then it must be as a server connection of one's own. */
const TEXTS = [
  "select 1 as one",
  "select id from tickets where id < 3 order by id",
  "select g from generate_series(1, 20) g",
  "update tickets set status = 'open' where id = 1",
  "select 1/(count(*) - count(*)) from tickets",
  "this is no sql",
  "select nothing",
  "begin",
  "commit",
  "rollback",
  "savepoint a",
  "rollback to a",
  "set search_path to public",
  "set search_path to nowhere",
  "set datestyle to 'German, DMY'",
  "set local datestyle to 'SQL, DMY'",
  "set app.tenant to 'it''s \\\\ five'",
  "reset datestyle",
  "show datestyle",
  "show search_path",
  "select coalesce(current_setting('app.tenant', true), '') as tenant",
  "select date '2020-02-01' as day",
  "deallocate all",
  "declare p cursor for select id from tickets order by id",
  "fetch 2 from p",
  "close p",
  "discard all",
  "copy tickets (id, customer_id) from stdin",
  "copy (select id from tickets where id < 3 order by id) to stdout",
  "",
  "select 1; select 2",
  "begin; select 3; commit",
  "begin; set timezone to 'Asia/Tokyo'; rollback",
  "show timezone",
  "select 4; this is no sql",
];

const names = fc.constantFrom("", "q", "p");
const NO_ROW = message(Frontend.CopyData, Buffer.from("no row\n"));
const COPY_DONE = message(Frontend.CopyDone);
const COPY_FAIL = copyFailMessage("enough");
const targets = fc.constantFrom("statement" as const, "portal" as const);
const sending = (texts: fc.Arbitrary<Buffer>) =>
  fc.oneof(
    { weight: 6, arbitrary: texts.map(queryMessage) },
    { weight: 4, arbitrary: fc.tuple(names, texts).map(([name, text]) => parseMessage(name, text)) },
    { weight: 4, arbitrary: fc.tuple(names, names).map(([portal, name]) => bindMessage(portal, name)) },
    {
      weight: 2,
      arbitrary: fc.tuple(targets, names).map(([target, name]) => describeMessage({ target, name })),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(names, fc.constantFrom(0, 0, 1, 3))
        .map(([name, rows]) => executeMessage(name, rows)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(targets, names).map(([target, name]) => closeMessage({ target, name })),
    },
    { weight: 5, arbitrary: fc.constant(syncMessage) },
    { weight: 1, arbitrary: fc.constant(flushMessage) },
    // Rows without an end would be taken by the next message: how much a server reads then is a matter of time.
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        COPY_DONE,
        Buffer.concat([NO_ROW, COPY_DONE]),
        Buffer.concat([NO_ROW, COPY_FAIL]),
      ),
    },
  );

/** Ends whatever state the messages have left. */
const END = [
  copyFailMessage("end"),
  syncMessage,
  queryMessage(Buffer.from("rollback")),
  queryMessage(Buffer.from("select 'the end'")),
];

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 2 } });
});
afterAll(() => world?.close());

/** Sends a few messages at a time, with others' transactions in between. */
async function answers(client: Raw, sent: readonly Buffer[]): Promise<string> {
  client.send(...sent, ...END);
  const seen: Message[] = [];
  while (!seen.some(({ type, bytes }) => type === "D" && bytes.includes("the end"))) {
    const next = await Promise.race([client.next(), silence()]);
    if (next === "silence") return `${shortOf(seen)} silence`;
    // The server says twice why it ends a session that is out of step, as an error and as the end.
    if (next === undefined) return `${shortOf(seen).replace("E(08P01) E(08P01)", "E(08P01)")} closed`;
    seen.push(next);
  }
  await client.until("Z");
  // When a parameter is told hangs on when the setting is carried.
  return seen
    .filter(({ type }) => type !== "S")
    .map((each) => shortOf([each]))
    .join(" ");
}

function silence(): Promise<"silence"> {
  return new Promise((resolve) => {
    setTimeout(() => resolve("silence"), 20_000).unref();
  });
}

function shown(sent: readonly (readonly Buffer[])[]): string {
  const words = sent.map((each) =>
    each.map((bytes) => bytes.toString("latin1").replaceAll(/[^\x20-\x7e]+/g, ".")),
  );
  return words.map((each) => each.join(" | ")).join("\n");
}

test.each([
  ["sees all", "helpdesk_app", TEXTS],
  // A guarded role may not set what is no setting of Postgres's own, nor fetch from a portal that is no query;
  // names are looked up when it prepares.
  ["is guarded", "anna", TEXTS.filter((text) => !/app\.tenant|fetch|nowhere/.test(text))],
])(
  "messages in any order of a role that %s, among others' over the same connections, are answered as by a server of one's own",
  async (_, user, texts) => {
    const { server, sluice, database } = world;
    const some = sending(fc.constantFrom(...texts).map((text) => Buffer.from(text)));
    const rounds = fc.array(fc.array(some, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 });
    const runs = fc.asyncProperty(fc.array(rounds, { minLength: 3, maxLength: 3 }), async (clients) => {
      await Promise.all(
        clients.map(async (sent) => {
          const direct = await Raw.logIn(server.port, database.superuser, database.database);
          const pooled = await Raw.logIn(sluice.port, user, database.database);
          for (const round of sent) {
            const expected = await answers(direct, round);
            expect(await answers(pooled, round), shown(sent)).toBe(expected);
            if (/closed$/.test(expected)) break;
          }
          direct.socket.destroy();
          pooled.socket.destroy();
        }),
      );
    });
    await fc.assert(runs, { numRuns: 40, seed: 7 });
  },
  300_000,
);
