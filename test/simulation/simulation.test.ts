import { expect, test } from "vitest";
import { simulate } from "../../bench/simulation/simulate.ts";
import { THIEVES } from "../../bench/simulation/thieves.ts";
import { loadPolicies } from "../../proxy/policy-files/load.ts";
import { launchRedis } from "../harness/redis-process.ts";

/** A small organisation: what docs/simulation.md reports of the whole one. */
const NAMES = ["dump", "stubborn dump", "750 a day", "200 a day", "ten at 75", "ten at 75, tickets"];

test("the guard stops thieves within hundreds, and honest agents do not notice it", async () => {
  const loaded = await loadPolicies("bench/simulation/policy.yaml");
  if (!loaded.ok) throw new Error("the policy is not good");
  const redis = await launchRedis({});
  const { thieves, honest } = await simulate({
    redis: redis.url,
    roles: loaded.policies.forDatabase("support").roles,
    ...{ seed: 42, agents: 50, days: 47, portions: 10, profiles: "one" },
    thieves: THIEVES.filter(({ name }) => NAMES.includes(name)),
  });
  await redis.stop();
  const lost = Object.fromEntries(thieves.map((fate) => [fate.thief, fate.lost]));
  expect(Object.keys(lost)).toEqual(NAMES);
  const rowLimit = 100;
  expect(lost.dump).toBeLessThanOrEqual(rowLimit);
  expect(lost["stubborn dump"]).toBeLessThanOrEqual(rowLimit);
  expect(lost["750 a day"]).toBeLessThan(1_000);
  expect(lost["ten at 75"]).toBeLessThan(3_000);
  expect(lost["ten at 75, tickets"]).toBeLessThan(3_000);
  expect(thieves.find(({ thief }) => thief === "200 a day")?.alertedAfter).toBeLessThan(7 * 24);
  // Of the rules by which budgets shrink (who forgets a condition twice is rightly told of); less than one in a hundred agent-months is the aim, and these are eighty.
  const shrinking = ["new_people", "together", "purpose"];
  expect(honest.falseAlerts.filter(({ rule }) => shrinking.includes(rule)).slice(1)).toEqual([]);
  // An agent who has forgotten a condition twice has used up their hour; no other is stopped, but for one busy day.
  expect(honest.blocked - honest.blockedAsTightened).toBeLessThanOrEqual(3);
  expect(honest.suspended).toBe(0);
}, 120_000);
