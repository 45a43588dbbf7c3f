import { expect, test, vi } from "vitest";
import { type Dealt, Turn } from "../../proxy/protocol/turn.ts";
import { Frontend } from "../../proxy/wire/messages.ts";

const SMALL = { type: Frontend.Bind, start: 0, end: 20 };
const LARGE = { type: Frontend.CopyData, start: 0, end: 250_000 };

/** How many messages a turn takes when each one costs so many milliseconds. */
function messagesAt(cost: number, message: Dealt): number {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
  const turn = new Turn();
  turn.begin();
  let count = 1;
  for (now += cost; !turn.spend(message); now += cost) count++;
  clock.mockRestore();
  return count;
}

test("a turn is over after a millisecond, or after the one message that took longer", () => {
  expect(messagesAt(0.001, SMALL)).toBeLessThan(1_100);
  expect(messagesAt(0.1, SMALL)).toBeLessThan(50);
  expect(messagesAt(100, LARGE)).toBe(1);
});

test("a short text may have taken long", () => {
  for (const type of [Frontend.Query, Frontend.Parse]) expect(messagesAt(10, { ...SMALL, type })).toBe(1);
});

test("the clock is not read for each small message", () => {
  const clock = vi.spyOn(performance, "now");
  const turn = new Turn();
  turn.begin();
  for (let i = 0; i < 20; i++) turn.spend(SMALL);
  expect(clock).toHaveBeenCalledTimes(1);
  clock.mockRestore();
});
