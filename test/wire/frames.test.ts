import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameReader, ProtocolViolation } from "../../proxy/wire/frames.ts";
import { Backend, Frontend, message } from "../../proxy/wire/messages.ts";

const MAXIMUM = 100_000;
const never = () => false;
const copyData = (type: number) => type === Frontend.CopyData;

interface Seen {
  readonly type: number;
  readonly piece: string;
  readonly bytes: Buffer;
}

function seen(reader: FrameReader): Seen {
  const { type, piece, buffer, start, end } = reader;
  return { type, piece, bytes: Buffer.from(buffer.subarray(start, end)) };
}

/** Pushes the chunks and reads after each; the pieces of one message are joined. */
function readAll(reader: FrameReader, chunks: readonly Buffer[]): { type: number; bytes: Buffer }[] {
  const messages: { type: number; bytes: Buffer }[] = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    while (reader.next()) {
      const { type, piece, bytes } = seen(reader);
      const last = messages.at(-1);
      if (piece === "whole" || piece === "first") messages.push({ type, bytes });
      else if (last) last.bytes = Buffer.concat([last.bytes, bytes]);
    }
  }
  return messages;
}

function cut(stream: Buffer, points: readonly number[]): Buffer[] {
  const at = [...new Set(points.map((point) => point % (stream.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => Buffer.from(stream.subarray(from, at[i] ?? stream.length)));
}

const aMessage = fc
  .record({ type: fc.constantFrom(0x51, 0x64, 0x44), body: fc.uint8Array({ maxLength: 400 }) })
  .map(({ type, body }) => message(type, Buffer.from(body)));

test("however the network splits a stream, the messages are the same", () => {
  const property = (messages: Buffer[], points: number[], streams: boolean) => {
    const reader = new FrameReader(MAXIMUM, streams ? copyData : never);
    const read = readAll(reader, cut(Buffer.concat(messages), points));
    expect(read.map((one) => one.bytes)).toEqual(messages);
    expect(read.map((one) => one.type)).toEqual(messages.map((one) => one[0]));
    expect(reader.buffered).toBe(0);
    expect(reader.idle).toBe(true);
  };
  fc.assert(
    fc.property(fc.array(aMessage, { maxLength: 8 }), fc.array(fc.nat(4000)), fc.boolean(), property),
    { numRuns: 300 },
  );
});

test("pushing several chunks before reading gives the same messages", () => {
  const messages = [message(0x51, Buffer.alloc(30_000, 1)), message(0x53), message(0x51, Buffer.alloc(9, 2))];
  const reader = new FrameReader(MAXIMUM, never);
  for (const chunk of cut(Buffer.concat(messages), [3, 4, 20_000, 30_002, 30_009])) reader.push(chunk);
  const read: Buffer[] = [];
  while (reader.next()) read.push(seen(reader).bytes);
  expect(read).toEqual(messages);
});

test("random bytes cause a violation or messages, never another error and never an endless loop", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat(2000)), (bytes, points) => {
      const reader = new FrameReader(MAXIMUM, copyData);
      try {
        const read = readAll(reader, cut(Buffer.from(bytes), points));
        const length = read.reduce((sum, one) => sum + one.bytes.length, reader.buffered);
        expect(length).toBe(bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolViolation);
      }
    }),
    { numRuns: 500 },
  );
});

test("a message that is complete in its chunk is not copied", () => {
  const reader = new FrameReader(MAXIMUM, never);
  const chunk = Buffer.concat([message(0x51, Buffer.from("select 1\0")), message(0x53)]);
  reader.push(chunk);
  expect(reader.next()).toBe(true);
  expect(reader.buffer).toBe(chunk);
  expect(reader.next()).toBe(true);
  expect(reader.buffer).toBe(chunk);
  expect(reader.start).toBe(14);
});

test("bytes that were handed out do not change while later ones arrive", () => {
  const reader = new FrameReader(MAXIMUM, never);
  const first = message(0x44, Buffer.alloc(50, 1));
  reader.push(Buffer.from(first.subarray(0, 20)));
  reader.next();
  reader.push(Buffer.from(first.subarray(20)));
  reader.next();
  const held = reader.buffer.subarray(reader.start, reader.end);
  const second = message(0x44, Buffer.alloc(50, 2));
  reader.push(Buffer.from(second.subarray(0, 20)));
  reader.next();
  reader.push(Buffer.from(second.subarray(20)));
  reader.next();
  expect(Buffer.from(held)).toEqual(first);
});

test("a long streamable message passes in pieces, and is never collected", () => {
  const reader = new FrameReader(1000, copyData);
  const long = message(Frontend.CopyData, Buffer.alloc(5000, 7));
  const pieces: string[] = [];
  for (const chunk of cut(long, [2000, 4000])) {
    reader.push(chunk);
    while (reader.next()) {
      pieces.push(reader.piece);
      expect(reader.buffer).toBe(chunk);
      expect(reader.idle).toBe(reader.piece === "last");
    }
  }
  expect(pieces).toEqual(["first", "middle", "last"]);
});

test("the session may change whether a type is streamable between two messages", () => {
  let streams = true;
  const reader = new FrameReader(1000, () => streams);
  const one = message(Frontend.CopyData, Buffer.alloc(100));
  reader.push(Buffer.from(one.subarray(0, 50)));
  expect(reader.next() && reader.piece).toBe("first");
  streams = false;
  reader.push(Buffer.from(one.subarray(50)));
  expect(reader.next() && reader.piece).toBe("last");
  reader.push(Buffer.from(one.subarray(0, 50)));
  expect(reader.next()).toBe(false);
  reader.push(Buffer.from(one.subarray(50)));
  expect(reader.next() && reader.piece).toBe("whole");
});

test.each([0, 3, -1, -2147483648])("a length word of %i ends the connection", (length) => {
  const reader = new FrameReader(MAXIMUM, () => true);
  const header = Buffer.from([0x51, 0, 0, 0, 0]);
  header.writeInt32BE(length, 1);
  reader.push(header);
  expect(() => reader.next()).toThrow(ProtocolViolation);
});

test("a message beyond the limit is refused at its header, with 08P01", () => {
  const reader = new FrameReader(1000, copyData);
  reader.push(Buffer.from([0x51, 0, 0, 0x03, 0xe9]));
  try {
    reader.next();
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolViolation);
    expect((error as ProtocolViolation).refusal).toMatchObject({ severity: "FATAL", sqlstate: "08P01" });
  }
});

test("a header that announces 64 MB does not allocate 64 MB before the bytes arrive", () => {
  const reader = new FrameReader(2 ** 26, never);
  const header = Buffer.from([0x51, 0x03, 0xff, 0xff, 0xff, 0x41]);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 3; i++) {
    reader.push(Buffer.from(i === 0 ? header : [0x41]));
    expect(reader.next()).toBe(false);
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
});

test("a message that arrives byte by byte is copied only a few times", () => {
  const reader = new FrameReader(2 ** 20, never);
  const long = message(0x51, Buffer.alloc(200_000, 0x41));
  let copied = 0;
  const copy = Buffer.prototype.copy;
  Buffer.prototype.copy = function (this: Buffer, ...args: Parameters<typeof copy>) {
    const count = copy.apply(this, args);
    copied += count;
    return count;
  };
  try {
    for (let at = 0; at < long.length; at += 100) {
      reader.push(Buffer.from(long.subarray(at, at + 100)));
      reader.next();
    }
  } finally {
    Buffer.prototype.copy = copy;
  }
  expect(reader.piece).toBe("whole");
  expect(reader.end - reader.start).toBe(long.length);
  expect(copied).toBeLessThan(4 * long.length);
});

test("an idle reader retains no chunk", () => {
  const reader = new FrameReader(MAXIMUM, never);
  reader.push(message(0x53));
  expect(reader.next()).toBe(true);
  expect(reader.next()).toBe(false);
  expect(reader.buffer.length).toBe(0);
});

test("startup packets arrive whole, however split, and drain returns the bytes not read yet", () => {
  const reader = new FrameReader(MAXIMUM, never);
  const packet = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
  reader.push(Buffer.from(packet.subarray(0, 3)));
  expect(reader.nextStartup()).toBe(false);
  expect(reader.peek()).toBe(0);
  reader.push(Buffer.concat([packet.subarray(3), Buffer.from("more")]));
  expect(reader.nextStartup()).toBe(true);
  expect(seen(reader)).toEqual({ type: 0, piece: "whole", bytes: packet });
  expect(reader.peek()).toBe(0x6d);
  expect(reader.buffered).toBe(4);
  expect(reader.drain().toString()).toBe("more");
  expect(reader.idle).toBe(true);
});

test.each([0, 7, 10_005, -5])("a startup packet with length %i is refused", (length) => {
  const reader = new FrameReader(MAXIMUM, never);
  const header = Buffer.alloc(4);
  header.writeInt32BE(length);
  reader.push(header);
  expect(() => reader.nextStartup()).toThrow("invalid length of startup packet");
});

test("a widened frame contains exactly the whole messages of its type that follow in the same bytes", () => {
  const kinds = fc.constantFrom(Backend.DataRow, Backend.CopyData, Backend.CommandComplete);
  const messages = fc.array(fc.tuple(kinds, fc.uint8Array({ maxLength: 40 })), {
    minLength: 1,
    maxLength: 30,
  });
  fc.assert(
    fc.property(messages, fc.nat(), fc.nat(), (sent, cut, cut2) => {
      const bytes = Buffer.concat(sent.map(([type, body]) => message(type, Buffer.from(body))));
      const places = [cut % bytes.length, cut2 % bytes.length].sort((a, b) => a - b);
      const reader = new FrameReader(1 << 20, () => false);
      const seen: { type: number; count: number; bytes: Buffer }[] = [];
      for (const [from, to] of [
        [0, places[0]],
        [places[0], places[1]],
        [places[1], bytes.length],
      ]) {
        reader.push(Buffer.from(bytes.subarray(from, to)));
        while (reader.next()) {
          const count = reader.widen();
          const piece = Buffer.from(reader.buffer.subarray(reader.start, reader.end));
          seen.push({ type: reader.type, count, bytes: piece });
        }
      }
      expect(Buffer.concat(seen.map((one) => one.bytes))).toEqual(bytes);
      expect(seen.flatMap(({ type, count }) => Array.from({ length: count }, () => type))).toEqual(
        sent.map(([type]) => type),
      );
    }),
  );
});

test("a message that violates the protocol is not included with those before it", () => {
  const reader = new FrameReader(1 << 20, () => false);
  const row = message(Backend.DataRow, Buffer.from("a"));
  const broken = Buffer.from(row);
  broken.writeInt32BE(3, 1);
  reader.push(Buffer.concat([row, row, broken]));
  expect(reader.next()).toBe(true);
  expect(reader.widen()).toBe(2);
  expect(() => reader.next()).toThrow(ProtocolViolation);
});
