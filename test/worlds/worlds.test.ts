import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Attack, CATALOGS, FINDER, INFERENCE, READS, ROWS, WRITES } from "../attack/cases.ts";
import { selects, writes } from "../attack/grammar.ts";
import { LACKING_SETUP } from "../attack/lacking.ts";
import { COLUMNS, ERRORS, formsOf, MADE, PLACES, SESSIONS } from "../attack/more-cases.ts";
import { CHANNELS } from "./channels.ts";
import { POLICY, ROLES, type RoleName } from "./policy.ts";
import { SEPARATOR, tryStatements } from "./statements.ts";
import { lineOf, tellsTooMuch, tryChannels } from "./trial.ts";
import { openWorlds, type Worlds } from "./worlds.ts";
import { WRITTEN } from "./written-channels.ts";

/**
 * "Nothing is learned that is not counted" (docs/security.md): whatever a counted user sends, the answers distinguish
 * no more worlds than 32 bits for each person charged. Tested with every known way past the meter, with the attacks on
 * masks, and with statements from a grammar.
 *
 * More by hand: SLUICE_WORLDS_RUNS=100000 SLUICE_ATTACK_SEED=5. What each channel revealed: SLUICE_WORLDS_REPORT=1.
 */

const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2019);
const RUNS = process.env.SLUICE_WORLDS_RUNS;
const REPORTS = process.env.SLUICE_WORLDS_REPORT !== undefined;
const timeout = RUNS === undefined ? 180_000 : 36_000_000;

/** Relations of which readers may not read some columns: statements from the grammar name them. */
const prepare = async (client: pg.Client): Promise<void> => {
  await client.query(
    LACKING_SETUP.replaceAll("anna, ben, cleo;", "PUBLIC;").replaceAll("PUBLIC, PUBLIC", "PUBLIC"),
  );
};

const ALL = [...CHANNELS, ...WRITTEN];

let worlds: Worlds;
beforeAll(async () => {
  worlds = await openWorlds({ policy: POLICY, roles: ROLES, count: 56, prepare });
});
afterAll(() => worlds?.close());

test("no channel reveals more than was paid for", { timeout }, async () => {
  const trials = await tryChannels(worlds, ALL);
  if (REPORTS) console.log(trials.map(lineOf).join("\n"));
  expect(trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
});

describe.each([
  ["agent", 1_000],
  ["lead", 1_000],
] as const)("%s", (role, usual) => {
  test("no generated SELECT reveals more than was paid for", { timeout }, async () => {
    const tried = await generated(role, selects, usual);
    expect(tried.differing / tried.trials.length).toBeGreaterThan(0.05);
    expect(tried.trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
  });

  test("no generated write reveals more than was paid for", { timeout }, async () => {
    const { trials } = await generated(role, writes, usual / 2);
    expect(trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
  });
});

async function generated(role: RoleName, statements: fc.Arbitrary<string>, usual: number) {
  const made = fc.sample(statements, { numRuns: Number(RUNS ?? usual), seed: SEED });
  const tried = await tryStatements(worlds, role, made, RUNS === undefined ? 20 : Number.POSITIVE_INFINITY);
  if (REPORTS) console.log(`${role}: ${made.length} made, ${tried.differing} differ, ${tried.again} again`);
  return tried;
}

const FORMS = COLUMNS.flatMap(([relation, column]) => formsOf(relation, column));

const SUITE: readonly (readonly [role: RoleName, name: string, attacks: readonly Attack[]])[] = [
  ["agent", "relations by another name, whole rows", [...READS, ...ROWS]],
  ["lead", "relations by another name, whole rows", [...READS, ...ROWS]],
  ["agent", "inference", INFERENCE],
  ["lead", "inference", INFERENCE],
  ["agent", "catalogs and places", [...CATALOGS, ...PLACES]],
  ["agent", "writes and lookups", [...WRITES, ...FINDER]],
  ["agent", "things made, sessions, errors", [...MADE, ...SESSIONS, ...ERRORS]],
  ["lead", "errors", ERRORS],
  ["agent", "forms of columns", FORMS.filter((_, index) => index % 6 === 0)],
];

/** Process numbers, memory and times always differ. */
const isStill = (sql: string): boolean =>
  !/pg_stat_activity|pg_prepared_statements|pg_backend_memory|pg_stat_ssl|pg_stat_gssapi|pg_cursors/.test(
    sql,
  );

test.each(SUITE)(
  "%s, %s: no attack reveals more than was paid for",
  { timeout },
  async (role, _, attacks) => {
    const statements = attacks.map((attack) => [attack].flat().join(SEPARATOR)).filter(isStill);
    const { trials } = await tryStatements(worlds, role, statements, 10);
    expect(trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
  },
);

// Last: what it leaves behind (for example sequences) differs between worlds.
test("without a meter the harness finds every channel: the trial can fail", { timeout }, async () => {
  const trials = await tryChannels(worlds, ALL, { role: "open", mostSteps: 1, count: 12 });
  const missed = trials.filter((trial) => !tellsTooMuch(trial));
  expect(missed.map(lineOf)).toEqual([]);
});

test("it reads planted bits out of most channels: there are enough worlds for that", {
  timeout,
}, async () => {
  const some = ALL.filter((_, index) => index % 4 === 0);
  const trials = await tryChannels(worlds, some, { role: "open", mostSteps: 1 });
  if (REPORTS) console.log(trials.map(lineOf).join("\n"));
  expect(trials.filter(({ told }) => told > 0).length / trials.length).toBeGreaterThan(0.5);
  expect(Math.max(...trials.map(({ told }) => told))).toBeGreaterThan(64);
});
