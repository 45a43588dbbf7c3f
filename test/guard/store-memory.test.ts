import { beforeEach, describe, expect, test } from "vitest";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { account, type Bench, people, plainRows, range, released, rows, rowsOf } from "./claims.ts";
import { storeContract } from "./store-contract.ts";

describe("counters in memory", () => {
  let time: number;
  let bench: Bench;
  beforeEach(() => {
    time = Date.UTC(2026, 0, 15);
    bench = {
      store: createMemoryStore({ now: () => time }),
      now: async () => time,
      advance: async (_, milliseconds) => {
        time += milliseconds;
      },
    };
  });

  storeContract(() => bench);

  test("rows leave their window at most a sixtieth late, and never early", async () => {
    const agent = account(rows("1h", 10));
    await released(bench.store, agent, plainRows(10));
    time += 3_600_000 - 1;
    const grant = await bench.store.charge(agent, plainRows(1));
    expect(grant.kind).toBe("part");
    const late = (grant.kind === "part" ? grant.freesAt : 0) - time - 1;
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThanOrEqual(60_000);
    time += late;
    expect(await released(bench.store, agent, plainRows(1))).toBe(0);
    time += 1;
    expect(await released(bench.store, agent, plainRows(1))).toBe(1);
  });

  test("a clock that steps back frees nobody", async () => {
    const agent = account(people("1m", 1));
    await released(bench.store, agent, rowsOf("a"));
    time -= 86_400_000;
    expect(await released(bench.store, agent, rowsOf("b"))).toBe(0);
  });

  test("a full memory releases nothing more, and is free again when windows have passed", async () => {
    const small = createMemoryStore({ now: () => time, maxPeople: 5 });
    const agent = account(people("1m", 100));
    expect(await small.charge(agent, rowsOf(...range(0, 6)))).toEqual({ kind: "unreachable" });
    expect(await small.charge(account(people("1m", 100)), rowsOf("z"))).toEqual({ kind: "unreachable" });
    time += 120_000;
    expect(await small.charge(account(people("1m", 100)), rowsOf("z"))).toEqual({ kind: "all" });
  });

  test("a closed store releases nothing", async () => {
    await bench.store.close();
    expect(bench.store.ready).toBe(false);
    expect(await bench.store.charge(account(people("1m", 1)), rowsOf("a"))).toEqual({ kind: "unreachable" });
  });
});
