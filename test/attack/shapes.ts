import {
  bindMessage,
  closeMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";

/** One way to send a statement: its messages, each of which brings one ReadyForQuery. */
export interface Shape {
  readonly name: string;
  messages(sql: string): readonly Buffer[];
}

const query = (sql: string): Buffer => queryMessage(Buffer.from(sql));
const parse = (name: string, sql: string): Buffer => parseMessage(name, Buffer.from(sql));
const portal = { target: "portal", name: "" } as const;

/** Bind of the unnamed statement to the unnamed portal, all results in binary (Postgres docs, "Message Formats"). */
const bindBinary = message(Frontend.Bind, Buffer.from([0, 0, 0, 0, 0, 0, 0, 1, 0, 1]));

export const SHAPES: readonly Shape[] = [
  { name: "simple query", messages: (sql) => [query(sql)] },
  {
    name: "extended, named, described twice, in portions",
    messages: (sql) => [
      Buffer.concat([
        parse("attack", sql),
        describeMessage({ target: "statement", name: "attack" }),
        bindMessage("", "attack"),
        describeMessage(portal),
        executeMessage("", 2),
        executeMessage("", 0),
        syncMessage,
      ]),
    ],
  },
  {
    name: "extended, binary results",
    messages: (sql) => [
      Buffer.concat([
        parse("", sql),
        bindBinary,
        describeMessage(portal),
        executeMessage("", 0),
        syncMessage,
      ]),
    ],
  },
];

/** Shapes that take a query apart: only a query fits into them. */
export const WRAPPINGS: readonly Shape[] = [
  { name: "PREPARE and EXECUTE", messages: (sql) => [query(`PREPARE w AS ${sql}`), query("EXECUTE w")] },
  {
    name: "PREPARE, then Bind of that name",
    messages: (sql) => [
      query(`PREPARE w AS ${sql}`),
      Buffer.concat([bindMessage("", "w"), describeMessage(portal), executeMessage("", 0), syncMessage]),
    ],
  },
  {
    name: "Parse, then EXECUTE of that name",
    messages: (sql) => [Buffer.concat([parse("w", sql), syncMessage]), query("EXECUTE w")],
  },
  {
    name: "a cursor, forth and back",
    messages: (sql) => [
      query(`DECLARE w SCROLL CURSOR FOR ${sql}`),
      query("FETCH 3 FROM w"),
      query("FETCH BACKWARD ALL FROM w"),
    ],
  },
  {
    name: "a binary cursor",
    messages: (sql) => [query(`DECLARE w BINARY CURSOR FOR ${sql}`), query("FETCH ALL FROM w")],
  },
  {
    name: "a cursor read by Execute",
    messages: (sql) => [
      query(`DECLARE w CURSOR FOR ${sql}`),
      Buffer.concat([describeMessage({ target: "portal", name: "w" }), executeMessage("w", 0), syncMessage]),
    ],
  },
  { name: "COPY as text", messages: (sql) => [query(`COPY (${sql}) TO STDOUT`)] },
  { name: "COPY as binary", messages: (sql) => [query(`COPY (${sql}) TO STDOUT (FORMAT binary)`)] },
  {
    name: "COPY in the extended protocol",
    messages: (sql) => [
      Buffer.concat([
        parse("", `COPY (${sql}) TO STDOUT (FORMAT csv, HEADER)`),
        bindMessage("", ""),
        executeMessage("", 0),
        syncMessage,
      ]),
    ],
  },
  { name: "EXPLAIN", messages: (sql) => [query(`EXPLAIN (VERBOSE, COSTS OFF) ${sql}`)] },
  {
    name: "behind another statement",
    messages: (sql) => [query(`SELECT 1; ${sql.replace(/;\s*$/, "")}; SELECT 2`)],
  },
  {
    name: "in a pipeline with an error in its middle",
    messages: (sql) => [
      Buffer.concat([
        ...[parse("", sql), bindBinary, executeMessage("", 1)],
        ...[parse("", "SELECT 1/0"), bindMessage("", ""), executeMessage("", 0)],
        ...[parse("", sql), bindMessage("", ""), executeMessage("", 0), syncMessage],
      ]),
      Buffer.concat([bindMessage("", ""), executeMessage("", 0), syncMessage]),
    ],
  },
  {
    name: "under the name of a harmless one, parsed anew between Parse and Bind",
    messages: (sql) => [
      Buffer.concat([
        parse("w", "SELECT 1"),
        describeMessage({ target: "statement", name: "w" }),
        syncMessage,
      ]),
      Buffer.concat([
        closeMessage({ target: "statement", name: "w" }),
        parse("w", sql),
        bindMessage("", "w"),
        executeMessage("", 0),
        syncMessage,
      ]),
    ],
  },
];

/** Around each attack: nothing of it lasts. */
export const BEFORE: readonly Buffer[] = [query("BEGIN")];
export const AFTER: readonly Buffer[] = [query("ROLLBACK"), query("DEALLOCATE ALL"), query("CLOSE ALL")];
