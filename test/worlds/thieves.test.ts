import { afterAll, beforeAll, expect, test } from "vitest";
import { type Desk, openDesk } from "./desk.ts";
import { BITS_PER_PERSON } from "./information.ts";
import { letSteal, THIEVES } from "./thieves.ts";

/** Programs that decode names behind the shipped policy: they get at most what they are charged for. */

let desk: Desk;
beforeAll(async () => {
  desk = await openDesk();
});
afterAll(() => desk?.close());

test.each(THIEVES.map((thief) => [thief.name, thief] as const))(
  "%s",
  { timeout: 120_000 },
  async (_, thief) => {
    const { bits, charged, statements } = await letSteal(desk, thief);
    if (process.env.SLUICE_WORLDS_REPORT !== undefined)
      console.log(
        `${thief.name}: ${Math.round(bits)} bits for ${charged} people in ${statements} statements`,
      );
    expect(bits).toBeLessThanOrEqual(BITS_PER_PERSON * charged);
  },
);

test.each(
  THIEVES.filter(({ isPatient }) => isPatient === undefined).map((thief) => [thief.name, thief] as const),
)("where nobody is counted %s would do: the trial can fail", { timeout: 120_000 }, async (_, thief) => {
  const { bits, charged } = await letSteal(desk, { ...thief, most: Math.min(20, thief.most ?? 20) }, "app");
  expect(charged).toBe(0);
  expect(bits).toBeGreaterThan(5);
});
