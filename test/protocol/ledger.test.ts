import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { readyForQuery } from "../../proxy/wire/backend-messages.ts";
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
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Backend, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { fieldOf, Raw } from "../harness/raw-client.ts";
import { Conversation } from "./conversation.ts";

/** MARK becomes a word of the statement's own, by which its answers are known. */
const TEXTS = [
  `select 'MARK' as "MARK"`,
  `select 'MARK' as "MARK" from generate_series(1, 5)`,
  `select "MARK"`,
  `"MARK"`,
  `select 'MARK'::int`,
  "begin",
  "commit",
  "rollback",
  "insert into copied values (1)",
  "copy copied from stdin",
  "copy copied from stdin; copy copied from stdin",
  `copy copied from stdin; select 'MARK' as "MARK"`,
  `copy (select 'MARK' from generate_series(1, 3)) to stdout`,
  "",
  `select 'MARK' as "MARK"; select 'MARK' as "MARK"`,
  `select 'MARK' as "MARK"; select "MARK"`,
  "do $$ begin raise notice 'noted'; end $$",
];

let marks = 0;
const texts = fc
  .constantFrom(...TEXTS)
  .map((text) => Buffer.from(text.replaceAll("MARK", `mark${++marks}x`)));
const names = fc.constantFrom("", "", "a", "b");
const targets = fc.constantFrom("statement" as const, "portal" as const);
const copyData = (text: string) => message(Frontend.CopyData, Buffer.from(text));
const NO_BYTES = Buffer.alloc(0);
const COPY_DONE = message(Frontend.CopyDone);
/** pg_backend_pid(), and a function that there is not. */
const CALLS = [2026, 1].map((oid) =>
  message(Frontend.FunctionCall, int32(oid), uint16(0), uint16(0), uint16(0)),
);

/** Messages as drivers group them, and each for itself. */
const messages = fc.oneof(
  { weight: 5, arbitrary: texts.map((text) => [queryMessage(text)]) },
  {
    weight: 5,
    arbitrary: texts.map((text) => [
      parseMessage("", text),
      bindMessage("", ""),
      describeMessage({ target: "portal", name: "" }),
      executeMessage("", 0),
      syncMessage,
    ]),
  },
  { weight: 4, arbitrary: fc.tuple(names, texts).map(([name, text]) => [parseMessage(name, text)]) },
  { weight: 4, arbitrary: fc.tuple(names, names).map(([portal, name]) => [bindMessage(portal, name)]) },
  {
    weight: 2,
    arbitrary: fc.tuple(targets, names).map(([target, name]) => [describeMessage({ target, name })]),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(names, fc.constantFrom(0, 1, 3)).map(([name, rows]) => [executeMessage(name, rows)]),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(targets, names).map(([target, name]) => [closeMessage({ target, name })]),
  },
  { weight: 5, arbitrary: fc.constant([syncMessage]) },
  { weight: 2, arbitrary: fc.constant([flushMessage]) },
  { weight: 1, arbitrary: fc.constantFrom(...CALLS).map((call) => [call]) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      [copyData("1\n")],
      [copyData("no number\n")],
      [copyData("2\n"), COPY_DONE],
      [COPY_DONE],
      [copyFailMessage("enough")],
      [copyData("3\n"), COPY_DONE, syncMessage],
    ),
  },
);

/** "wait": until all has been answered that can be, so that what comes next meets a server that has come to rest. */
const scripts = fc.array(fc.oneof({ weight: 4, arbitrary: messages }, fc.constant("wait" as const)), {
  minLength: 1,
  maxLength: 25,
});

let server: RunningPostgres;
let database: TestDatabase;
beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  database = await databaseOn(server.uri, "ledger");
});
afterAll(async () => {
  await database?.drop();
  await server?.stop();
});

/** Reads until the ledger says that nothing is outstanding; false when the server has ended the session. */
async function settle(client: Raw, conversation: Conversation, until: () => boolean): Promise<boolean> {
  while (!until()) {
    const next = await client.next();
    if (next === undefined) return false;
    const { type, bytes } = next;
    const text = conversation.received(type.charCodeAt(0), bytes);
    const told = type === "E" ? fieldOf(bytes, "M") : bytes.toString("latin1");
    const [mark] = /mark\d+x/.exec(told ?? "") ?? [];
    if (mark !== undefined && type !== "N") expect(text, `${type} ${told}`).toContain(mark);
    if (type === "Z") expect(conversation.ledger.transaction).toBe(bytes.toString("latin1", 5));
    if (type === "E" && fieldOf(bytes, "V") === "FATAL") return false;
  }
  return true;
}

test("the ledger knows whose answer each message of a real server is, in any order of requests", async () => {
  const seen = { sessions: 0, fatal: 0 };
  const runs = fc.asyncProperty(scripts, async (script) => {
    const client = await Raw.logIn(server.port, "postgres", database.database);
    client.send(queryMessage(Buffer.from("create temporary table copied (number int)")));
    await client.until("Z");
    const conversation = new Conversation();
    const { ledger } = conversation;
    const send = (...some: readonly Buffer[]) => {
      for (const each of some) conversation.sent(each);
      client.send(...some);
    };
    const atRest = () => ledger.isSettled || ledger.intake === "copyIn";
    seen.sessions++;
    for (const step of script) {
      if (step !== "wait") send(...step);
      else {
        if (ledger.mustFlush) send(flushMessage);
        if (!(await settle(client, conversation, atRest))) {
          seen.fatal++;
          return;
        }
      }
    }
    // Twice: a query may hold two COPYs.
    for (let i = 0; i < 2; i++) {
      send(copyFailMessage("end"), syncMessage);
      if (!(await settle(client, conversation, atRest))) {
        seen.fatal++;
        return;
      }
    }
    send(queryMessage(Buffer.from("rollback")));
    await settle(client, conversation, () => ledger.isSettled);
    expect(ledger.isIdle).toBe(true);
    client.send(terminateMessage);
    expect(await client.next()).toBeUndefined();
  });
  await fc.assert(runs, { numRuns: 100, seed: 11 });
  expect(seen.fatal).toBeLessThan(seen.sessions / 2);
}, 400_000);

const N = 100_000;

/** Each: what a client pipelines, and what the server answers. */
const LONG: readonly (readonly [string, (conversation: Conversation) => number])[] = [
  [
    "Bind and Execute before one Sync",
    (conversation) => {
      for (let i = 0; i < N; i++)
        conversation.sent(Buffer.concat([bindMessage("", ""), executeMessage("", 0)]));
      conversation.sent(syncMessage);
      for (let i = 0; i < N; i++) {
        conversation.received(Backend.BindComplete, NO_BYTES);
        conversation.received(Backend.CommandComplete, NO_BYTES);
      }
      conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
      return 2 * N + 1;
    },
  ],
  [
    "Parse of a wrong text and Sync",
    (conversation) => {
      for (let i = 0; i < N; i++)
        conversation.sent(Buffer.concat([parseMessage("", Buffer.from("no")), syncMessage]));
      for (let i = 0; i < N; i++) {
        conversation.received(Backend.ErrorResponse, NO_BYTES);
        conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
      }
      return 2 * N;
    },
  ],
  [
    "messages that one error makes the server skip",
    (conversation) => {
      for (let i = 0; i < N; i++) conversation.sent(executeMessage("", 0));
      conversation.sent(syncMessage);
      conversation.received(Backend.ErrorResponse, NO_BYTES);
      conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
      return N + 1;
    },
  ],
  [
    "ends of COPYs behind a query",
    (conversation) => {
      conversation.sent(queryMessage(Buffer.from("select 1")));
      for (let i = 0; i < N; i++) conversation.sent(COPY_DONE);
      conversation.received(Backend.CommandComplete, NO_BYTES);
      conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
      return N + 1;
    },
  ],
];

test.each(LONG)("100,000 pipelined messages cost a constant each: %s", (_, run) => {
  const conversation = new Conversation();
  const messages = run(conversation);
  expect(conversation.ledger.isIdle).toBe(true);
  // One to put it into the queue, one to take it out.
  expect(conversation.ledger.steps).toBeLessThanOrEqual(2 * messages);
});

test("a COPY that the client has ended before the server began it does not take what follows", () => {
  const conversation = new Conversation();
  const { ledger } = conversation;
  conversation.sent(
    Buffer.concat([
      executeMessage("", 0),
      syncMessage,
      copyData("1\n"),
      COPY_DONE,
      syncMessage,
      queryMessage(Buffer.from("select 1")),
    ]),
  );
  conversation.received(Backend.CopyInResponse, NO_BYTES);
  expect(ledger.intake).toBe("ready");
  conversation.received(Backend.CommandComplete, NO_BYTES);
  conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
  expect(ledger.head?.kind).toBe("query");
});

test("a Sync behind a COPY is answered if the COPY fails before it reads it", () => {
  const conversation = new Conversation();
  const { ledger } = conversation;
  conversation.sent(Buffer.concat([executeMessage("", 0), syncMessage]));
  conversation.received(Backend.CopyInResponse, NO_BYTES);
  expect(ledger.intake).toBe("copyIn");
  conversation.received(Backend.ErrorResponse, NO_BYTES);
  expect(ledger.isUncertain).toBe(true);
  conversation.received(Backend.ReadyForQuery, readyForQuery("I"));
  expect(ledger.isIdle).toBe(true);
});

test("what nobody asked for is no answer", () => {
  const conversation = new Conversation();
  expect(() => conversation.received(Backend.DataRow, NO_BYTES)).toThrow("does not answer nothing");
  expect(() => conversation.received(Backend.ReadyForQuery, readyForQuery("I"))).toThrow(
    "does not answer nothing",
  );
  conversation.sent(syncMessage);
  expect(() => conversation.received(Backend.CommandComplete, NO_BYTES)).toThrow("does not answer sync");
});
