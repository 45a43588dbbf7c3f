import fc from "fast-check";
import { serialize } from "pg-protocol";
import type { BackendMessage } from "pg-protocol/dist/messages.js";
import { Parser } from "pg-protocol/dist/parser.js";
import { expect, test } from "vitest";
import * as backend from "../../proxy/wire/backend-messages.ts";
import { decodeError, errorResponse, noticeResponse, redactError } from "../../proxy/wire/errors.ts";
import { type Frame, ProtocolViolation } from "../../proxy/wire/frames.ts";
import * as frontend from "../../proxy/wire/frontend-messages.ts";
import { Backend, Frontend, message, nameKey } from "../../proxy/wire/messages.ts";
import * as poison from "../../proxy/wire/poison.ts";
import { refuse, warn } from "../../proxy/wire/refusal.ts";
import { plainly } from "./telling.ts";

/** A frame inside a larger buffer, as the reader lends it. */
function frameOf(bytes: Buffer): Frame {
  const buffer = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after\0")]);
  return { type: bytes[0] ?? 0, buffer, start: 6, end: 6 + bytes.length, piece: "whole" };
}

/** How pg-protocol, the reference here, parses a server's message. */
function parsed(bytes: Buffer): BackendMessage & Record<string, unknown> {
  const messages: BackendMessage[] = [];
  new Parser().parse(bytes, (one: BackendMessage) => messages.push(one));
  expect(messages).toHaveLength(1);
  return messages[0] as BackendMessage & Record<string, unknown>;
}

function slice(frame: Frame, start: number, end: number): string {
  return frame.buffer.toString("utf8", start, end);
}

const aName = fc.string({ maxLength: 20, unit: "grapheme" }).filter((name) => !name.includes("\0"));

test("Query, Parse, Describe, Close and Execute say what the driver wrote", () => {
  fc.assert(
    fc.property(
      aName,
      aName,
      fc.array(fc.nat(2 ** 31 - 1), { maxLength: 5 }),
      fc.nat(),
      (name, sql, types, rows) => {
        const query = frameOf(serialize.query(sql));
        const { sqlStart, sqlEnd } = frontend.decodeQuery(query);
        expect(slice(query, sqlStart, sqlEnd)).toBe(sql);
        const parse = frameOf(serialize.parse({ name, text: sql, types }));
        const decoded = frontend.decodeParse(parse);
        expect(decoded).toMatchObject({ statement: nameKey(name), types: types.length });
        expect(slice(parse, decoded.sqlStart, decoded.sqlEnd)).toBe(sql);
        expect(frontend.decodeExecute(frameOf(serialize.execute({ portal: name, rows })))).toEqual({
          portal: nameKey(name),
          maxRows: rows > 0x7fffffff ? 0 : rows,
        });
        for (const [type, target] of [
          ["S", "statement"],
          ["P", "portal"],
        ] as const) {
          const expected = { target, name: nameKey(name) };
          expect(frontend.decodeDescribe(frameOf(serialize.describe({ type, name })))).toEqual(expected);
          expect(frontend.decodeClose(frameOf(serialize.close({ type, name })))).toEqual(expected);
        }
      },
    ),
  );
});

test("Bind is read up to its result formats, past NULLs and binary parameters", () => {
  const values = ["text", null, Buffer.from([0, 1, 2]), ""];
  const bind = frameOf(serialize.bind({ portal: "p", statement: "s", values, binary: true }));
  const decoded = frontend.decodeBind(bind);
  expect(decoded).toMatchObject({ portal: "p", statement: "s", parameters: 4, resultFormats: 1 });
  expect(bind.buffer.readUInt16BE(decoded.parametersStart)).toBe(4);
  expect(decoded.resultFormatsStart).toBe(bind.end - 4);
});

test("two long names that the server treats as one have one key", () => {
  const long = "é".repeat(40);
  const { statement } = frontend.decodeParse(frameOf(serialize.parse({ name: "x".repeat(63), text: "" })));
  const other = frontend.decodeBind(frameOf(frontend.bindMessage("", `${"x".repeat(63)}b`)));
  expect(other.statement).toBe(statement);
  expect(Buffer.from(nameKey(long), "latin1")).toEqual(Buffer.from(long).subarray(0, 63));
});

const decoders: readonly ((frame: Frame) => unknown)[] = [
  frontend.decodeQuery,
  frontend.decodeParse,
  frontend.decodeBind,
  frontend.decodeDescribe,
  frontend.decodeClose,
  frontend.decodeExecute,
  frontend.decodePassword,
  frontend.decodeSaslInitialResponse,
  frontend.decodeSaslResponse,
  backend.decodeAuthentication,
  backend.decodeBackendKey,
  backend.decodeParameterStatus,
  backend.decodeReadyForQuery,
  backend.decodeCommandComplete,
  backend.decodeNotification,
  decodeError,
  (frame) =>
    redactError(
      { ...frame, type: Backend.ErrorResponse },
      plainly(() => 1),
    ),
];

test("any bytes in any message are decoded or cause a violation, and no byte beyond the frame is read", () => {
  fc.assert(
    fc.property(fc.constantFrom(...decoders), fc.uint8Array({ maxLength: 60 }), (decode, body) => {
      try {
        decode(frameOf(message(0x51, Buffer.from(body))));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolViolation);
      }
    }),
    { numRuns: 3000 },
  );
});

const whole: readonly [string, Buffer, (frame: Frame) => unknown][] = [
  ["Query", serialize.query("select 1"), frontend.decodeQuery],
  ["Parse", serialize.parse({ name: "s", text: "select $1", types: [23] }), frontend.decodeParse],
  ["Bind", serialize.bind({ values: ["a", null] }), frontend.decodeBind],
  ["Describe", serialize.describe({ type: "P", name: "p" }), frontend.decodeDescribe],
  ["Execute", serialize.execute({ portal: "p", rows: 5 }), frontend.decodeExecute],
  ["Sync", serialize.sync(), (frame) => frontend.decodeEmpty(frame, "Sync")],
  ["ReadyForQuery", backend.readyForQuery("T"), backend.decodeReadyForQuery],
  ["ParameterStatus", backend.parameterStatus("a", "b"), backend.decodeParameterStatus],
  ["CommandComplete", backend.commandComplete("SELECT 1"), backend.decodeCommandComplete],
  ["Authentication", backend.authenticationSasl(["SCRAM-SHA-256"]), backend.decodeAuthentication],
];

test.each(whole)("%s with a byte too many or too few is a violation", (_name, bytes, decode) => {
  decode(frameOf(bytes));
  const body = bytes.subarray(5);
  expect(() => decode(frameOf(message(bytes[0] ?? 0, body, Buffer.alloc(1))))).toThrow(ProtocolViolation);
  if (body.length === 0) return;
  expect(() => decode(frameOf(message(bytes[0] ?? 0, body.subarray(0, -1))))).toThrow(ProtocolViolation);
});

test("Describe of anything but a statement or a portal is a violation", () => {
  const bytes = message(Frontend.Describe, Buffer.from("X\0"));
  expect(() => frontend.decodeDescribe(frameOf(bytes))).toThrow(ProtocolViolation);
});

test("a driver understands what the proxy sends to clients", () => {
  expect(parsed(backend.commandComplete("SELECT 5"))).toMatchObject({
    name: "commandComplete",
    text: "SELECT 5",
  });
  expect(parsed(backend.readyForQuery("E"))).toMatchObject({ name: "readyForQuery", status: "E" });
  expect(parsed(backend.parameterStatus("TimeZone", "UTC"))).toMatchObject({
    parameterName: "TimeZone",
    parameterValue: "UTC",
  });
  expect(parsed(backend.authenticationOk)).toMatchObject({ name: "authenticationOk" });
  expect(parsed(backend.authenticationCleartext)).toMatchObject({ name: "authenticationCleartextPassword" });
  expect(parsed(backend.authenticationSasl(["SCRAM-SHA-256"]))).toMatchObject({
    mechanisms: ["SCRAM-SHA-256"],
  });
  expect(parsed(backend.authenticationSaslContinue("r=1"))).toMatchObject({ data: "r=1" });
  expect(parsed(backend.authenticationSaslFinal("v=1"))).toMatchObject({ data: "v=1" });
  const key = Buffer.from([0, 0, 0, 9]);
  expect(parsed(backend.backendKey({ processId: 7, key }))).toMatchObject({ processID: 7, secretKey: 9 });
});

test("a refusal is sent completely: severity, state, message, detail, hint, position, and the policy line", () => {
  const refusal = refuse("53400", "the budget is used up", {
    detail: "300 of 300",
    hint: "Wait.",
    rule: "roles.agent.budget.1d",
    position: 8,
  });
  expect(parsed(errorResponse(refusal))).toMatchObject({
    name: "error",
    severity: "ERROR",
    code: "53400",
    message: "the budget is used up",
    detail: "300 of 300",
    hint: "Wait.",
    position: "8",
    constraint: "roles.agent.budget.1d",
  });
  const fields = decodeError(frameOf(errorResponse(refusal)));
  expect([...fields.keys()].join("")).toBe("SVCMDHPn");
  expect(parsed(noticeResponse(warn("cut")))).toMatchObject({
    name: "notice",
    code: "01000",
    severity: "WARNING",
  });
});

test("a zero byte in a refusal's text does not end the message early", () => {
  expect(parsed(errorResponse(refuse("42501", "a\0b")))).toMatchObject({ message: "ab" });
});

test("the server's authentication requests are distinguished, including unknown ones", () => {
  const request = (code: number, rest = "") =>
    backend.decodeAuthentication(
      frameOf(message(Backend.Authentication, Buffer.from([0, 0, 0, code]), Buffer.from(rest, "latin1"))),
    );
  expect(request(0)).toEqual({ kind: "ok" });
  expect(request(3)).toEqual({ kind: "cleartext" });
  expect(request(5, "salt")).toEqual({ kind: "md5", salt: Buffer.from("salt") });
  expect(request(10, "A\0B\0\0")).toEqual({ kind: "sasl", mechanisms: ["A", "B"] });
  expect(request(11, "x")).toEqual({ kind: "saslContinue", data: Buffer.from("x") });
  expect(request(7, "token")).toEqual({ kind: "other", code: 7 });
});

test("cancel keys of protocol 3.2 are transferred completely", () => {
  const key = Buffer.alloc(32, 5);
  expect(backend.decodeBackendKey(frameOf(backend.backendKey({ processId: -1, key })))).toEqual({
    processId: -1,
    key,
  });
  const long = backend.backendKey({ processId: 1, key: Buffer.alloc(257) });
  expect(() => backend.decodeBackendKey(frameOf(long))).toThrow(ProtocolViolation);
});

const serverError = message(
  Backend.ErrorResponse,
  Buffer.from(
    "SFEHLER\0VERROR\0C23514\0Mnew row violates check\0DFailing row contains (1, alice@example.com).\0HTry.\0P20\0p3\0qselect email\0WSQL function\0spublic\0tcustomers\0cemail\0dtext\0nck\0Fa.c\0L1\0Rf\0Zunknown\0\0",
  ),
);

test("a guarded session's errors show no failing row, no context, no inner query and no unknown field", () => {
  const redacted = redactError(
    frameOf(serverError),
    plainly((at) => at - 15),
  );
  const fields = decodeError(frameOf(redacted));
  expect([...fields.keys()].join("")).toBe("SVCMHPstcdnFLR");
  expect(fields.get("P")).toBe("5");
  expect(fields.get("M")).toBe("new row violates check");
  expect(redacted.includes("alice")).toBe(false);
  expect(
    decodeError(
      frameOf(
        redactError(
          frameOf(serverError),
          plainly(() => undefined),
        ),
      ),
    ).has("P"),
  ).toBe(false);
});

test("a rewritten Parse keeps the client's name and parameter types", () => {
  const frame = frameOf(serialize.parse({ name: "é", text: "select $1", types: [23, 25] }));
  const sql = Buffer.from("select $1, id::text");
  const rewritten = frontend.withSql(frame, frontend.decodeParse(frame), sql);
  expect(rewritten).toEqual(serialize.parse({ name: "é", text: sql.toString(), types: [23, 25] }));
});

test("result formats are added only if the client named one for each field", () => {
  const bindWith = (formats: readonly number[]) => {
    const codes = Buffer.alloc(2 + 2 * formats.length);
    codes.writeUInt16BE(formats.length);
    for (const [i, format] of formats.entries()) codes.writeUInt16BE(format, 2 + 2 * i);
    return message(Frontend.Bind, Buffer.from("p\0s\0\0\0\0\0"), codes);
  };
  const extended = (formats: readonly number[]) => {
    const frame = frameOf(bindWith(formats));
    return frontend.withResultFormats(frame, frontend.decodeBind(frame), 2);
  };
  expect(extended([])).toEqual(bindWith([]));
  expect(extended([1])).toEqual(bindWith([1]));
  expect(extended([1, 0, 1])).toEqual(bindWith([1, 0, 1, 0, 0]));
  expect(() => extended(Array(65_535).fill(1))).toThrow(ProtocolViolation);
});

test("the proxy sends to the server what a driver would send", () => {
  expect(frontend.queryMessage(Buffer.from("select 'é'"))).toEqual(serialize.query("select 'é'"));
  expect(frontend.parseMessage(nameKey("é"), Buffer.from("select 1"))).toEqual(
    serialize.parse({ name: "é", text: "select 1" }),
  );
  expect(frontend.executeMessage("p", 7)).toEqual(serialize.execute({ portal: "p", rows: 7 }));
  expect(frontend.describeMessage({ target: "portal", name: "p" })).toEqual(
    serialize.describe({ type: "P", name: "p" }),
  );
  expect(frontend.closeMessage({ target: "statement", name: "s" })).toEqual(
    serialize.close({ type: "S", name: "s" }),
  );
  const sasl = frontend.saslInitialResponse("SCRAM-SHA-256", "n,,n=,r=x");
  expect(frontend.decodeSaslInitialResponse(frameOf(sasl))).toEqual({
    mechanism: "SCRAM-SHA-256",
    data: Buffer.from("n,,n=,r=x"),
  });
  expect(frontend.decodePassword(frameOf(frontend.passwordMessage("pässword")))).toBe("pässword");
});

test("a poisoned message keeps what the client will refer to, and nothing of its statement", () => {
  const parse = frontend.decodeParse(frameOf(poison.poisonedParse("mine")));
  expect(parse).toMatchObject({ statement: "mine", types: 0 });
  expect(frontend.decodeBind(frameOf(poison.poisonedBind("mine"))).portal).toBe("mine");
  expect(frontend.decodeDescribe(frameOf(poison.poisonedDescribe("portal"))).target).toBe("portal");
  expect(frontend.decodeExecute(frameOf(poison.poisonedExecute)).portal).toMatch(/^sluice [0-9a-f]{32}$/);
});
