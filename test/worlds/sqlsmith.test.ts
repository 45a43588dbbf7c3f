import { afterAll, beforeAll, expect, test } from "vitest";
import { hideRefused, smithed, sqlsmith } from "../attack/sqlsmith.ts";
import { POLICY, ROLES } from "./policy.ts";
import { tryStatements } from "./statements.ts";
import { lineOf, tellsTooMuch } from "./trial.ts";
import { openWorlds, type Worlds } from "./worlds.ts";

/**
 * The statements that sqlsmith generates from the catalog distinguish no more worlds than was paid for. Only run by
 * hand (SLUICE_WORLDS_RUNS=10000): one in a hundred of its statements returns a row about a person.
 */
const RUNS = Number(process.env.SLUICE_WORLDS_RUNS ?? 0);
const isTried = sqlsmith !== undefined && RUNS > 0;
const SEED = process.env.SLUICE_SQLSMITH_SEED ?? "2019";

let worlds: Worlds;
beforeAll(async () => {
  if (!isTried) return;
  worlds = await openWorlds({ policy: POLICY, roles: ROLES, count: 8, prepare: hideRefused });
});
afterAll(() => worlds?.close());

test.runIf(isTried)(
  "of a role that sees all some answers tell worlds apart: the trial can fail",
  { timeout: 60_000 + RUNS * 2_000 },
  async () => {
    const { port } = worlds.server;
    const statements = await smithed(`host=127.0.0.1 port=${port} user=anna dbname=world_0`, RUNS, SEED);
    // Most of the statements that it generates have no rows.
    expect((await tryStatements(worlds, "open", statements, 0)).differing).toBeGreaterThan(0);
  },
);

test.runIf(isTried).each(["agent", "unlimited"] as const)(
  "%s: no statement of sqlsmith's tells more than was paid for",
  { timeout: 60_000 + RUNS * 2_000 },
  async (role) => {
    const { port } = worlds.server;
    const statements = await smithed(`host=127.0.0.1 port=${port} user=anna dbname=world_0`, RUNS, SEED);
    expect(statements.length).toBeGreaterThan(RUNS / 2);
    const { trials, differing } = await tryStatements(worlds, role, statements);
    if (process.env.SLUICE_WORLDS_REPORT !== undefined)
      console.log(`${role}: ${trials.length} tried, ${differing} differ`);
    expect(trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
  },
);
