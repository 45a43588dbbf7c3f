import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Finding } from "../../proxy/behaviour/alert.ts";
import { Behaviour } from "../../proxy/behaviour/behaviour-watch.ts";
import { FileProfiles } from "../../proxy/behaviour/profile-file.ts";
import { SequenceWatch } from "../../proxy/behaviour/sequence.ts";
import { SharedProfiles } from "../../proxy/behaviour/shared-profiles.ts";
import { createLog } from "../../proxy/log.ts";
import type { Account } from "../../proxy/meter/meter.ts";
import { openSuspensions } from "../../proxy/orders/suspensions.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";

const DAY = 86_400_000;
const HOUR = 3_600_000;
/** A Monday. */
const START = Date.UTC(2026, 0, 5);
const SILENT = createLog({ level: "silent" });

/** A team of eight who read 40 to 54 people a day, from nine to five, for `days` days. */
async function team(rules = "") {
  const compiled = compilePolicies([
    {
      name: "p.yaml",
      text: `version: 1
roles:
  agent: { users: ["*"], budget: { 1d: 300 }${rules === "" ? "" : `, behaviour: ${rules}`} }
  app: { users: [app] }
`,
    },
  ]);
  if (!compiled.ok) throw new Error("the policy is not good");
  const { roles } = compiled.policies.forDatabase("support");
  const alerts: Finding[] = [];
  let time = START;
  const measures = await openSuspensions({ log: SILENT, now: () => time });
  const profiles = new SharedProfiles({
    backend: new FileProfiles({ onProblem: expect.fail }),
    ...{ writer: "proxy", log: SILENT, every: 0, now: () => time },
  });
  const behaviour = new Behaviour({
    profiles,
    role: (_, name) => roles.get(name),
    measures,
    onFinding: (alert) => alerts.push(alert),
    log: SILENT,
    newId: () => "id",
  });
  let person = 0;
  const see = async (user: string, at: number, fields: Partial<StatementEvent> = {}) => {
    time = at;
    behaviour.observe(event(user, at, fields));
    await behaviour.settled();
    await profiles.exchange();
  };
  /** One statement of each, before any proxy has told the others of them. */
  const atOnce = async (users: readonly string[], at: number, fields: Partial<StatementEvent>) => {
    time = at;
    for (const user of users) behaviour.observe(event(user, at, fields));
    await behaviour.settled();
  };
  /** So many people never read before, in eight statements over the day. */
  const work = async (
    user: string,
    day: number,
    count: number,
    fields: Partial<StatementEvent> = {},
    from = 9,
  ) => {
    for (let i = 0; i < 8; i++) {
      const share = Math.floor((count * (i + 1)) / 8) - Math.floor((count * i) / 8);
      const subjects = Array.from({ length: share }, () => `person ${person++}`);
      await see(user, START + day * DAY + (from + i) * HOUR, { subjects, people: share, ...fields });
    }
  };
  const past = async (days: number) => {
    for (let day = 0; day < days; day++) {
      if (day % 7 >= 5) continue;
      for (let n = 0; n < 8; n++) await work(`user${n}`, day, 40 + 2 * n + (day % 3));
    }
  };
  const rulesSeen = () => alerts.map(({ user, rule, action }) => `${user} ${rule} ${action}`);
  return { alerts, measures, behaviour, see, atOnce, work, past, rulesSeen };
}

function event(user: string, time: number, fields: Partial<StatementEvent>): StatementEvent {
  return {
    ...{
      kind: "statement",
      time,
      session: "s",
      user,
      role: "agent",
      database: "support",
      client: "10.2.1.9",
    },
    ...{ application: "", command: "SELECT", statement: "", relations: [], masked: [], lookups: 0 },
    ...{ decision: "mask", policy: "", rows: 0, bytes: 0, subjects: [], people: 0, duration: 0 },
    ...fields,
  };
}

test("a team that works as ever raises no alert, holidays and a busy day included", async () => {
  const { past, work, rulesSeen } = await team();
  await past(30);
  await work("user0", 30, 75);
  await work("user0", 45, 44);
  expect(rulesSeen()).toEqual([]);
});

test("a user who reads far more new people than they and their peers ever do is seen on the same day, once", async () => {
  const { past, work, rulesSeen, alerts } = await team();
  await past(28);
  await work("user3", 28, 200);
  expect(rulesSeen()).toEqual(["user3 new_people alert"]);
  expect(alerts[0]).toMatchObject({ database: "support", client: "10.2.1.9", role: "agent" });
  expect(alerts[0]?.figure).toBeLessThan(160);
});

const stopped = (sqlstate: string, from: number, people: number): Partial<StatementEvent> => ({
  ...{ decision: "cut", sqlstate, people },
  subjects: Array.from({ length: people }, (_, i) => `dumped ${from + i}`),
});
const MORNING = START + 9 * HOUR;

test("a dump is told of at its second attempt, from the first day on, whatever stopped it", async () => {
  for (const [first, second] of [
    ["54000", "54000"],
    ["53400", "54000"],
  ] as const) {
    const { see, alerts, rulesSeen } = await team();
    await see("new", MORNING, stopped(first, 0, 30));
    expect(rulesSeen()).toEqual([]);
    await see("new", MORNING + 60_000, stopped(second, 100, 30));
    await see("new", MORNING + 120_000, stopped(second, 200, 30));
    expect(rulesSeen()).toEqual(["new dump alert"]);
    expect(alerts[0]?.text).toContain("2 statements in one day");
    expect(alerts[0]?.text).not.toMatch(/\b(?:he|his|him)\b/);
  }
});

test("a dump goes on being one when a tightened budget stops it earlier", async () => {
  const { see, rulesSeen } = await team("{ purpose: tighten, dump: suspend }");
  await see("new", MORNING, { ...stopped("53400", 0, 30), purposeless: 30 });
  expect(rulesSeen()).toEqual([]);
  for (let i = 1; i <= 3; i++) {
    const subjects = Array.from({ length: 10 }, (_, n) => `stranger ${10 * i + n}`);
    await see("new", MORNING + i * 60_000, { subjects, people: 10, purposeless: 10 });
  }
  await see("new", MORNING + 240_000, { ...stopped("53400", 100, 12), purposeless: 12 });
  expect(rulesSeen()).toEqual(["new purpose tighten", "new dump suspend"]);
});

test("a slip that is made twice tightens, a dump that goes on and on suspends", async () => {
  const { see, rulesSeen } = await team("{ dump: tighten }");
  for (let i = 0; i < 3; i++)
    await see("new", MORNING + i * 60_000, stopped("53400", 100 * i, i < 2 ? 30 : 15));
  expect(rulesSeen()).toEqual(["new dump tighten"]);
  for (let i = 3; i < 6; i++) await see("new", MORNING + i * 60_000, stopped("53400", 100 * i, 15));
  expect(rulesSeen()).toEqual(["new dump tighten", "new dump suspend"]);
});

test("a user who repeats refused reads without a condition raises an alert", async () => {
  const { see, rulesSeen } = await team("{ dump: suspend }");
  for (let i = 0; i < 3; i++) await see("new", MORNING + i, { decision: "refuse", sqlstate: "54000" });
  expect(rulesSeen()).toEqual([]);
  await see("new", MORNING + 5, { decision: "refuse", sqlstate: "54000" });
  expect(rulesSeen()).toEqual(["new dump suspend"]);
});

test("a user who keeps reading without a ticket raises an alert, and one who reads the people of their work does not", async () => {
  const { work, rulesSeen } = await team();
  await work("ben", 0, 56, { purposeless: 3 });
  await work("cleo", 0, 56);
  await work("dan", 0, 24, { purposeless: 3 });
  expect(rulesSeen()).toEqual([]);
  await work("anna", 0, 56, { purposeless: 7 });
  expect(rulesSeen()).toEqual(["anna purpose alert"]);
});

test("a slip is no dump: one a day, the same one run again, or many rows of one person", async () => {
  const { see, rulesSeen } = await team();
  for (let day = 0; day < 5; day++) {
    const at = MORNING + day * DAY;
    await see("new", at, stopped("54000", day * 100, 30));
    await see("new", at + 1, stopped("54000", day * 100, 30));
    await see("new", at + 2, { ...stopped("54000", 9_000, 1), rows: 100 });
    // A used-up budget stops ordinary reads too.
    for (let i = 0; i < 8; i++) await see("new", at + 3 + i, stopped("53400", 9_000 + 20 * i, 2));
  }
  expect(rulesSeen()).toEqual([]);
});

test("who takes a little every day, never more than others on a busy day, is seen within two weeks", async () => {
  const { past, work, rulesSeen } = await team();
  await past(28);
  for (let day = 28; day < 42; day++) {
    if (day % 7 >= 5) continue;
    for (let n = 0; n < 8; n++) await work(`user${n}`, day, n === 3 ? 110 : 40 + 2 * n + (day % 3));
  }
  expect(new Set(rulesSeen())).toEqual(new Set(["user3 new_people alert"]));
});

test("reading the same people again is not reading new ones", async () => {
  const { past, see, work, rulesSeen } = await team();
  await past(28);
  await work("user3", 28, 40);
  const subjects = Array.from({ length: 40 }, (_, i) => `regular ${i}`);
  for (let i = 0; i < 20; i++) {
    await see("user3", START + 29 * DAY + 9 * HOUR + i * 60_000, { subjects, people: 40 });
  }
  expect(rulesSeen()).toEqual([]);
});

test("a thief does not make their own theft ordinary by going on", async () => {
  const { past, work, rulesSeen } = await team();
  await past(28);
  for (const day of [28, 29, 30, 31, 32, 35, 36, 37, 38, 39]) await work("user3", day, 200);
  expect(rulesSeen().filter((seen) => seen.startsWith("user3 new_people"))).toHaveLength(10);
});

test("a new hire is measured by their peers from the first day", async () => {
  const { past, work, rulesSeen } = await team();
  await past(28);
  await work("newcomer", 28, 60);
  expect(rulesSeen()).toEqual([]);
  await work("newcomer", 29, 200);
  expect(rulesSeen()).toEqual(["newcomer new_people alert"]);
});

test("a user without a past and without peers has only a budget", async () => {
  const { work, rulesSeen } = await team();
  await work("first of all", 0, 250);
  expect(rulesSeen()).toEqual([]);
});

test("people without a name in the event count as new", async () => {
  const { past, see, rulesSeen } = await team();
  await past(28);
  await see("user3", START + 28 * DAY + 10 * HOUR, { subjects: ["a"], people: 250 });
  expect(rulesSeen()).toEqual(["user3 new_people alert"]);
});

test("a reader by night is seen where nobody works by night", async () => {
  const { past, work, rulesSeen } = await team();
  await past(28);
  await work("user3", 28, 16, {}, 0);
  expect(rulesSeen()).toEqual(["user3 hours alert"]);
});

test("a network where nobody of the role came from is told of once; one that colleagues use is not", async () => {
  const { past, work, rulesSeen } = await team();
  await past(28);
  await work("user3", 28, 16, { client: "198.51.100.7" });
  await work("user3", 29, 16, { client: "198.51.100.99" });
  expect(rulesSeen()).toEqual(["user3 addresses alert"]);
  await work("user4", 30, 16, { client: "198.51.100.1" });
  expect(rulesSeen()).toHaveLength(1);
});

test("a VPN that moves is told of once, not for each who comes from there", async () => {
  const { past, atOnce, rulesSeen } = await team();
  await past(28);
  await atOnce(["user3", "user4", "user5"], START + 28 * DAY + 16 * HOUR, { client: "198.51.100.7" });
  expect(rulesSeen()).toEqual(["user3 addresses alert"]);
});

test("each who comes from there is dealt with where the policy says so", async () => {
  const { past, atOnce, rulesSeen } = await team("{ addresses: tighten }");
  await past(28);
  await atOnce(["user3", "user4"], START + 28 * DAY + 16 * HOUR, { client: "198.51.100.7" });
  expect(rulesSeen()).toEqual(["user3 addresses tighten", "user4 addresses tighten"]);
});

test("ten refusals in a row are told of, nine and one success are not", async () => {
  const { see, rulesSeen } = await team("{ dump: off }");
  const refuse = (user: string, i: number) =>
    see(user, START + i * 1000, { decision: "refuse", sqlstate: i % 2 === 0 ? "42501" : "54000" });
  for (let i = 0; i < 9; i++) await refuse("anna", i);
  await see("anna", START + 9_000);
  for (let i = 0; i < 9; i++) await refuse("anna", i);
  for (let i = 0; i < 30; i++) await see("ben", START + i, { decision: "refuse", sqlstate: "53400" });
  expect(rulesSeen()).toEqual([]);
  await refuse("anna", 9);
  expect(rulesSeen()).toEqual(["anna refusals alert"]);
});

test("many more lookups than anybody makes are told of", async () => {
  const { past, see, rulesSeen } = await team();
  await past(28);
  for (let i = 0; i < 80; i++) await see("user3", START + 28 * DAY + 9 * HOUR + i * 60_000, { lookups: 2 });
  expect(rulesSeen()).toEqual(["user3 lookups alert"]);
});

test("a tightened user who goes on is suspended on the third day, one who shrinks is not", async () => {
  const { past, see, work, rulesSeen, measures } = await team("{ new_people: tighten }");
  await past(28);
  await work("user3", 28, 200);
  await work("user4", 28, 200);
  expect(measures.tightened("user3")).toBeDefined();
  for (const day of [29, 30]) {
    expect(measures.isSuspended("user3")).toBeUndefined();
    await see("user3", START + day * DAY + 9 * HOUR, { decision: "cut", sqlstate: "53400" });
    await work("user4", day, 30);
  }
  expect(rulesSeen().at(-1)).toBe("user3 new_people suspend");
  expect(measures.isSuspended("user3")).toMatchObject({ by: "rule new_people" });
  expect(measures.isSuspended("user4")).toBeUndefined();
});

test("a thief whom a tightened budget does not stop is suspended on the third day", async () => {
  const { work, rulesSeen, measures } = await team("{ purpose: tighten }");
  const strangers = { purposeless: 7 };
  for (const day of [0, 1]) await work("anna", day, 56, strangers);
  expect(measures.isSuspended("anna")).toBeUndefined();
  await work("ben", 0, 56, strangers);
  for (const day of [1, 4]) await work("ben", day, 16, { purposeless: 2 });
  await work("anna", 2, 56, strangers);
  expect(
    rulesSeen()
      .filter((seen) => seen.startsWith("anna"))
      .at(-1),
  ).toBe("anna purpose suspend");
  expect(measures.isSuspended("anna")).toMatchObject({ by: "rule purpose" });
  expect(measures.isSuspended("ben")).toBeUndefined();
});

test("colluders whom no rule sees one by one are seen together, tightened, and suspended if they go on", async () => {
  const { see, rulesSeen, measures } = await team("{ together: tighten, new_people: off }");
  let person = 0;
  /** Side by side, hour after hour. */
  const workOn = async (day: number, peopleOf: (n: number) => number) => {
    for (let hour = 9; hour < 13; hour++) {
      for (let n = 0; n < 30; n++) {
        const subjects = Array.from({ length: Math.round(peopleOf(n) / 4) }, () => `caller ${person++}`);
        const fields = { subjects, people: subjects.length };
        await see(`user${n}`, START + day * DAY + hour * HOUR + n * 60_000, fields);
      }
    }
  };
  for (let day = 0; day < 19; day++) {
    if (day % 7 < 5) await workOn(day, (n) => 30 + n + ((n * 5 + day) % 7));
  }
  const steal = (day: number) => workOn(day, (n) => (n < 6 ? 130 : 30 + n));
  await steal(21);
  expect(rulesSeen()).toEqual([]);
  await steal(22);
  const seen = new Set(rulesSeen());
  expect(seen.size).toBeGreaterThan(0);
  for (const one of seen) expect(one).toMatch(/^user[0-5] together tighten$/);
  await steal(23);
  await steal(24);
  for (let n = 0; n < 6; n++) expect(measures.isSuspended(`user${n}`)).toMatchObject({ by: "rule together" });
  expect(measures.list()).toHaveLength(6);
});

test("rules that are off and roles without budgets are left alone", async () => {
  const { past, work, rulesSeen } = await team("{ new_people: off }");
  await past(28);
  await work("user3", 28, 250);
  await work("app", 28, 5_000, { role: "app" });
  expect(rulesSeen()).toEqual([]);
});

test("the same events give the same alerts", async () => {
  const seen = await Promise.all(
    [1, 2].map(async () => {
      const { past, work, alerts } = await team();
      await past(20);
      await work("user2", 21, 180, { client: "198.51.100.7" }, 1);
      return alerts;
    }),
  );
  expect(seen[0]?.length).toBeGreaterThan(1);
  expect(seen[0]).toEqual(seen[1]);
});

const ANNA: Account = { database: "support", user: "anna", windows: [] };

function watchIds(ids: readonly (number | string)[], each = 1): number {
  let sightings = 0;
  const watch = new SequenceWatch(() => {
    sightings += 1;
  });
  for (let i = 0; i < ids.length; i += each) {
    const people = ids.slice(i, i + each).map(String);
    watch.released(
      ANNA,
      { rows: people.length, people, namespaces: ["customers"], unknownPerRow: 0 },
      people.length,
    );
  }
  return sightings;
}

/** Ids as they come when customers call, out of so many. */
function callers(customers: number): readonly number[] {
  return Array.from(
    { length: 500 },
    (_, i) => createHash("md5").update(`${i}`).digest().readUInt32BE(0) % customers,
  );
}

const scattered = callers(12_000_000);

test.each([
  ["up", Array.from({ length: 60 }, (_, i) => 5_000 + i)],
  ["down in steps of ten", Array.from({ length: 60 }, (_, i) => 9_000 - 10 * i)],
  ["in shuffled pages", Array.from({ length: 60 }, (_, i) => 5_000 + ((i * 17) % 60))],
  [
    "between customers who call",
    Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? (scattered[i] ?? 0) : 5_000 + i)),
  ],
])("who walks through ids %s is seen within sixty people of the walk", (_, ids) => {
  expect(watchIds(ids)).toBeGreaterThan(0);
  expect(watchIds(ids, 20)).toBeGreaterThan(0);
});

test("customers who call in any order are no walk, nor is one family, nor names", () => {
  expect(watchIds(scattered)).toBe(0);
  for (const customers of [3_000, 10_000, 50_000, 500_000]) expect(watchIds(callers(customers))).toBe(0);
  expect(watchIds(scattered.flatMap((id, i) => (i % 10 === 0 ? [id, id + 1] : [id])))).toBe(0);
  expect(watchIds(Array.from({ length: 200 }, (_, i) => `customer-${i}`))).toBe(0);
});
