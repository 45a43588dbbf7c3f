import { once } from "node:events";
import { expect, test } from "vitest";
import { sayFarewell } from "../../proxy/session/login/conversation.ts";
import { socketPair } from "./socket-pair.ts";

/** More than loopback's buffers take of somebody who does not read. */
const MUCH = 32 << 20;
/** Longer than two seconds for all of it. */
const STEP = 1 << 20;
const EVERY_MS = 100;

test("the last words reach a client that is slow to their last byte", async () => {
  const { near, far } = await socketPair();
  sayFarewell(near, Buffer.alloc(MUCH));
  let seen = 0;
  let due = 0;
  far.on("data", (chunk: Buffer) => {
    seen += chunk.length;
    due -= chunk.length;
    if (due <= 0) far.pause();
  });
  far.pause();
  const reading = setInterval(() => {
    due = STEP;
    far.resume();
  }, EVERY_MS);
  await once(far, "end");
  clearInterval(reading);
  expect(seen).toBe(MUCH);
}, 60_000);

test("a client that takes nothing of the last words is not waited for", async () => {
  const { near, far } = await socketPair();
  far.pause();
  sayFarewell(near, Buffer.alloc(MUCH));
  await once(near, "close");
  far.destroy();
}, 20_000);

test("nor is one that goes on sending", async () => {
  const { near, far } = await socketPair();
  far.on("error", () => {});
  const sending = setInterval(() => far.write("more"), 10);
  far.pause();
  sayFarewell(near, Buffer.alloc(MUCH));
  await once(near, "close");
  clearInterval(sending);
  far.destroy();
}, 20_000);
