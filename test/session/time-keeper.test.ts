import { expect, onTestFinished, test, vi } from "vitest";
import { type Activity, type Timed, TimeKeeper } from "../../proxy/session/context/time-limits.ts";

/** A look is due ten times in it. */
const LIMIT = 400;
const LOOK = LIMIT / 10;

class Client implements Timed {
  activity: Activity = "idle";
  answers = 0;
  isOver = false;
  cancelStatement(): void {}
  endStatement(): void {}
  end(): void {
    this.isOver = true;
  }
}

test("time in which the proxy stood still is not held against a client, whose words it has not read yet", () => {
  vi.useFakeTimers({ toFake: ["setInterval"] });
  let now = 1_000;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
  onTestFinished(() => {
    clock.mockRestore();
    vi.useRealTimers();
  });
  const looksAfter = (milliseconds: number) => {
    now += milliseconds;
    vi.advanceTimersByTime(LOOK);
  };
  const keeper = new TimeKeeper({ idleSession: LIMIT, idleInTransaction: 0, statement: 0 });
  onTestFinished(() => keeper.close());
  const [busy, quiet] = [new Client(), new Client()];
  for (const client of [busy, quiet]) keeper.watch(client);
  looksAfter(LOOK);
  looksAfter(10 * LIMIT);
  expect([busy.isOver, quiet.isOver]).toEqual([false, false]);
  for (let i = 0; i < 10; i++) {
    busy.answers++;
    looksAfter(LOOK);
  }
  expect([busy.isOver, quiet.isOver]).toEqual([false, true]);
});
