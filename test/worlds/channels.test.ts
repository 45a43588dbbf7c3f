import { afterAll, beforeAll, expect, test } from "vitest";
import { CHANNELS } from "./channels.ts";
import { POLICY, ROLES } from "./policy.ts";
import { lineOf, tellsTooMuch, tryChannels } from "./trial.ts";
import { openWorlds, type Worlds } from "./worlds.ts";

/**
 * "Nothing is learned that is not counted" (docs/security.md), tried on every way past the meter that is known. The
 * answers to each step must not tell more worlds apart than 32 bits for each person charged.
 */

let worlds: Worlds;
beforeAll(async () => {
  worlds = await openWorlds({ policy: POLICY, roles: ROLES, count: 64 });
});
afterAll(() => worlds?.close());

test("no channel tells more than was paid for", { timeout: 180_000 }, async () => {
  const trials = await tryChannels(worlds, CHANNELS);
  if (process.env.SLUICE_WORLDS_REPORT !== undefined) console.log(trials.map(lineOf).join("\n"));
  expect(trials.filter(tellsTooMuch).map(lineOf)).toEqual([]);
});

// Last: what it leaves behind (sequences, say) differs between worlds.
test("without a meter the harness finds every channel: the trial can fail", {
  timeout: 120_000,
}, async () => {
  const trials = await tryChannels(worlds, CHANNELS, () => "open", 1);
  const missed = trials.filter((trial) => !tellsTooMuch(trial));
  expect(missed.map(lineOf)).toEqual([]);
});
