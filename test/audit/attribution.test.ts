import { describe, expect, test } from "vitest";
import { openHouse } from "../../bench/simulation/leaks/house.ts";
import { type Outside, tryOutside, tryTheft } from "../../bench/simulation/leaks/trials.ts";
import { Random } from "../../bench/simulation/random.ts";
import { attribute } from "../../proxy/audit/attribution/attribute.ts";
import { type Cell, exactTail, expectedOf } from "../../proxy/audit/attribution/exact-test.ts";
import type { Compared } from "../../proxy/audit/attribution/who-read-whom.ts";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** The first `leaked` of `size` people leaked. */
function compared(leaked: number, size: number): Compared {
  return { stratum: range(0, size).map(() => 0), leaked: range(0, size).map((person) => person < leaked) };
}

/** Counts all ways in which the leaked may lie among the people of the cells. */
function byCounting(cells: readonly Cell[]): number {
  const both = cells.reduce((sum, cell) => sum + cell.both, 0);
  let tails: { readonly ways: number; readonly found: number }[] = [{ ways: 1, found: 0 }];
  let all = 1;
  for (const { size, leaked, read } of cells) {
    all *= choose(size, leaked);
    tails = tails.flatMap(({ ways, found }) =>
      range(0, leaked + 1).map((k) => ({
        ways: ways * choose(read, k) * choose(size - read, leaked - k),
        found: found + k,
      })),
    );
  }
  return tails.reduce((sum, { ways, found }) => sum + (found >= both ? ways : 0), 0) / all;
}

function choose(of: number, some: number): number {
  let ways = some > of ? 0 : 1;
  for (let i = 0; i < some; i++) ways = (ways * (of - i)) / (i + 1);
  return ways;
}

describe("the exact test", () => {
  test.each([
    [[{ size: 20, leaked: 5, read: 8, both: 4 }]],
    [[{ size: 12, leaked: 4, read: 3, both: 3 }]],
    [
      [
        { size: 10, leaked: 3, read: 4, both: 2 },
        { size: 15, leaked: 2, read: 5, both: 1 },
        { size: 7, leaked: 1, read: 6, both: 1 },
      ],
    ],
    [[{ size: 9, leaked: 0, read: 4, both: 0 }]],
  ])("is what counting all cases gives: %j", (cells) => {
    const { p, least } = exactTail(cells);
    expect(p).toBeCloseTo(byCounting(cells), 12);
    const most = cells.map((cell) => ({ ...cell, both: Math.min(cell.leaked, cell.read) }));
    expect(least).toBeCloseTo(byCounting(most), 12);
  });

  test("says what chance would give", () => {
    expect(expectedOf([{ size: 100, leaked: 10, read: 20, both: 9 }])).toBeCloseTo(2);
  });
});

describe("of users who read the same people", () => {
  test("neither is acquitted because of the other: one is named, and it is said that it may be the other", () => {
    const both = range(0, 20);
    const found = attribute(
      compared(10, 5_000),
      new Map([
        ["anna", both],
        ["ben", both],
        ...range(1, 30).map((i) => [`agent${i}`, range(100 * i, 100 * i + 100)] as const),
      ]),
    );
    expect(found.sources).toMatchObject([{ user: "anna", or: ["ben"] }]);
  });

  test("who is not needed to explain the list is not named beside those who are", () => {
    const leaked = range(0, 60);
    const found = attribute(
      compared(60, 20_000),
      new Map([
        ["thief", leaked.slice(0, 30)],
        ["partner", leaked.slice(30)],
        // Looks after customers of both.
        ["lead", leaked.filter((person) => person % 6 === 0)],
        ...range(0, 40).map((i) => [`agent${i}`, range(60 + 300 * i, 60 + 300 * i + 300)] as const),
      ]),
    );
    expect(found.sources.map(({ user, alone }) => [user, alone])).toEqual([
      ["partner", 30],
      ["thief", 30],
    ]);
  });
});

// The large run is bench/simulation/leaks/run.ts, and its figures stand in docs/audit.md.
describe("in a house of 120 agents with queues of 3 to 30,", () => {
  const random = new Random(31_337);
  const house = openHouse(random, 120);

  test.each([
    { name: "one", accounts: 1, each: 68_000, leaked: 5 },
    { name: "one, stopped early", accounts: 1, each: 300, leaked: 5 },
    { name: "four", accounts: 4, each: 2_600, leaked: 25 },
  ])("the accounts of a theft are named, and nobody else: $name", (theft) => {
    const runs = range(0, 6).map(() => tryTheft(house, theft, 50_000, random));
    expect(runs.filter(({ innocent }) => innocent)).toEqual([]);
    expect(runs.filter(({ found }) => found === theft.accounts).length).toBeGreaterThanOrEqual(5);
  });

  test.each<Outside>(["customers of one queue", "customers of three queues", "whom a queue has read"])(
    "nobody is named where no account has taken them: %s",
    (kind) => {
      const named = range(0, 60).filter((i) =>
        tryOutside(house, kind, [5, 20, 100][i % 3] ?? 5, 50_000, random),
      );
      expect(named).toEqual([]);
    },
  );
});
