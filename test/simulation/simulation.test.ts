import { expect, test } from "vitest";
import { simulate } from "../../bench/simulation/simulate.ts";
import { THIEVES } from "../../bench/simulation/thieves.ts";
import { loadPolicies } from "../../proxy/policy/load.ts";
import { loadParser } from "../../proxy/sql/parse.ts";
import { launchRedis } from "../harness/redis-process.ts";

/** A small organisation: what docs/simulation.md reports of the whole one. */
const NAMES = ["dump", "stubborn dump", "750 a day", "200 a day", "ten at 75", "ten at 75, tickets"];

test("the guard stops thieves within hundreds, and honest agents do not notice it", async () => {
  await loadParser();
  const loaded = await loadPolicies("bench/simulation/policy.yaml");
  if (!loaded.ok) throw new Error("the policy is not good");
  const redis = await launchRedis({});
  const { thieves, honest } = await simulate({
    redis: redis.url,
    roles: loaded.policies.forDatabase("support").roles,
    ...{ seed: 42, agents: 50, days: 47, portions: 16, profiles: "one" },
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
  // What else is rare is no figure in so short a time: one hotel, one condition forgotten twice.
  const budgetsHang = ["new_people", "together", "purpose", "sequence"];
  expect(honest.falseAlerts.filter(({ rule }) => budgetsHang.includes(rule))).toEqual([]);
  // One of a thousand agent-days is the aim; in these sixteen hundred chance alone makes three.
  expect(honest.blocked).toBeLessThanOrEqual(3);
  expect(honest.suspended).toBe(0);
}, 120_000);
