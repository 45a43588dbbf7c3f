import fc from "fast-check";
import type { BackendMessage } from "pg-protocol/dist/messages.js";
import { Parser } from "pg-protocol/dist/parser.js";
import { expect, test } from "vitest";
import { type Frame, ProtocolViolation } from "../../proxy/wire/frames.ts";
import { Backend, cstring, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { fieldCount, readTrailingFields, trimDataRow, trimRowDescription } from "../../proxy/wire/rows.ts";

function frameOf(bytes: Buffer): Frame {
  const buffer = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("after")]);
  return { type: bytes[0] ?? 0, buffer, start: 6, end: 6 + bytes.length, piece: "whole" };
}

function parsed(bytes: Buffer): unknown {
  const messages: BackendMessage[] = [];
  new Parser().parse(bytes, (one: BackendMessage) => messages.push(one));
  return messages[0];
}

type Value = string | null;

function dataRow(values: readonly Value[]): Buffer {
  const fields = values.flatMap((value) =>
    value === null ? [int32(-1)] : [int32(Buffer.byteLength(value)), Buffer.from(value)],
  );
  return message(Backend.DataRow, uint16(values.length), ...fields);
}

const aRow = fc.array(fc.option(fc.string({ unit: "grapheme", maxLength: 12 }), { nil: null }), {
  minLength: 1,
  maxLength: 8,
});

test("a row without its last fields is the row that the client asked for, and the fields are returned", () => {
  fc.assert(
    fc.property(aRow, fc.nat(), (values, seed) => {
      const count = seed % (values.length + 1);
      const frame = frameOf(dataRow(values));
      const trailing: string[] = [];
      readTrailingFields(frame, count, trailing);
      expect(trailing).toEqual(values.slice(values.length - count).map((value) => value ?? ""));
      const end = trimDataRow(frame, count);
      const trimmed = frame.buffer.subarray(frame.start, end);
      expect(trimmed).toEqual(dataRow(values.slice(0, values.length - count)));
      expect(parsed(trimmed)).toMatchObject({ fields: values.slice(0, values.length - count) });
    }),
  );
});

function rowDescription(names: readonly string[]): Buffer {
  const fields = names.flatMap((name, i) => [cstring(name), Buffer.alloc(18, i + 1)]);
  return message(Backend.RowDescription, uint16(names.length), ...fields);
}

test("a row description without its last fields names those that the client asked for", () => {
  const names = ["id", "é", "", "subject"];
  for (let count = 0; count <= names.length; count++) {
    const frame = frameOf(rowDescription(names));
    expect(fieldCount(frame)).toBe(4);
    const end = trimRowDescription(frame, count);
    expect(frame.buffer.subarray(frame.start, end)).toEqual(rowDescription(names.slice(0, 4 - count)));
  }
});

test("a row that contradicts its counts is a violation, never a wrong row", () => {
  const broken = [
    message(Backend.DataRow),
    message(Backend.DataRow, uint16(2), int32(-1)),
    message(Backend.DataRow, uint16(1), int32(5), Buffer.from("abc")),
    message(Backend.DataRow, uint16(1), int32(-2)),
    message(Backend.DataRow, uint16(1), int32(1), Buffer.from("abc")),
    message(Backend.DataRow, uint16(0)),
  ];
  for (const bytes of broken) {
    expect(() => readTrailingFields(frameOf(bytes), 1, [])).toThrow(ProtocolViolation);
  }
  expect(() => trimDataRow(frameOf(dataRow(["a"])), 2)).toThrow(ProtocolViolation);
  expect(() => trimRowDescription(frameOf(rowDescription(["a"])), 2)).toThrow(ProtocolViolation);
  expect(() => trimDataRow({ ...frameOf(dataRow(["a", "b"])), piece: "first" }, 1)).toThrow(
    ProtocolViolation,
  );
});
