import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { POLICY } from "../clients/policy.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { servesAsBefore } from "./afterwards.ts";
import {
  bind,
  close,
  describeThat,
  execute,
  frame,
  int16,
  int32,
  type Message,
  parse,
  query,
  RawClient,
  sync,
  text,
} from "./raw-client.ts";

let database: TestDatabase;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("wrong state");
  await supportSchema(database.uri);
  sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    flags: ["--max-message", "1MB"],
  });
});
afterAll(async () => {
  await sluice?.close();
  await database.drop();
});
afterEach(() => servesAsBefore(sluice, database));

const flush = frame("H");

/** Messages that a right client would not send like that, and how often ReadyForQuery answers them. */
const SEQUENCES: readonly (readonly [string, readonly Buffer[], number])[] = [
  ["Bind of a statement that was never parsed", [bind("", "missing"), sync], 1],
  ["Bind of the unnamed statement that was never parsed", [bind("", ""), execute(""), sync], 1],
  ["Execute of a portal that was never bound", [execute("missing"), sync], 1],
  ["Describe of a missing statement", [describeThat("S", "missing"), sync], 1],
  ["Describe of a missing portal", [describeThat("P", "missing"), sync], 1],
  ["Close of what is not there", [close("S", "missing"), close("P", "missing"), sync], 1],
  [
    "CopyData, CopyDone and CopyFail outside COPY",
    [frame("d", text("x")), frame("c"), frame("f", text("")), sync],
    1,
  ],
  ["CopyData outside COPY before a query", [frame("d", text("x")), query("SELECT 1")], 1],
  ["a storm of Sync", Array.from({ length: 200 }, () => sync), 200],
  ["Flush with nothing before it", [flush, flush, sync], 1],
  [
    "a query inside a batch",
    [parse("a", "SELECT 1"), bind("", "a"), query("SELECT 2"), execute(""), sync],
    2,
  ],
  ["a query after an error in a batch", [bind("", "missing"), query("SELECT 2"), sync, query("SELECT 3")], 2],
  ["a statement parsed twice under a name", [parse("a", "SELECT 1"), parse("a", "SELECT 2"), sync], 1],
  ["a portal bound twice under a name", [parse("", "SELECT 1"), bind("p", ""), bind("p", ""), sync], 1],
  [
    "the rest of a batch after an error",
    [parse("", "SELECT 1/0"), bind("", ""), execute(""), execute(""), sync],
    1,
  ],
  ["an empty query, and one of only a comment", [query(""), query("-- nothing"), parse("", ""), sync], 3],
  ["Execute with a negative row count", [parse("", "SELECT 1"), bind("", ""), execute("", -5), sync], 1],
  ["two statements in one Parse", [parse("", "SELECT 1; SELECT 2"), sync], 1],
  [
    "a portal that was suspended, after Sync",
    [parse("", "SELECT 1 UNION ALL SELECT 2"), bind("p", ""), execute("p", 1), sync, execute("p"), sync],
    2,
  ],
  [
    "a portal kept in a block",
    [
      query("BEGIN"),
      parse("", "VALUES (1), (2)"),
      bind("p", ""),
      execute("p", 1),
      sync,
      execute("p"),
      sync,
      query("ROLLBACK"),
    ],
    4,
  ],
  [
    "COPY in answered by a query",
    [query("CREATE TEMP TABLE t (a int)"), query("COPY t FROM STDIN"), query("SELECT 1"), sync],
    3,
  ],
  [
    "COPY in with CopyFail",
    [
      query("CREATE TEMP TABLE t (a int)"),
      query("COPY t FROM STDIN"),
      frame("f", text("no")),
      query("SELECT 1"),
    ],
    3,
  ],
  ["a parameter too many", [parse("", "SELECT $1::int"), bind("", ""), sync], 1],
];

describe("a role that sees everything is answered as by the server itself:", () => {
  test.each(SEQUENCES)("%s", async (_, messages, ready) => {
    const answer = async (uri: string) => {
      const client = await RawClient.loggedIn(uri);
      client.say(...messages);
      const seen = await client.until(ready);
      client.say(frame("X"));
      expect(await client.end()).toEqual(["end"]);
      return seen;
    };
    const expected = await answer(database.uriFor("helpdesk_app", PASSWORDS.helpdesk_app));
    expect(await answer(sluice.uriFor("helpdesk_app", PASSWORDS.helpdesk_app))).toEqual(expected);
  });
});

describe("an agent is answered as by the server itself:", () => {
  const noTables = SEQUENCES.filter(([, messages]) => !Buffer.concat([...messages]).includes("CREATE"));
  test.each(noTables)("%s", async (_, messages, ready) => {
    const answer = async (uri: string) => {
      const client = await RawClient.loggedIn(uri);
      client.say(...messages);
      const seen = await client.until(ready);
      client.say(frame("X"));
      expect(await client.end()).toEqual(["end"]);
      return seen;
    };
    const expected = await answer(database.uriFor("anna", PASSWORDS.anna));
    expect(await answer(sluice.uriFor("anna", PASSWORDS.anna))).toEqual(expected);
  });
});

/** After these nobody knows where the next message begins, or who speaks: the session ends. */
const ENDS: readonly (readonly [string, Buffer])[] = [
  ["a message of an unknown type", frame("z", text("x"))],
  ["a password after login", frame("p", text("secret"))],
  ["a message of a server", frame("Z", Buffer.from("I"))],
  ["a startup packet in the middle", Buffer.concat([int32(8), int32(80877103)])],
  ["a length below its own size", Buffer.concat([Buffer.from("Q"), int32(3)])],
  ["a negative length", Buffer.concat([Buffer.from("Q"), int32(-1)])],
  ["a longer message than is taken", Buffer.concat([Buffer.from("Q"), int32(2 ** 30)])],
];

const TOO_MANY_FORMATS = frame("B", text(""), text(""), int16(3), Buffer.alloc(6), int16(0), int16(0));

/** 70,000 formats and values, of which the counts can only say the rest by 65,536. */
const OVERFLOWN = frame(
  "B",
  ...[text(""), text("")],
  ...[int16(70_000 - 65_536), Buffer.alloc(2 * 70_000)],
  ...[
    int16(70_000 - 65_536),
    Buffer.concat(Array.from({ length: 70_000 }, () => Buffer.from("\0\0\0\x01x"))),
  ],
  int16(0),
);

/** Whose length is right, and whose body is not: the server has an error for the one message. */
const MALFORMED: readonly (readonly [string, Buffer])[] = [
  ["a query without its end", frame("Q", Buffer.from("SELECT 1"))],
  ["a query with something behind its end", frame("Q", text("SELECT 1"), text("SELECT * FROM customers"))],
  ["a Parse that stops in the middle", frame("P", text("a"), Buffer.from("SELECT"))],
  ["a Parse with fewer types than it says", frame("P", text(""), text("SELECT 1"), int16(5))],
  [
    "a Bind with longer values than it has",
    Buffer.concat([
      parse("", "SELECT $1::text"),
      frame("B", text(""), text(""), int16(0), int16(1), int32(1000)),
    ]),
  ],
  [
    "a Bind with a negative count",
    Buffer.concat([parse("", "SELECT 1"), frame("B", text(""), text(""), int16(-1))]),
  ],
  ["a Describe of neither a statement nor a portal", describeThat("X", "a")],
  ["a Sync with a body", frame("S", text("x"))],
  ["a Flush with a body", frame("H", text("x"))],
  ["an Execute with a body behind it", frame("E", text(""), int32(0), int32(0))],
  ["a Bind with more formats than values", Buffer.concat([parse("", "SELECT 1"), TOO_MANY_FORMATS])],
  ["a Bind of 70,000 values, as a driver counts them", Buffer.concat([parse("", "SELECT 1"), OVERFLOWN])],
];

describe.each(["anna", "helpdesk_app"] as const)("%s is told 08P01, and the session ends:", (user) => {
  test.each(ENDS)("%s", async (_, message) => {
    const client = await RawClient.loggedIn(sluice.uriFor(user, PASSWORDS[user]));
    client.say(message);
    expect(await client.end()).toEqual(["E FATAL 08P01", "end"]);
  });
});

describe.each([
  ["an agent", "anna"],
  ["a role that sees everything", "helpdesk_app"],
] as const)("%s gets the server's own answer, and the session goes on:", (_, user) => {
  test.each(MALFORMED)("%s", async (_name, message) => {
    const answer = async (uri: string) => {
      const client = await RawClient.loggedIn(uri);
      // Twice: also where the server skips what it gets.
      client.say(message, message, query("SELECT 1"), sync, query("SELECT 1"), frame("X"));
      const seen: string[] = [];
      for (let next = await client.next(); next !== undefined; next = await client.next())
        seen.push(worded(next));
      return seen;
    };
    const expected = await answer(database.uriFor(user, PASSWORDS[user]));
    expect(expected.join(" ")).toContain("E 08P01");
    expect(expected.at(-1)).toBe("Z");
    expect(await answer(sluice.uriFor(user, PASSWORDS[user]))).toEqual(expected);
  });
});

/** A message's type; of an error what it says, too. */
function worded({ type, body }: Message): string {
  if (type !== "E") return type;
  const fields = body.toString("utf8").split("\0");
  const field = (letter: string) => fields.find((one) => one.startsWith(letter))?.slice(1);
  return `E ${field("C")} ${field("M")}`;
}
