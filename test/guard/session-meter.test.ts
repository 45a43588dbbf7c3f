import { beforeEach, describe, expect, test } from "vitest";
import { refusalOf } from "../../proxy/meter/budget-refusal.ts";
import type { Account, Batch, CounterStore, Grant } from "../../proxy/meter/meter.ts";
import { createMeter } from "../../proxy/meter/session-meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import {
  account,
  colleagues,
  lookups,
  ofAddress,
  people,
  plainRows,
  range,
  revealing,
  reveals,
  rows,
  rowsOf,
} from "./claims.ts";

/** A memory store that tells how often it was asked. */
class CountingStore implements CounterStore {
  trips = 0;
  reachable = true;
  readonly #inner: CounterStore;

  constructor(now: () => number) {
    this.#inner = createMemoryStore({ now });
  }
  get ready(): boolean {
    return this.reachable;
  }
  async charge(account: Account, batch: Batch): Promise<Grant> {
    this.trips += 1;
    return this.reachable ? this.#inner.charge(account, batch) : { kind: "unreachable" };
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
}

let time: number;
let store: CountingStore;
const clock = () => time;
const meterOf = (account: Account) => createMeter(store, account, clock);

beforeEach(() => {
  time = 1_000_000_000;
  store = new CountingStore(clock);
});

describe("a session's meter", () => {
  test("people counted a moment ago cost no trip, in this session and in the user's others", async () => {
    const anna = account(people("1d", 10));
    await meterOf(anna).charge(rowsOf("a", "b"));
    expect(meterOf(anna).charge(rowsOf("b", "a", "", "b"))).toEqual({ kind: "all" });
    expect(store.trips).toBe(1);
    await meterOf(anna).charge(rowsOf("a", "c"));
    expect(store.trips).toBe(2);
  });

  test("a person who was counted for one is asked about again before they are read for five, and not the other way round", async () => {
    const anna = meterOf(account(people("1d", 10)));
    await anna.charge(rowsOf("a"));
    await anna.charge({ ...rowsOf("a"), cost: 5 });
    expect(store.trips).toBe(2);
    await anna.charge({ ...rowsOf("a"), cost: 5 });
    await anna.charge(rowsOf("a"));
    expect(store.trips).toBe(2);
  });

  test("a person whose value was turned back a moment ago costs no trip for that class, and one for another", async () => {
    const anna = account(people("1d", 10), reveals("1d", "phone", 2), reveals("1d", "email", 2));
    const shown = (of: string, ...who: readonly string[]) => ({
      ...rowsOf(...who),
      reveals: revealing([of], ...who).reveals ?? [],
    });
    await meterOf(anna).charge(rowsOf("a", "b"));
    await meterOf(anna).charge(shown("phone", "a"));
    expect(store.trips).toBe(2);
    expect(meterOf(anna).charge(shown("phone", "a", "a"))).toEqual({ kind: "all" });
    expect(meterOf(anna).charge(shown("card", "b"))).toEqual({ kind: "all" });
    expect(store.trips).toBe(2);
    await meterOf(anna).charge(shown("email", "a"));
    await meterOf(anna).charge(shown("phone", "b"));
    expect(store.trips).toBe(4);
    expect(await meterOf(anna).charge(shown("phone", "c"))).toMatchObject({ kind: "part", rows: 0 });
    // What was not granted is asked about again.
    await meterOf(anna).charge(shown("phone", "c"));
    expect(store.trips).toBe(6);
    await meterOf(anna).charge(shown("phone", "?"));
    expect(store.trips).toBe(7);
  });

  test("what one user counted saves no other user a trip", async () => {
    await meterOf(account(people("1d", 10))).charge(rowsOf("a"));
    await meterOf(account(people("1d", 10))).charge(rowsOf("a"));
    expect(store.trips).toBe(2);
  });

  test("unknown people and rows windows always cost a trip", async () => {
    const anna = meterOf(account(people("1d", 10)));
    await anna.charge(rowsOf("a"));
    await anna.charge({ ...rowsOf("a"), unknownPerRow: 1 });
    expect(store.trips).toBe(2);
    const ben = meterOf(account(people("1d", 10), rows("1d", 100)));
    await ben.charge(rowsOf("a"));
    await ben.charge(rowsOf("a"));
    expect(store.trips).toBe(4);
  });

  test("without a budget, and for rows of nobody, nothing is asked", () => {
    expect(meterOf(account()).charge(plainRows(1000, 3))).toEqual({ kind: "all" });
    expect(meterOf(account(people("1d", 0))).charge(rowsOf("", ""))).toEqual({ kind: "all" });
    expect(store.trips).toBe(0);
  });

  test("what was not granted is not remembered as counted", async () => {
    const anna = meterOf(account(people("1d", 1)));
    expect(await anna.charge(rowsOf("a", "b"))).toMatchObject({ kind: "part", rows: 1 });
    expect(anna.charge(rowsOf("a"))).toEqual({ kind: "all" });
    expect(await anna.charge(rowsOf("b"))).toMatchObject({ kind: "part", rows: 0 });
  });

  test("a person read again and again without a trip stays counted for a whole window after the last time", async () => {
    const user = account(people("10s", 1));
    const anna = meterOf(user);
    await anna.charge(rowsOf("a"));
    time += 999;
    expect(anna.charge(rowsOf("a"))).toEqual({ kind: "all" });
    time += 9_999;
    expect(await anna.charge(rowsOf("b"))).toMatchObject({ kind: "part", rows: 0 });
    time += 2;
    expect(await anna.charge(rowsOf("b"))).toMatchObject({ kind: "all" });
  });

  test("a user is told once when four fifths are used up, and again only after it emptied", async () => {
    const anna = meterOf(account(people("1d", 5), people("15s", 100)));
    await anna.charge(rowsOf("a", "b", "c"));
    expect(anna.takeWarning()).toBeUndefined();
    await anna.charge(rowsOf("d"));
    expect(anna.takeWarning()).toMatchObject({
      severity: "NOTICE",
      message: "80 % of the budget of 5 people in 1d is used up",
      rule: "roles.agent.budget.1d",
    });
    await anna.charge(rowsOf("e"));
    expect(anna.takeWarning()).toBeUndefined();
    time += 2 * 86_400_000;
    await anna.charge(rowsOf("a"));
    await anna.charge(rowsOf("b", "c", "d", "e"));
    expect(anna.takeWarning()?.message).toContain("100 %");
  });

  test("lookups cost a trip only where a budget counts them", async () => {
    expect(meterOf(account(people("1d", 1))).amount("lookups", 3)).toEqual({ kind: "all" });
    expect(store.trips).toBe(0);
    const anna = meterOf(account(lookups("1h", 2)));
    const grant = await anna.amount("lookups", 3);
    if (grant.kind !== "part") throw new Error("three lookups of two allowed");
    expect(refusalOf(grant, account(lookups("1h", 2)))).toMatchObject({
      sqlstate: "53400",
      message: "budget of 2 lookups in 1h is used up",
    });
  });

  test("what was counted for one address is counted for another, too", async () => {
    const [anna] = colleagues([people("1d", 10), ofAddress(people("1d", 1))]);
    await meterOf(anna).charge(rowsOf("a"));
    await meterOf({ ...anna, address: "elsewhere" }).charge(rowsOf("a"));
    expect(store.trips).toBe(2);
  });

  test("after the grace a person costs a trip again", async () => {
    const anna = meterOf(account(people("10s", 1)));
    await anna.charge(rowsOf("a"));
    time += 1_000;
    await anna.charge(rowsOf("a"));
    expect(store.trips).toBe(2);
  });

  test("with the counters away, people counted a moment ago are still shown and nobody else", async () => {
    const anna = meterOf(account(people("1d", 10)));
    await anna.charge(rowsOf("a"));
    store.reachable = false;
    expect(anna.charge(rowsOf("a"))).toEqual({ kind: "all" });
    expect(await anna.charge(rowsOf("b"))).toEqual({ kind: "unreachable" });
  });

  test("more people than are remembered cost trips, never a wrong grant", async () => {
    const anna = meterOf(account(people("1d", 100_000)));
    await anna.charge(rowsOf(...range(0, 25_000)));
    await anna.charge(rowsOf("c0"));
    expect(store.trips).toBe(2);
    expect(anna.charge(rowsOf("c24999"))).toEqual({ kind: "all" });
  });
});

describe("a refusal", () => {
  const anna: Account = { database: "support", user: "anna", windows: [people("1d", 300)] };

  test("names the budget, what is used, when it frees and the policy's line", () => {
    const [window] = anna.windows;
    if (window === undefined) throw new Error("no window");
    const freesAt = Date.UTC(2026, 1, 3, 4, 5, 6);
    const refusal = refusalOf({ kind: "part", rows: 2, window, used: 300, freesAt }, anna);
    expect(refusal).toMatchObject({
      severity: "ERROR",
      sqlstate: "53400",
      message: "budget of 300 people in 1d is used up",
      detail:
        'User "anna": 300 of 300 people used within 1d. The next read fits at 2026-02-03T04:05:06.000Z.',
      rule: "roles.agent.budget.1d",
    });
    expect(refusal.hint).toContain("stay readable by their id, not by a search");
    expect(refusalOf({ kind: "part", rows: 2, window, used: 30, freesAt, isLent: true }, anna)).toMatchObject(
      {
        sqlstate: "58000",
        message: expect.stringContaining("what may be read meanwhile is used up"),
        rule: window.rule,
      },
    );
    expect(refusalOf({ kind: "part", rows: 0, window, used: 0, freesAt }, anna).detail).not.toContain("2026");
  });

  test("does not say when more bytes fit, because that depends on the row that was held back", () => {
    const window = { ...people("1d", 1000), what: "bytes" as const };
    const { detail } = refusalOf(
      { kind: "part", rows: 0, window, used: 900, freesAt: Date.UTC(2026, 1, 3) },
      anna,
    );
    expect(detail).toContain("900 of 1000 bytes used within 1d. When the next row fits is not known");
  });

  test("for counters that are away asks to try again", () => {
    expect(refusalOf({ kind: "unreachable" }, anna)).toMatchObject({ sqlstate: "58000", severity: "ERROR" });
  });
});
