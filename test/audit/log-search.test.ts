import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { TooSlow } from "../../proxy/audit/engine.ts";
import { type Found, type SearchQuestion, searchLog } from "../../proxy/audit/log-search.ts";
import { NoLog } from "../../proxy/audit/readings.ts";
import { DAY, login, makeFolder, NOON, openLog, reading } from "./support.ts";

const ALWAYS = { since: 0, until: Number.POSITIVE_INFINITY };

function search(folder: string, asked: Partial<SearchQuestion> = {}): Promise<Found> {
  return searchLog({ folder, period: ALWAYS, kinds: "all", limit: 100, patience: 60_000, ...asked });
}

/** Three days, the last of them in the segment that is being written. */
async function threeDays(): Promise<string> {
  const folder = await makeFolder();
  for (const day of [0, 1, 2]) {
    const time = NOON + day * DAY;
    const { log } = await openLog(folder, { now: () => time });
    log.write(login(`s${day}`, { time }));
    for (let i = 0; i < 10; i++)
      log.write(
        reading({
          ...{ time: time + i, session: `s${day}`, user: i % 2 === 0 ? "anna" : "ben", people: 1 },
          statement: `SELECT name FROM Customers_${i} WHERE id = $1`,
          subjects: [`${"h".repeat(21)}${i}`],
          ...(i === 7 && {
            decision: "refuse",
            sqlstate: "42501",
            rule: "roles.agent.reads",
            reference: `ref-${day}`,
          }),
        }),
      );
    log.write({
      ...{ kind: "suspension", time: time + 20, user: "ben", by: "console (olga)", why: "asked" },
      ordered: time,
    });
    if (day < 2) await log.close();
    else await log.flush();
  }
  return folder;
}

test("the log on disk is searched by user, session, time, statement, reference, kind and person, the newest first", async () => {
  const folder = await threeDays();
  const ofAnna = await search(folder, { user: "anna" });
  expect(ofAnna.events.map(({ kind }) => kind).filter((kind) => kind === "login")).toHaveLength(3);
  expect(ofAnna.events).toHaveLength(18);
  const times = ofAnna.events.map(({ time }) => time);
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  // An order about a user is found by the user's name, and says who gave it.
  const orders = await search(folder, { user: "ben", kinds: "orders" });
  expect(orders.events).toHaveLength(3);
  expect(orders.events[0]).toMatchObject({ user: "console (olga)", about: "ben", told: "asked" });
  expect((await search(folder, { session: "s1" })).events).toHaveLength(11);
  const period = { since: NOON + DAY, until: NOON + DAY + 5 };
  expect((await search(folder, { period, kinds: "statements" })).events).toHaveLength(5);
  const text = await search(folder, { statement: "customers_3 where" });
  expect(text.events.map(({ statement }) => statement)).toEqual(
    Array<string>(3).fill("SELECT name FROM Customers_3 WHERE id = $1"),
  );
  const [refused] = (await search(folder, { reference: "ref-1" })).events;
  expect(refused).toMatchObject({
    decision: "refuse",
    sqlstate: "42501",
    rule: "roles.agent.reads",
    user: "ben",
  });
  expect((await search(folder, { kinds: "refusals" })).events).toHaveLength(3);
  const people = [`${"h".repeat(21)}4`];
  expect((await search(folder, { people })).events).toHaveLength(3);
  expect((await search(folder, { people, user: "ben" })).events).toEqual([]);
});

test("pages follow each other without a gap and without an event twice, across days and segments", async () => {
  const folder = await threeDays();
  const all = (await search(folder)).events;
  expect(all).toHaveLength(36);
  const paged: Found["events"][number][] = [];
  for (let i = 0; i < 10; i++) {
    const after = paged.at(-1);
    const { events, more } = await search(folder, { limit: 5, ...(after !== undefined && { after }) });
    paged.push(...events);
    if (!more) break;
  }
  expect(paged).toEqual(all);
});

test("an event that a late line of the day before outdates is not shown before it", async () => {
  const folder = await makeFolder();
  // A segment of one day may end with a statement of the next morning.
  const { log: first } = await openLog(folder, { now: () => NOON });
  first.write(reading({ time: NOON + DAY + 1, user: "late" }));
  await first.close();
  const { log: second } = await openLog(folder, { now: () => NOON + DAY });
  second.write(reading({ time: NOON + DAY, user: "early" }));
  await second.close();
  expect((await search(folder, { limit: 1 })).events).toMatchObject([{ user: "late" }]);
});

test("what a search says is what a quote or a percent sign says, and no SQL", async () => {
  const folder = await threeDays();
  for (const statement of ["%", "_", "' OR true --", '"']) {
    const { events } = await search(folder, { statement });
    expect(events.length, statement).toBe(statement === "_" ? 30 : 0);
  }
  expect((await search(folder, { user: "anna' OR 'a' = 'a" })).events).toEqual([]);
});

test("a segment that cannot be read is named, and hides nothing of the others", async () => {
  const folder = await threeDays();
  writeFileSync(join(folder, "audit-20260507-broken-000001.jsonl.gz"), "no gzip");
  const { events, unreadable } = await search(folder);
  expect(events).toHaveLength(36);
  expect(unreadable).toEqual(["audit-20260507-broken-000001.jsonl.gz"]);
});

test("an answer that takes too long is an error, and so is a folder without a log", async () => {
  const folder = await threeDays();
  await expect(search(folder, { patience: 0 })).rejects.toThrow(TooSlow);
  await expect(search(await makeFolder())).rejects.toThrow(NoLog);
});
