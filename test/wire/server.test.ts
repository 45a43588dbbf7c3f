import { randomBytes } from "node:crypto";
import { on } from "node:events";
import type { Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  decodeAuthentication,
  decodeBackendKey,
  decodeCommandComplete,
  decodeReadyForQuery,
} from "../../proxy/wire/backend-messages.ts";
import { decodeError, redactError } from "../../proxy/wire/errors.ts";
import { type Frame, FrameReader } from "../../proxy/wire/frames.ts";
import {
  bindMessage,
  closeMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  saslInitialResponse,
  saslResponse,
  syncMessage,
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Backend } from "../../proxy/wire/messages.ts";
import {
  poisonedBind,
  poisonedDescribe,
  poisonedExecute,
  poisonedParse,
  poisonedQuery,
} from "../../proxy/wire/poison.ts";
import { readTrailingFields, trimDataRow } from "../../proxy/wire/rows.ts";
import { ScramClient } from "../../proxy/wire/scram.ts";
import { cancelRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { dial, parseUpstream, type Upstream } from "../../proxy/wire/upstream.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";
import { plainly } from "./telling.ts";

/** A client with only the wire layer, connected to a real server. */
class Conversation {
  readonly #socket: Socket;
  readonly #reader = new FrameReader(2 ** 20, () => false);
  readonly #chunks: AsyncIterator<[Buffer]>;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = on(socket, "data", { close: ["close"] })[Symbol.asyncIterator]() as AsyncIterator<
      [Buffer]
    >;
  }

  say(...messages: readonly Buffer[]): void {
    this.#socket.write(Buffer.concat(messages));
  }

  async hear(): Promise<Frame> {
    while (!this.#reader.next()) {
      const { value, done } = await this.#chunks.next();
      if (done) throw new Error("closed by the server");
      this.#reader.push(value[0]);
    }
    return this.#reader;
  }

  async hearKind<T>(type: number, decode: (frame: Frame) => T): Promise<T> {
    for (;;) {
      const frame = await this.hear();
      if (frame.type === type) return decode(frame);
      if (frame.type === Backend.ErrorResponse) throw new Error(decodeError(frame).get("M"));
    }
  }

  async hearError<T>(take: (frame: Frame) => T): Promise<T> {
    for (;;) {
      const frame = await this.hear();
      if (frame.type === Backend.ErrorResponse) return take(frame);
    }
  }

  /** Types of all messages up to ReadyForQuery, SQLSTATEs in place of errors, and the status. */
  async untilReady(): Promise<string[]> {
    const heard: string[] = [];
    for (;;) {
      const frame = await this.hear();
      if (frame.type === Backend.ReadyForQuery) return [...heard, decodeReadyForQuery(frame)];
      if (frame.type === Backend.ErrorResponse) heard.push(decodeError(frame).get("C") ?? "");
      else heard.push(String.fromCharCode(frame.type));
    }
  }

  end(): void {
    this.#socket.end(terminateMessage);
  }
}

let database: TestDatabase;
let target: Upstream;
beforeAll(async () => {
  database = await freshDatabase("wire");
  const result = parseUpstream(database.uri, {});
  if (!result.ok) throw new Error(result.problem);
  target = result.upstream;
});
afterAll(() => database.drop());

async function logIn() {
  const conversation = new Conversation(await dial(target));
  conversation.say(
    startupMessage([
      ["user", target.user ?? ""],
      ["database", target.database ?? ""],
    ]),
  );
  const authentication = () => conversation.hearKind(Backend.Authentication, decodeAuthentication);
  expect(await authentication()).toMatchObject({ kind: "sasl", mechanisms: ["SCRAM-SHA-256"] });
  const client = new ScramClient(target.password() ?? "", randomBytes(18).toString("base64"));
  conversation.say(saslInitialResponse("SCRAM-SHA-256", client.first()));
  const challenge = await authentication();
  if (challenge.kind !== "saslContinue") throw new Error(challenge.kind);
  conversation.say(saslResponse(await client.final(challenge.data)));
  const signature = await authentication();
  expect(signature.kind === "saslFinal" && client.verify(signature.data)).toBe(true);
  expect(await authentication()).toEqual({ kind: "ok" });
  const key = await conversation.hearKind(Backend.BackendKeyData, decodeBackendKey);
  expect((await conversation.untilReady()).at(-1)).toBe("I");
  return { conversation, key };
}

test("the proxy logs in with SCRAM and reads rows, with a field of its own after the client's", async () => {
  const { conversation } = await logIn();
  conversation.say(
    parseMessage("", Buffer.from("select 'Ng', null, 7::text")),
    bindMessage("", ""),
    describeMessage({ target: "portal", name: "" }),
    executeMessage("", 0),
    syncMessage,
  );
  const people: string[] = [];
  const row = await conversation.hearKind(Backend.DataRow, (frame) => {
    readTrailingFields(frame, 1, people);
    return Buffer.from(frame.buffer.subarray(frame.start, trimDataRow(frame, 1)));
  });
  expect(people).toEqual(["7"]);
  expect(row.readUInt16BE(5)).toBe(2);
  expect(await conversation.hearKind(Backend.CommandComplete, decodeCommandComplete)).toBe("SELECT 1");
  conversation.end();
});

test("a poisoned message fails, rolls an implicit transaction back and leaves the session usable", async () => {
  const { conversation } = await logIn();
  const insert = parseMessage("", Buffer.from("create table half_done()"));
  for (const [poison, state] of [
    [poisonedParse("mine"), "42601"],
    [poisonedBind("mine"), "26000"],
    [poisonedDescribe("statement"), "26000"],
    [poisonedDescribe("portal"), "34000"],
    [poisonedExecute, "34000"],
  ] as const) {
    conversation.say(insert, bindMessage("", ""), executeMessage("", 0), poison, syncMessage);
    expect(await conversation.untilReady()).toEqual(["1", "2", "C", state, "I"]);
  }
  expect((await database.query("select to_regclass('half_done') as it")).rows).toEqual([{ it: null }]);
  conversation.say(closeMessage({ target: "statement", name: "mine" }), syncMessage);
  expect(await conversation.untilReady()).toEqual(["3", "I"]);
  conversation.end();
});

test("a poisoned Query makes an open block fail, as any error does", async () => {
  const { conversation } = await logIn();
  conversation.say(queryMessage(Buffer.from("begin")), poisonedQuery);
  expect(await conversation.untilReady()).toEqual(["C", "T"]);
  expect(await conversation.untilReady()).toEqual(["42601", "E"]);
  conversation.end();
});

test("the server treats two long names as one, as our keys do", async () => {
  const { conversation } = await logIn();
  const name = "x".repeat(63);
  conversation.say(
    parseMessage(`${name}a`, Buffer.from("select 1")),
    parseMessage(`${name}b`, Buffer.from("select 2")),
    syncMessage,
  );
  expect(await conversation.untilReady()).toEqual(["1", "42P05", "I"]);
  conversation.end();
});

test("the failing row in the server's DETAIL does not pass, and the position is mapped", async () => {
  await database.query("create table secrets(email text check (email = 'x'))");
  const { conversation } = await logIn();
  conversation.say(queryMessage(Buffer.from("insert into secrets values ('alice@example.com')")));
  const redacted = await conversation.hearError((frame) =>
    redactError(
      frame,
      plainly(() => undefined),
    ),
  );
  expect(redacted.includes("alice")).toBe(false);
  conversation.say(queryMessage(Buffer.from("select nothing from secrets")));
  await conversation.untilReady();
  const mapped = await conversation.hearError((frame) =>
    Buffer.from(
      redactError(
        frame,
        plainly((at) => at + 100),
      ),
    ),
  );
  expect(mapped.includes("P108\0")).toBe(true);
  conversation.end();
});

test("a cancel request ends the running statement", async () => {
  const { conversation, key } = await logIn();
  conversation.say(queryMessage(Buffer.from("select pg_sleep(20)")));
  const running = "select 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'";
  await expect.poll(async () => (await database.query(running, [key.processId])).rows.length).toBe(1);
  const socket = await dial(target);
  socket.end(cancelRequest(key.processId, key.key));
  expect(await conversation.untilReady()).toContain("57014");
  conversation.end();
});
