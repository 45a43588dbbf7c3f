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
import { cancelRequest } from "../../proxy/wire/startup.ts";
import { upToItsEnd } from "../harness/postgres-versions.ts";
import { type Message, Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "../session/world.ts";

const RUNS = process.env.SLUICE_ORDER_RUNS;
const SEED = process.env.SLUICE_ORDER_SEED;

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
  "declare p cursor for select id from tickets where id < 9 order by id",
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
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        COPY_DONE,
        NO_ROW,
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

/** metabase is watched. */
const WATCHED = POLICY.replace(
  /narrow: .*/,
  "narrow: { users: [metabase], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 1000000 } }",
);

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 2 }, policy: WATCHED });
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
  return (
    seen
      .filter(({ type }) => type !== "S")
      .map((each) => shortOf([each]))
      // A portal that a failed block leaves behind: a guarded role is not told what happens at a transaction's end.
      .filter((word) => word !== "N(01000)")
      .join(" ")
  );
}

/**
 * A query in a pipeline that has run something leaves a server out of step: it answers ReadyForQuery, and the next message with
 * XX000.
 */
function withSyncs(round: readonly Buffer[]): readonly Buffer[] {
  let hasRun = false;
  return round.flatMap((each) => {
    const mustEnd = hasRun && each[0] === Frontend.Query;
    hasRun =
      each[0] === Frontend.Execute || (hasRun && each[0] !== Frontend.Sync && each[0] !== Frontend.Query);
    return mustEnd ? [syncMessage, each] : [each];
  });
}

/** Short, so that most requests come while the connection is another client's. */
const CANCELLED = [
  [queryMessage(Buffer.from("select 1 as one from pg_sleep(0.002)"))],
  [
    parseMessage("", Buffer.from("select 1 as one from pg_sleep(0.001)")),
    bindMessage("", ""),
    describeMessage({ target: "portal", name: "" }),
    executeMessage("", 0),
    syncMessage,
  ],
];

/** Asks and cancels, once or again and again, early, late or with a wrong key; gives what it was answered. */
async function cancelling(user: string, isOver: () => boolean): Promise<ReadonlySet<string>> {
  const { sluice, database } = world;
  const client = await Raw.logIn(sluice.port, user, database.database);
  const [processId, key] = [client.key.readUInt32BE(0), client.key.subarray(4)];
  const wrong = Buffer.from(key).fill(0);
  const seen = new Set<string>();
  for (let round = 0; !isOver(); round++) {
    const asked = CANCELLED[round % CANCELLED.length] ?? [];
    client.send(...asked);
    const keys = [[key], [key, key], [wrong], [wrong, key]][round % 4] ?? [];
    const requests = keys.map(async (each) =>
      (await sluice.bare()).send(cancelRequest(processId, each)).closed(),
    );
    const answer = await client.answer();
    seen.add(answer.replace(/^1 2 /, ""));
    if (round % 3 > 0) await Promise.all(requests);
  }
  client.socket.destroy();
  return seen;
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
  ["is watched", "metabase", TEXTS],
  // A guarded role may not set what is no setting of Postgres's own, nor fetch from a portal that is no query;
  // names are looked up when it prepares.
  ["is guarded", "anna", TEXTS.filter((text) => !/app\.tenant|fetch|nowhere/.test(text))],
])(
  "messages in any order of a role that %s, among others' and their cancels over the same connections, are answered as by a server of one's own",
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
            const messages = withSyncs(round);
            const expected = upToItsEnd(await answers(direct, messages));
            expect(upToItsEnd(await answers(pooled, messages)), shown(sent)).toBe(expected);
            if (/closed$/.test(expected)) break;
          }
          direct.socket.destroy();
          pooled.socket.destroy();
        }),
      );
    });
    let isOver = false;
    const cancels = cancelling(user, () => isOver);
    const unnamed = [
      [queryMessage(Buffer.from("begin; set timezone to 'Asia/Tokyo'; rollback"))],
      [parseMessage("", Buffer.from("select 1 as one")), syncMessage, bindMessage("", ""), syncMessage],
    ].flat();
    try {
      await fc.assert(runs, {
        ...(RUNS === undefined ? { numRuns: 40, seed: 7 } : { numRuns: Number(RUNS) }),
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
        // What the pool asks about the setting takes the unnamed statement with it.
        examples: [[[[unnamed], [unnamed], [unnamed]]]],
      });
    } finally {
      isOver = true;
      // A cancel may also come between the row and the statement's end.
      for (const answer of await cancels)
        expect(answer).toMatch(
          /^((1 )?(T\(one\) )?(D\(1\) )?E\(57014\)|T\(one\) D\(1\) C\(SELECT 1\)) Z\(I\)$/,
        );
    }
  },
  RUNS === undefined ? 300_000 : 1_800_000,
);
