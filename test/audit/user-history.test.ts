import { expect, test } from "vitest";
import { historyOf } from "../../proxy/audit/user-history.ts";
import { DAY, makeFolder, NOON, openLog, reading } from "./support.ts";

const HOUR = 3_600_000;
const MIDNIGHT = NOON - 12 * HOUR;
const person = (n: number) => String(n).padStart(22, "p");

test("a user's days stand beside their own usual and their peers', and each person counts once an hour and a day", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder, { now: () => NOON });
  const read = (user: string, time: number, people: readonly number[], role = "agent") =>
    log.write(
      reading({
        ...{ user, time, role, session: `${user}-${Math.floor(time / DAY)}`, rows: people.length },
        subjects: people.map(person),
        people: people.length,
        revealed: { shown: ["name"], shownWhere: [], found: [] },
      }),
    );
  // Two days ago three people, yesterday one, today two in one hour, one of them again in the next.
  read("anna", NOON - 2 * DAY, [1, 2, 3]);
  read("anna", NOON - DAY, [1]);
  read("anna", NOON, [4, 5]);
  read("anna", NOON + 1, [4]);
  read("anna", NOON + HOUR, [4]);
  read("ben", NOON, [1, 2, 3, 4]);
  read("eva", NOON, [1, 2]);
  // Another role is no peer.
  read("boss", NOON, [1, 2, 3, 4, 5, 6, 7, 8, 9], "lead");
  log.write(
    reading({
      time: NOON + 2,
      session: `anna-${Math.floor(NOON / DAY)}`,
      decision: "refuse",
      sqlstate: "42501",
      rows: 0,
    }),
  );
  log.write({
    kind: "suspension",
    time: NOON + 5,
    user: "anna",
    by: "console (olga)",
    why: "asked",
    ordered: NOON,
  });
  await log.flush();
  const history = await historyOf({
    ...{ folder, user: "anna", now: NOON + 2 * HOUR, patience: 60_000 },
    period: { since: MIDNIGHT - 3 * DAY, until: Number.POSITIVE_INFINITY },
  });
  expect(history.roles).toEqual(["agent"]);
  expect(history.hours).toEqual([
    { at: NOON - 2 * DAY, people: 3 },
    { at: NOON - DAY, people: 1 },
    { at: NOON, people: 2 },
    { at: NOON + HOUR, people: 1 },
  ]);
  expect(history.days).toEqual([
    { at: MIDNIGHT - 3 * DAY, people: 0, peersMiddle: undefined, peersMost: undefined },
    { at: MIDNIGHT - 2 * DAY, people: 3, peersMiddle: undefined, peersMost: undefined },
    { at: MIDNIGHT - DAY, people: 1, peersMiddle: undefined, peersMost: undefined },
    { at: MIDNIGHT, people: 2, peersMiddle: 3, peersMost: 4 },
  ]);
  expect(history).toMatchObject({ usual: 1, peers: 2, isAtLeast: false, isCut: false, unreadable: [] });
  expect(history.sessions).toHaveLength(3);
  expect(history.sessions[0]).toMatchObject({
    ...{ first: NOON, last: NOON + HOUR, statements: 4, refused: 1, people: 2, rows: 4, classes: ["name"] },
    ...{ user: "anna", account: null, address: "10.0.0.1", application: "helpdesk" },
  });
  expect(history.measures).toMatchObject([{ kind: "suspension", by: "console (olga)", told: "asked" }]);
});

test("a user of whom the log knows nothing has empty days and no peers", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder, { now: () => NOON });
  log.write(reading({ people: 1, subjects: [person(1)] }));
  await log.flush();
  const history = await historyOf({
    ...{ folder, user: "nobody", now: NOON, patience: 60_000 },
    period: { since: MIDNIGHT, until: Number.POSITIVE_INFINITY },
  });
  expect(history).toMatchObject({ hours: [], usual: undefined, peers: 0, sessions: [], measures: [] });
  expect(history.days).toHaveLength(1);
});
