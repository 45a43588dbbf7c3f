import { expect, test } from "vitest";
import { CancelKeys } from "../../proxy/session/cancel/cancel.ts";
import { CancelDesk } from "../../proxy/session/cancel/cancel-desk.ts";
import { Backoff } from "../../proxy/workers/backoff.ts";

test("a key has the number of the server's process, and two servers may have the same", async () => {
  const [here, there] = [new CancelKeys(), new CancelKeys()];
  const cancelled: string[] = [];
  const [one, other] = ["one", "other"].map((name) =>
    here.issue(0, async () => void cancelled.push(name), 4711),
  );
  expect([one?.processId, other?.processId]).toEqual([4711, 4711]);
  if (one === undefined || other === undefined) throw new Error("no keys");
  expect([await there.request(one), await here.request(other), await here.request(one)]).toEqual([
    false,
    true,
    true,
  ]);
  here.revoke(one);
  expect([await here.request(one), await here.request(other), cancelled]).toEqual([
    ...[false, true],
    ["other", "one", "other"],
  ]);
  const without = here.issue(0, async () => {});
  expect(without.processId > 0 && without.processId < 2 ** 31).toBe(true);
});

test("an address that tries unknown keys is ignored for a while; others are not", async () => {
  let now = 0;
  const keys = new CancelKeys();
  const tried: number[] = [];
  const desk = new CancelDesk({
    keys,
    forward: [async ({ processId }) => tried.push(processId) < 0],
    now: () => now,
  });
  const good = keys.issue(2, async () => {});
  const wrong = { processId: good.processId, key: Buffer.alloc(32) };
  await Promise.all(Array.from({ length: 300 }, () => desk.request(wrong, "203.0.113.7")));
  expect(tried).toHaveLength(100);
  expect(await desk.request(good, "203.0.113.7")).toBe(false);
  expect(await desk.request(good, "203.0.113.8")).toBe(true);
  now += 1_000;
  expect(await desk.request(good, "203.0.113.7")).toBe(true);
});

test("keys that are right use up nothing", async () => {
  const keys = new CancelKeys();
  const desk = new CancelDesk({ keys, forward: [], now: () => 0 });
  const good = keys.issue(0, async () => {});
  for (let i = 0; i < 500; i++) expect(await desk.request(good, "203.0.113.7")).toBe(true);
});

test("a worker that fails again and again is started later and later; one that lived is started at once", () => {
  const backoff = new Backoff();
  const waits = Array.from({ length: 12 }, () => backoff.next(10));
  expect(waits.slice(0, 4)).toEqual([0, 100, 200, 400]);
  expect(waits.at(-1)).toBe(30_000);
  expect(backoff.next(120_000)).toBe(0);
});
