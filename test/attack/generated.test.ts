import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SupportUser } from "../harness/postgres.ts";
import type { Judged } from "../sql/judged.ts";
import { selects, writes } from "./grammar.ts";
import { filteredWorlds, protectedWorlds, received, type Worlds } from "./worlds.ts";

/** More by hand: SLUICE_ATTACK_RUNS=20000 SLUICE_ATTACK_SEED=5. */
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2019);
const runs = (usual: number): number => Number(process.env.SLUICE_ATTACK_RUNS ?? usual / 2);
const TIME = Number(process.env.SLUICE_ATTACK_RUNS ?? 0) > 0 ? 3_600_000 : 60_000;

let worlds: Worlds;
let filtered: Worlds;
beforeAll(async () => {
  [worlds, filtered] = await Promise.all([protectedWorlds(), filteredWorlds()]);
  for (const judged of [worlds.first, worlds.second, filtered.first, filtered.second])
    for (const user of ["cleo", "ben", "anna"] as const)
      await judged.run(user, "SET statement_timeout = '2s'");
});
afterAll(async () => {
  await worlds.close();
  await filtered.close();
});

async function sameInBoth({ first, second }: Worlds, user: SupportUser, sql: string): Promise<string> {
  const [one, two] = await Promise.all([received(first, user, [sql]), received(second, user, [sql])]);
  // Which of them takes too long tells of the machine.
  if (`${one}${two}`.includes("57014")) return "timed out";
  expect(two, `${sql}\n${text(first, user, sql)}`).toEqual(one);
  return one[0] ?? "";
}

function text(judged: Judged, user: SupportUser, sql: string): string {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "rewrite" ? verdict.sql.toString() : verdict.kind;
}

async function tryAll(
  statements: fc.Arbitrary<string>,
  usual: number,
  attempt: (sql: string) => Promise<string>,
): Promise<number> {
  let succeeded = 0;
  const numRuns = runs(usual);
  await fc.assert(
    fc.asyncProperty(statements, async (sql) => {
      if ((await attempt(sql)).startsWith("[[")) succeeded++;
    }),
    { seed: SEED, numRuns },
  );
  return succeeded / numRuns;
}

test("no generated SELECT tells worlds apart that differ in protected values", {
  timeout: TIME,
}, async () => {
  const share = await tryAll(selects, 500, (sql) => sameInBoth(worlds, "cleo", sql));
  expect(share).toBeGreaterThan(0.4);
});

test("no generated write tells such worlds apart", { timeout: TIME }, async () => {
  const share = await tryAll(writes, 500, (sql) => sameInBoth(worlds, "cleo", sql));
  expect(share).toBeGreaterThan(0.1);
});

test("nor any statement of a role that finds by exact value, where nothing has the value", {
  timeout: TIME,
}, async () => {
  await tryAll(fc.oneof(selects, writes), 300, (sql) => sameInBoth(worlds, "anna", sql));
});

test("no generated statement tells worlds apart that differ in rows behind a filter", {
  timeout: TIME,
}, async () => {
  await tryAll(fc.oneof(selects, writes), 300, (sql) => sameInBoth(filtered, "ben", sql));
});
