import { expect, test } from "vitest";
import { demandOf, hire, type Sip, workday } from "../../bench/simulation/organisation.ts";
import { Random } from "../../bench/simulation/random.ts";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { identify } from "../../proxy/audit/identify.ts";
import { readBy } from "../../proxy/audit/read-by.ts";
import { KEY, makeFolder, openLog, reading } from "./support.ts";

const NAMESPACE = "public.customers.id";
const EVER = { since: 0, until: Number.POSITIVE_INFINITY };

/** Two weeks of a small house, and a thief who takes 300 people a day beside. */
function twoWeeks(random: Random): readonly Sip[] {
  const staff = hire(random, 12);
  const [thief] = staff;
  const demand = demandOf(random);
  return demand
    .slice(0, 12)
    .flatMap((today, day) => [
      ...staff.flatMap((agent) => workday(agent, { day, demand: today, portions: 10 }, random)),
      ...(thief === undefined ? [] : [theft(thief.user, day, random)]),
    ]);
}

function theft(user: string, day: number, random: Random): Sip {
  const people = Array.from({ length: 300 }, () => random.whole(12_000_000));
  return {
    ...{ time: Date.UTC(2026, 0, 5 + day, 20), user, address: "10.0.0.1", people, lookups: 0 },
    ...{ purposeless: people.length, stolen: true, slip: false, instance: 0 },
  };
}

test("whom each user of a simulated house has read is exact: who, when first and last, and without which reason", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder, { segmentBytes: 400_000 });
  const sips = twoWeeks(new Random(1));
  const truth = new Map<string, Map<string, { first: number; last: number; unexplained: number }>>();
  for (const { user, time, people, purposeless } of sips) {
    const ids = [...new Set(people)].map(String);
    log.write(
      reading({
        ...{ user, time, people: ids.length, namespaces: [NAMESPACE] },
        unexplained: ids.map((_, i) => (i < purposeless ? "1" : "0")).join(""),
        subjects: ids.map((id) => log.hashSubject(NAMESPACE, id)),
        revealed: { shown: ["name"], shownWhere: [], found: [] },
      }),
    );
    const own = truth.get(user) ?? new Map();
    truth.set(user, own);
    for (const [i, id] of ids.entries()) {
      const known = own.get(id) ?? { first: time, last: time, unexplained: 0 };
      own.set(id, {
        first: Math.min(known.first, time),
        last: Math.max(known.last, time),
        unexplained: known.unexplained + (i < purposeless ? 1 : 0),
      });
    }
  }
  await log.close();
  const everybody = [...new Set(sips.flatMap(({ people }) => people))].map(String);
  const keys = [auditKeys(KEY)];
  expect(truth.size).toBeGreaterThan(10);
  for (const [user, own] of truth) {
    const question = { folder, period: EVER, keys, user, needs: ["name"], unexplainedOnly: false };
    const found = await readBy(question, async () => ({ namespace: NAMESPACE, tables: [] }));
    const people = await identify(found.people, [everybody], NAMESPACE, keys);
    const answer = new Map(
      people.map(({ id, first, last, unexplained }) => [id ?? "", { first, last, unexplained }] as const),
    );
    expect(answer).toEqual(own);
  }
});
