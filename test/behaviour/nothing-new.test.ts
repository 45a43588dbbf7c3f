import fc from "fast-check";
import { expect, test } from "vitest";
import { peersOf } from "../../proxy/behaviour/peers.ts";
import { newProfile, type Reading, tellsNothing } from "../../proxy/behaviour/profile.ts";
import { observe } from "../../proxy/behaviour/rules.ts";

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 5, 9);
const NOBODY = peersOf([], new Map());

const reading: fc.Arbitrary<Reading & { readonly wait: number }> = fc
  .record({
    wait: fc.constantFrom(0, 1_000, 1_000, HOUR, 24 * HOUR),
    subjects: fc.array(fc.constantFrom("ann", "ben", "cem", "dot"), { maxLength: 3 }),
    unknown: fc.constantFrom(0, 0, 0, 1),
    client: fc.constantFrom("10.0.0.1", "10.0.0.2", "192.168.7.1"),
    lookups: fc.constantFrom(0, 0, 0, 1),
    decision: fc.constantFrom<Reading["decision"]>("allow", "allow", "mask", "refuse", "cut"),
  })
  .map(({ subjects, unknown, decision, ...rest }) => ({
    ...rest,
    ...{ decision, subjects, people: subjects.length + unknown, time: 0 },
    ...(decision === "refuse" && { sqlstate: "42501" }),
    ...(decision === "cut" && { sqlstate: "53400" }),
  }));

test("what tells nothing new would have changed nothing, and no rule would have seen anything in it", () => {
  let skipped = 0;
  fc.assert(
    fc.property(fc.array(reading, { minLength: 5, maxLength: 60 }), (readings) => {
      const profile = newProfile();
      let time = START;
      for (const { wait, ...event } of readings) {
        time += wait;
        const now = { ...event, time };
        const isNothing = tellsNothing(profile, now);
        const before = structuredClone(profile);
        const seen = observe(profile, now, NOBODY, undefined);
        if (!isNothing) continue;
        skipped++;
        expect(seen).toEqual([]);
        expect(profile).toEqual(before);
      }
    }),
    { numRuns: 300 },
  );
  expect(skipped).toBeGreaterThan(100);
});
