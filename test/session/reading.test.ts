import { once } from "node:events";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Side } from "../../proxy/session/relay/side.ts";
import { readSocket } from "../../proxy/session/relay/socket-reader.ts";
import { FrameReader } from "../../proxy/wire/frames.ts";
import { socketPair } from "./socket-pair.ts";

let near: Socket;
let far: Socket;
beforeEach(async () => {
  ({ near, far } = await socketPair());
});
afterEach(() => {
  near.destroy();
  far.destroy();
});

/** Reads until so many bytes have come; what it saw is copied at once. */
function collect(wanted: boolean) {
  const seen: Buffer[] = [];
  const memories: Buffer[] = [];
  readSocket(near, (bytes) => {
    seen.push(Buffer.from(bytes));
    memories.push(bytes);
    return wanted;
  });
  near.resume();
  const until = (length: number) =>
    expect.poll(() => seen.reduce((sum, { length }) => sum + length, 0)).toBe(length);
  return { seen, memories, until };
}

test("this Node lets us read into memory of our own", async () => {
  const { memories, until } = collect(false);
  far.write("one");
  await until(3);
  far.write("two");
  await until(6);
  expect(memories[1]?.buffer).toBe(memories[0]?.buffer);
  expect(memories[1]?.byteOffset).toBe(memories[0]?.byteOffset);
});

test("what is still wanted is never written over", async () => {
  const { memories, until } = collect(true);
  for (const [i, text] of ["one", "two", "six"].entries()) {
    far.write(text);
    await until(3 * (i + 1));
  }
  expect(memories.map(String)).toEqual(["one", "two", "six"]);
});

test("bytes that the stream had read already come first", async () => {
  far.write("early ");
  await once(near, "readable");
  const { seen, until } = collect(false);
  far.write("late");
  await until(10);
  expect(Buffer.concat(seen).toString()).toBe("early late");
});

test("much that comes is read in large pieces, and nothing of it is lost", async () => {
  const { seen, until } = collect(false);
  const sent = Buffer.alloc(4 * 1024 * 1024, "0123456789abcdef");
  far.write(sent);
  await until(sent.length);
  expect(Buffer.concat(seen).equals(sent)).toBe(true);
  expect(Math.max(...seen.map(({ length }) => length))).toBeGreaterThan(16 * 1024);
});

describe("a socket that is paused", () => {
  test("is not read, and goes on where it stopped", async () => {
    const { seen, until } = collect(false);
    near.pause();
    far.write("held");
    // It has arrived, and stays in the kernel: the far side is told of the end only after it.
    far.end();
    await once(far, "finish");
    expect(seen).toEqual([]);
    const ended = once(near, "end");
    near.resume();
    await until(4);
    await ended;
  });
});

test("after it was stopped nothing more is read", async () => {
  const seen: string[] = [];
  const stop = readSocket(near, (bytes) => {
    seen.push(bytes.toString());
    stop();
    return false;
  });
  near.resume();
  far.write("one");
  await expect.poll(() => seen).toEqual(["one"]);
  far.end("two");
  await once(far, "finish");
  expect(seen).toEqual(["one"]);
});

test("a side that is not wanted gives one more read at most, and the rest when it is wanted again", async () => {
  const MUCH = 8 << 20;
  const ONE_READ = 64 * 1024;
  const side = new Side({ socket: near, reader: new FrameReader(1000, () => false) }, () => {});
  let seen = 0;
  side.listen(
    (bytes) => {
      seen += bytes.length;
      return false;
    },
    () => {},
  );
  side.flow(true);
  far.write("x");
  await expect.poll(() => seen).toBe(1);
  side.flow(false);
  far.write(Buffer.alloc(MUCH));
  await expect.poll(() => near.isPaused()).toBe(true);
  expect(seen).toBeGreaterThan(1);
  expect(seen).toBeLessThanOrEqual(1 + ONE_READ);
  side.flow(true);
  await expect.poll(() => seen).toBe(1 + MUCH);
});
