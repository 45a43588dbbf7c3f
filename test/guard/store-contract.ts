import fc from "fast-check";
import { expect, test } from "vitest";
import type { Account, Batch } from "../../proxy/meter/meter.ts";
import {
  account,
  type Bench,
  bytes,
  colleagues,
  lookups,
  ofAddress,
  ofRole,
  people,
  plainRows,
  range,
  released,
  revealing,
  reveals,
  rows,
  rowsOf,
} from "./claims.ts";
import { Oracle } from "./oracle.ts";

/** What every counter store must do. */
export function storeContract(bench: () => Bench): void {
  const store = () => bench().store;

  test("a person read twice costs one", async () => {
    const agent = account(people("1d", 2));
    expect(await released(store(), agent, rowsOf("a", "a", "a"))).toBe(3);
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    expect(await released(store(), agent, rowsOf("b"))).toBe(1);
    expect(await released(store(), agent, rowsOf("c"))).toBe(0);
  });

  test("the longest run of leading rows leaves, and what stays behind is not counted", async () => {
    const agent = account(people("1d", 3));
    const grant = await store().charge(agent, rowsOf("a", "b", "a", "c", "b", "d", "a", "e"));
    expect(grant).toMatchObject({ kind: "part", rows: 5, used: 3, window: agent.windows[0] });
    expect(await released(store(), agent, rowsOf("a", "b", "c"))).toBe(3);
    const wider = { ...agent, windows: [people("1d", 4)] };
    expect(await released(store(), wider, rowsOf("e"))).toBe(1);
    expect(await released(store(), wider, rowsOf("d"))).toBe(0);
  });

  test("the same value in two name spaces is two people, twice in one name space is one", async () => {
    const two = account(people("1d", 2));
    const joined: Batch = {
      rows: 2,
      people: ["7", "7", "8", "8"],
      namespaces: ["customers", "employees"],
      unknownPerRow: 0,
    };
    expect(await released(store(), two, joined)).toBe(1);
    const one = account(people("1d", 2));
    expect(await released(store(), one, { ...joined, namespaces: ["customers", "customers"] })).toBe(2);
  });

  test("a row that speaks of two new people leaves only when both fit", async () => {
    const agent = account(people("1d", 3));
    const pairs: Batch = {
      rows: 2,
      people: ["1", "2", "3", "4"],
      namespaces: ["customers", "customers"],
      unknownPerRow: 0,
    };
    expect(await store().charge(agent, pairs)).toMatchObject({ kind: "part", rows: 1, used: 2 });
    expect(await released(store(), agent, rowsOf("3"))).toBe(1);
  });

  test("each unknown person counts as somebody new, every time", async () => {
    const agent = account(people("1d", 7));
    expect(await released(store(), agent, plainRows(2, 2))).toBe(2);
    expect(await store().charge(agent, plainRows(2, 2))).toMatchObject({ rows: 1, used: 6 });
    const mixed = { ...rowsOf("a", "b"), unknownPerRow: 1 };
    expect(await released(store(), agent, mixed)).toBe(0);
  });

  test("reveals count each person once for a class, apart from the people that are read", async () => {
    const agent = account(people("1d", 5), reveals("1d", "phone", 2), reveals("1d", "email", 3));
    const both = { ...rowsOf("a", "b", "a", "c"), ...revealing(["phone", "email"], "a", "b", "a", "c") };
    const shown = { ...both, people: ["a", "b", "a", "c"], namespaces: ["customers"] };
    expect(await store().charge(agent, shown)).toMatchObject({
      kind: "part",
      rows: 3,
      used: 2,
      window: agent.windows[1],
    });
    // What did not leave is counted in no window.
    expect((await store().usage?.(agent))?.map(({ used }) => used)).toEqual([2, 2, 2]);
    const onlyEmail = { ...rowsOf("c", "d"), reveals: revealing(["email"], "c", "d").reveals ?? [] };
    expect(await released(store(), agent, onlyEmail)).toBe(1);
    expect(await released(store(), agent, rowsOf("d", "e", "f"))).toBe(2);
    expect((await store().usage?.(agent))?.map(({ used }) => used)).toEqual([5, 2, 3]);
    expect(await released(store(), agent, revealing(["phone"], "a", "b", "?"))).toBe(2);
    // A class without a window is nobody's.
    expect(await released(store(), agent, revealing(["card"], "x", "y", "z"))).toBe(3);
  });

  test("reveals count as people do: once within a window, unknown ones each time, and free up again", async () => {
    const steps = fc.array(
      fc.record({
        wait: fc.constantFrom(0, 0, 1_000, 3_000, 7_000, 12_000),
        seen: fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { minLength: 1, maxLength: 6 }),
      }),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        const [reader, revealer] = [
          account(people("15s", 3), people("40s", 4)),
          account(reveals("15s", "phone", 3), reveals("40s", "phone", 4)),
        ];
        for (const { wait, seen } of history) {
          await bench().advance(reader, wait);
          await bench().advance(revealer, wait);
          const expected = await store().charge(reader, rowsOf(...seen));
          const grant = await store().charge(revealer, revealing(["phone"], ...seen));
          const said = ({ kind, ...rest }: typeof grant) =>
            kind === "part" && "rows" in rest ? [rest.rows, rest.used, rest.window.name] : kind;
          expect(said(grant)).toEqual(said(expected));
        }
      }),
      { numRuns: 25 },
    );
    const agent = account(reveals("1d", "phone", 3));
    expect(await released(store(), agent, revealing(["phone"], "?", "?"))).toBe(2);
    expect(await released(store(), agent, revealing(["phone"], "?", "?"))).toBe(1);
    const many = account(reveals("1d", "phone", 1_500));
    expect(await released(store(), many, revealing(["phone"], ...range(0, 2_000)))).toBe(1_500);
  });

  test("a row whose subject is NULL costs a row and no person", async () => {
    const agent = account(people("1d", 1), rows("1d", 3));
    expect(await released(store(), agent, rowsOf("", "", "a", "a"))).toBe(3);
  });

  test("rows are counted whatever they speak of", async () => {
    const agent = account(rows("1h", 1000));
    expect(await released(store(), agent, rowsOf(...range(0, 400)))).toBe(400);
    expect(await released(store(), agent, plainRows(500, 3))).toBe(500);
    const grant = await store().charge(agent, plainRows(101));
    expect(grant).toMatchObject({ kind: "part", rows: 100, used: 1000, window: agent.windows[0] });
  });

  test("a batch of any size is granted as one", async () => {
    const agent = account(people("1d", 1200), rows("1d", 5000));
    expect(await released(store(), agent, rowsOf(...range(0, 1700)))).toBe(1200);
    expect(await released(store(), agent, rowsOf(...range(0, 1200)))).toBe(1200);
    expect(await released(store(), agent, rowsOf(...range(1199, 2)))).toBe(1);
    const wide = account(people("1d", 30_000));
    expect(await released(store(), wide, plainRows(3, 9_500))).toBe(3);
  });

  test("of several full windows the one is named that makes the reader wait longest", async () => {
    const agent = account(people("15s", 2), people("1h", 2), people("1d", 50));
    const before = await bench().now();
    const grant = await store().charge(agent, rowsOf("a", "b", "c"));
    expect(grant).toMatchObject({ kind: "part", rows: 2, window: agent.windows[1], used: 2 });
    const wait = grant.kind === "part" ? grant.freesAt - before : 0;
    expect(wait).toBeGreaterThanOrEqual(3_600_000);
    expect(wait).toBeLessThan(3_600_000 + 5_000 + 5_000);
  });

  test("one more person fits when the refusal said so, and not before", async () => {
    const agent = account(people("15s", 2));
    await released(store(), agent, rowsOf("a"));
    await bench().advance(agent, 4_000);
    const grant = await store().charge(agent, rowsOf("b", "c"));
    const wait = (grant.kind === "part" ? grant.freesAt : 0) - (await bench().now());
    await bench().advance(agent, wait - 700);
    expect(await released(store(), agent, rowsOf("c"))).toBe(0);
    await bench().advance(agent, 701);
    expect(await released(store(), agent, rowsOf("c"))).toBe(1);
    expect(await released(store(), agent, rowsOf("d"))).toBe(0);
  });

  test("reading a person again keeps them counted for a whole window more", async () => {
    const agent = account(people("15s", 1));
    await released(store(), agent, rowsOf("a"));
    await bench().advance(agent, 10_000);
    await released(store(), agent, rowsOf("a"));
    await bench().advance(agent, 10_000);
    expect(await released(store(), agent, rowsOf("b"))).toBe(0);
    await bench().advance(agent, 10_000);
    expect(await released(store(), agent, rowsOf("b"))).toBe(1);
  });

  test("a person inside the long window still costs one in the short window that they have left", async () => {
    const agent = account(people("15s", 1), people("1h", 2));
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    await bench().advance(agent, 20_000);
    expect(await released(store(), agent, rowsOf("b"))).toBe(1);
    expect(await store().charge(agent, rowsOf("a"))).toMatchObject({ rows: 0, window: agent.windows[0] });
    await bench().advance(agent, 20_000);
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
  });

  test("users, and databases of one user, do not share a budget", async () => {
    const anna = account(people("1d", 1));
    const ben = { ...anna, user: `${anna.user}'s neighbour` };
    const elsewhere = { ...anna, database: "archive" };
    for (const each of [anna, ben, elsewhere]) {
      expect(await released(store(), each, rowsOf("a"))).toBe(1);
      expect(await released(store(), each, rowsOf("b"))).toBe(0);
    }
  });

  test("a budget made smaller lets nobody new in, and those counted stay readable", async () => {
    const agent = account(people("1d", 10));
    await released(store(), agent, rowsOf(...range(0, 10)));
    const less: Account = { ...agent, windows: [people("1d", 4)] };
    expect(await released(store(), less, rowsOf(...range(0, 10)))).toBe(10);
    expect(await store().charge(less, rowsOf("new"))).toMatchObject({ rows: 0, used: 10 });
  });

  test("a user's role with a short memory does not wipe out what their other role counts", async () => {
    const office = account(people("1d", 3));
    const travelling = { ...office, windows: [people("15s", 100)] };
    await released(store(), office, rowsOf("a", "b"));
    await bench().advance(office, 60_000);
    await released(store(), travelling, rowsOf("c"));
    expect(await released(store(), office, rowsOf("d"))).toBe(0);
  });

  test("a rows window that an edit of the policy makes longer knows what was read before", async () => {
    const agent = account(rows("1h", 100));
    await released(store(), agent, plainRows(90));
    const longer = { ...agent, windows: [rows("2d", 100)] };
    expect(await released(store(), longer, plainRows(20))).toBe(10);
  });

  test("a budget of nobody shows nobody", async () => {
    const agent = account(people("1d", 0));
    expect(await store().charge(agent, rowsOf("a"))).toMatchObject({ kind: "part", rows: 0, used: 0 });
    expect(await released(store(), agent, rowsOf(""))).toBe(1);
  });

  test("accounts of one role share the role's budget, whoever reads", async () => {
    const [anna, ben, cleo] = colleagues([people("1d", 10), ofRole(people("1d", 5))]);
    expect(await released(store(), anna, rowsOf("a", "b", "c"))).toBe(3);
    // Whom a colleague has read costs the role nothing more.
    expect(await released(store(), ben, rowsOf("a", "d"))).toBe(2);
    expect(await store().charge(cleo, rowsOf("e", "f"))).toMatchObject({
      kind: "part",
      rows: 1,
      used: 5,
      window: { scope: "role", limit: 5 },
    });
    const lead = { ...cleo, role: "lead" };
    expect(await released(store(), lead, rowsOf("f"))).toBe(1);
  });

  test("users who come from one address share its budget", async () => {
    const windows = [ofAddress(people("1d", 2))];
    const [anna, ben] = colleagues(windows);
    expect(await released(store(), anna, rowsOf("a", "b"))).toBe(2);
    expect(await released(store(), ben, rowsOf("c"))).toBe(0);
    expect(await released(store(), { ...ben, address: "10.9.9.9" }, rowsOf("c"))).toBe(1);
  });

  test("what one scope stops is counted in none", async () => {
    const [anna, ben] = colleagues([people("1d", 3), ofRole(people("1d", 3)), ofRole(rows("1d", 100))]);
    expect(await released(store(), anna, rowsOf("a", "b"))).toBe(2);
    expect(await released(store(), ben, rowsOf("c", "d", "e"))).toBe(1);
    const uses = await store().usage?.(ben);
    expect(uses?.map(({ window, used }) => [window.scope ?? "user", window.what, used])).toEqual([
      ["user", "people", 1],
      ["role", "people", 3],
      ["role", "rows", 3],
    ]);
  });

  test("bytes are counted by the size of each row, and rows of unknown size do not leave", async () => {
    const agent = account(bytes("1h", 1_000));
    expect(await released(store(), agent, { ...plainRows(3), bytes: [400, 500, 200] })).toBe(2);
    expect(await store().charge(agent, { ...plainRows(2), bytes: [100, 1] })).toMatchObject({
      kind: "part",
      rows: 1,
      used: 1_000,
    });
    expect(await store().charge(agent, plainRows(1))).toEqual({ kind: "unreachable" });
  });

  test("who was read for one and is then read for five counts for five, and that never twice", async () => {
    const agent = account(people("1d", 7));
    const dear = (...identities: string[]): Batch => ({ ...rowsOf(...identities), cost: 5 });
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    expect(await released(store(), agent, dear("a", "a"))).toBe(2);
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    expect(await store().charge(agent, dear("b"))).toMatchObject({ kind: "part", rows: 0, used: 5 });
    expect(await released(store(), agent, rowsOf("c", "d"))).toBe(2);
    expect(await store().charge(agent, rowsOf("e"))).toMatchObject({ kind: "part", rows: 0, used: 7 });
  });

  test("when the dear read has left the window, and a cheap one lies within it, the person counts for one", async () => {
    const agent = account(people("15s", 5));
    expect(await released(store(), agent, { ...rowsOf("a"), cost: 5 })).toBe(1);
    await bench().advance(agent, 10_000);
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    expect(await released(store(), agent, rowsOf("b"))).toBe(0);
    await bench().advance(agent, 8_000);
    expect(await released(store(), agent, rowsOf("b", "c", "d", "e"))).toBe(4);
    expect(await released(store(), agent, rowsOf("f"))).toBe(0);
  });

  test("unknown people cost as much as known ones", async () => {
    const agent = account(people("1d", 11));
    expect(await store().charge(agent, { ...plainRows(3, 1), cost: 5 })).toMatchObject({ rows: 2, used: 10 });
  });

  test("lookups are counted apart from rows", async () => {
    const agent = account(rows("1h", 2), lookups("1h", 3));
    const lookUp = (count: number): Batch => ({ ...plainRows(count), counts: "lookups" });
    expect(await released(store(), agent, lookUp(2))).toBe(2);
    expect(await released(store(), agent, plainRows(2))).toBe(2);
    expect(await store().charge(agent, lookUp(2))).toMatchObject({ rows: 1, window: { what: "lookups" } });
    expect(await released(store(), agent, plainRows(1))).toBe(0);
  });

  const priced = (...units: number[]): Batch => ({ ...plainRows(units.length), counts: "price", units });

  test("fractions of a person add up, and are refused where the person has no room", async () => {
    const agent = account(people("1d", 2));
    // 200 + 100 are a person and 44 units; 255 more would make a second and begin a third.
    expect(await released(store(), agent, priced(200))).toBe(1);
    expect(await released(store(), agent, priced(100))).toBe(1);
    expect(await released(store(), agent, priced(500))).toBe(0);
    expect(await released(store(), agent, priced(200))).toBe(1);
    // A fraction takes nobody's place: the second person still fits, and then nothing does.
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
    expect(await store().charge(agent, priced(1))).toMatchObject({ kind: "part", rows: 0, used: 2 });
    expect(await released(store(), agent, rowsOf("a"))).toBe(1);
  });

  test("units of rows are counted row by row, in every scope, beside the people in them", async () => {
    const [anna, ben] = colleagues([people("1d", 9), ofRole(people("1d", 3))]);
    const batch: Batch = { ...rowsOf("a", "b"), units: [256, 256] };
    expect(await released(store(), anna, batch)).toBe(1);
    expect(await released(store(), ben, { ...rowsOf("a"), units: [0] })).toBe(1);
    expect(await store().charge(ben, { ...rowsOf("a"), units: [512] })).toMatchObject({
      rows: 0,
      used: 2,
      window: { scope: "role" },
    });
  });

  test("any prices add up to what a sum says", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 30 }), async (prices) => {
        const agent = account(people("1d", 8));
        let spent = 0;
        for (const units of prices) {
          const fits = Math.ceil((spent + units) / 256) <= 8;
          if (fits) spent += units;
          expect(await released(store(), agent, priced(units))).toBe(fits ? 1 : 0);
        }
        const [use] = (await store().usage?.(agent)) ?? [];
        expect([use?.used, use?.fraction ?? 0]).toEqual([Math.floor(spent / 256), spent % 256]);
      }),
      { numRuns: 40 },
    );
  });

  test("changes are counted apart from rows and lookups", async () => {
    const changes = { ...rows("1h", 3), what: "changes" } as const;
    const agent = account(rows("1h", 1), changes);
    const changed = (count: number): Batch => ({ ...plainRows(count), counts: "changes" });
    expect(await released(store(), agent, changed(2))).toBe(2);
    expect(await released(store(), agent, plainRows(1))).toBe(1);
    expect(await store().charge(agent, changed(2))).toMatchObject({ rows: 1, window: { what: "changes" } });
  });

  test("what is counted together is counted whole or not at all", async () => {
    const agent = account({ ...rows("1h", 1000), what: "changes" });
    const changed = (amount: number): Batch => ({ ...plainRows(1), counts: "changes", amount });
    expect(await released(store(), agent, changed(600))).toBe(1);
    expect(await store().charge(agent, changed(401))).toMatchObject({ kind: "part", rows: 0, used: 600 });
    expect(await released(store(), agent, changed(400))).toBe(1);
    expect(await released(store(), agent, changed(1))).toBe(0);
  });

  test("a window that is used up to four fifths is told of, and no other", async () => {
    const agent = account(people("1h", 5), people("1d", 100));
    expect(await store().charge(agent, rowsOf(...range(0, 3)))).toEqual({ kind: "all" });
    expect(await store().charge(agent, rowsOf("x"))).toEqual({
      kind: "all",
      near: [{ window: agent.windows[0], used: 4 }],
    });
  });

  test("any sequence of reads is granted as a naive count of everything would grant it", async () => {
    await fc.assert(
      fc.asyncProperty(histories, async ({ windows, steps }) => {
        const agent = account(...windows);
        const oracle = new Oracle(agent.windows);
        for (const { wait, batch } of steps) {
          await bench().advance(agent, wait);
          const expected = oracle.charge(wait, batch);
          const grant = await store().charge(agent, batch);
          expect(
            grant.kind === "part"
              ? { rows: grant.rows, used: grant.used, window: grant.window }
              : { kind: grant.kind },
          ).toEqual(expected);
        }
      }),
      { numRuns: 60 },
    );
  });
}

/**
 * Waits of whole seconds and windows that end (with their grace of 1.5 s) on half ones: the milliseconds
 * that pass on a real server's clock cannot change a verdict.
 */
const histories = fc.record({
  windows: fc.constantFrom(
    [people("15s", 3)],
    [people("15s", 3), people("40s", 5)],
    [people("15s", 2), people("25s", 4), people("90s", 7)],
    [people("15s", 4), rows("30d", 12)],
  ),
  steps: fc.array(
    fc.record({
      wait: fc.constantFrom(0, 0, 1_000, 3_000, 7_000, 12_000, 20_000),
      batch: fc.integer({ min: 1, max: 3 }).chain((width) =>
        fc
          .record({
            namespaces: fc.constant(["customers", "employees", "customers"].slice(0, width)),
            unknownPerRow: fc.constantFrom(0, 0, 0, 1),
            cost: fc.constantFrom(1, 1, 1, 2, 3),
            rows: fc.constant(0),
            people: fc
              .array(
                fc.array(fc.constantFrom("", "a", "b", "c", "d", "e", "f"), {
                  minLength: width,
                  maxLength: width,
                }),
                {
                  minLength: 1,
                  maxLength: 6,
                },
              )
              .map((list) => list.flat()),
          })
          .map((batch): Batch => ({ ...batch, rows: batch.people.length / width })),
      ),
    }),
    { minLength: 1, maxLength: 12 },
  ),
});
