import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SocketWriter } from "../../proxy/session/relay/socket-writer.ts";
import { socketPair } from "./socket-pair.ts";

/** More than loopback's buffers take of somebody who does not read. */
const MUCH = 16 * 1024 * 1024;

let near: Socket;
let far: Socket;
beforeEach(async () => {
  ({ near, far } = await socketPair());
  near.on("error", () => {});
});
afterEach(() => {
  near.destroy();
  far.destroy();
});

async function read(socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
  });
  await expect.poll(() => size).toBe(length);
  return Buffer.concat(chunks);
}

test("what the system takes at once passes the stream by", async () => {
  const write = vi.spyOn(near, "write");
  const writer = new SocketWriter(near, expect.unreachable);
  writer.write(Buffer.from("one "));
  writer.write(Buffer.from("two"));
  expect(String(await read(far, 7))).toBe("one two");
  expect(write).not.toHaveBeenCalled();
  expect(writer.isFull).toBe(false);
  expect(writer.holds).toBe(false);
});

test("a socket that is full says so until it has taken all, and bytes stay in their order whatever way they went", async () => {
  let drained = 0;
  const writer = new SocketWriter(near, () => drained++);
  writer.write(Buffer.alloc(MUCH, "a"));
  expect(writer.isFull).toBe(true);
  expect(writer.holds).toBe(true);
  writer.write(Buffer.from("b"));
  writer.writeAll([Buffer.from("c"), Buffer.from("d")]);
  // As the last words of a session go.
  near.write("e");
  expect(drained).toBe(0);
  const bytes = await read(far, MUCH + 4);
  expect(String(bytes.subarray(MUCH - 1))).toBe("abcde");
  await expect.poll(() => writer.isFull).toBe(false);
  expect(drained).toBeGreaterThan(0);
  expect(writer.holds).toBe(false);
  writer.write(Buffer.from("f"));
  expect(String(await read(far, 1))).toBe("f");
});

test("a socket that ends while it is full still sends all of it", async () => {
  const writer = new SocketWriter(near, () => {});
  writer.write(Buffer.alloc(MUCH, "a"));
  writer.write(Buffer.from("z"));
  near.end();
  expect((await read(far, MUCH + 1)).at(-1)).toBe("z".charCodeAt(0));
});

test("a peer that is gone closes the socket, and what is written afterwards is lost without a word", async () => {
  const writer = new SocketWriter(near, () => {});
  near.resume();
  far.resetAndDestroy();
  await expect.poll(() => near.closed).toBe(true);
  writer.write(Buffer.from("nobody"));
  writer.writeAll([Buffer.from("at"), Buffer.from("all")]);
  expect(near.destroyed).toBe(true);
});

test("a stream that is no plain socket is written as a stream", async () => {
  const stream = new PassThrough({ highWaterMark: 4 });
  const onDrain = vi.fn();
  const writer = new SocketWriter(stream, onDrain);
  writer.write(Buffer.from("12345"));
  expect(writer.isFull).toBe(true);
  stream.resume();
  await expect.poll(() => onDrain.mock.calls.length).toBe(1);
  expect(writer.isFull).toBe(false);
});

test("nobody is told any more once it is released", async () => {
  const writer = new SocketWriter(near, expect.unreachable);
  near.write(Buffer.alloc(MUCH));
  writer.release();
  await read(far, MUCH);
});
