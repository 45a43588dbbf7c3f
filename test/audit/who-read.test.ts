import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { auditKeys } from "../../proxy/audit/keys.ts";
import { hashesOf, readSubjects } from "../../proxy/audit/subject-list.ts";
import { readingsOf, score, whoRead } from "../../proxy/audit/who-read.ts";
import { KEY, makeFolder, NOON, openLog, reading } from "./support.ts";

const NAMESPACE = "public.customers.id";
const EVER = { since: 0, until: Number.POSITIVE_INFINITY };
const HOUR = 3_600_000;

let folder: string;

beforeEach(async () => {
  folder = await makeFolder();
});

interface Read {
  readonly user: string;
  readonly people: readonly (number | string)[];
  readonly time?: number;
  readonly client?: string;
  readonly application?: string;
}

/** Writes readings through the real log, a part of it into compressed segments. */
async function record(readings: readonly Read[]): Promise<void> {
  const { log } = await openLog(folder, { segmentBytes: 20_000 });
  for (const { user, people, ...fields } of readings) {
    const subjects = people.map((person) => log.hashSubject(NAMESPACE, String(person)));
    log.write(reading({ user, subjects, people: subjects.length, ...fields }));
  }
  await log.flush();
}

function hashes(ids: readonly (number | string)[]): ReadonlyMap<string, number> {
  return hashesOf(ids.map(String), NAMESPACE, [auditKeys(KEY)]);
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** One reading for each person. */
const each = (user: string, people: readonly number[]) =>
  people.map((person) => ({ user, people: [person] }));

describe("given leaked people", () => {
  test("who read all of them among much else comes before who read a few, and it says how sure it is", async () => {
    await record([
      ...each("anna", range(0, 60)),
      ...each("ben", range(50, 90)),
      { user: "cleo", people: range(2000, 5000) },
      { user: "thief", people: range(1000, 1400), client: "10.9.9.9" },
      { user: "thief", people: range(1400, 1700), client: "10.9.9.8", application: "psql" },
    ]);
    const leaked = [...range(1350, 1410), 3, 55, 9_999_999];
    const answer = await whoRead(folder, EVER, hashes(leaked));
    expect(answer.suspects.map(({ user }) => user)).toEqual(["thief", "anna", "ben"]);
    expect(answer).toMatchObject({ users: 4, people: 3790, leaked: 63, unread: 1, readings: 103 });
    expect(answer.suspects[0]).toMatchObject({
      leaked: 60,
      people: 700,
      addresses: ["10.9.9.8", "10.9.9.9"],
      applications: ["helpdesk", "psql"],
    });
    expect(answer.suspects[0]?.likelihood).toBeGreaterThan(0.999);
    expect(answer.suspects[0]?.chance).toBeLessThan(1e-20);
    expect(answer.suspects[1]?.chance).toBeGreaterThan(0.5);
    expect(answer.suspects[1]?.leaked).toBe(2);
  });

  test("who read everybody is no suspect for having read the leaked too; who read little else is", async () => {
    await record([{ user: "lead", people: range(0, 2000) }, ...each("thief", range(500, 560))]);
    const { suspects } = await whoRead(folder, EVER, hashes(range(500, 530)));
    expect(suspects.map(({ user, leaked }) => [user, leaked])).toEqual([
      ["thief", 30],
      ["lead", 30],
    ]);
    expect(suspects[1]).toMatchObject({ score: 0, chance: 1 });
    expect(suspects[0]?.chance).toBeLessThan(1e-20);
  });

  test("whom chance explains is not said to stand out", async () => {
    await record(
      Array.from({ length: 20 }, (_, i) => ({ user: `u${i}`, people: range(i * 50, i * 50 + 50) })),
    );
    const { suspects } = await whoRead(folder, EVER, hashes([7, 60, 110]));
    expect(suspects).toHaveLength(3);
    for (const { chance } of suspects) expect(chance).toBe(1);
  });

  test("reading somebody twice counts once, in all the counts", async () => {
    await record([...each("anna", [1, 1, 1, 2]), { user: "anna", people: [1, 2, 3] }]);
    const { suspects } = await whoRead(folder, EVER, hashes([1]));
    expect(suspects[0]).toMatchObject({ leaked: 1, people: 3 });
  });

  test("only the asked stretch of time counts; first and last are of leaked people alone", async () => {
    const at = (hours: number, people: readonly number[]) => ({
      user: "anna",
      people,
      time: NOON + hours * HOUR,
    });
    await record([at(0, [1]), at(1, [9]), at(2, [2]), at(3, [3]), at(4, [9])]);
    const all = await whoRead(folder, EVER, hashes([1, 2, 3]));
    expect(all.suspects[0]).toMatchObject({ leaked: 3, first: NOON, last: NOON + 3 * HOUR });
    const some = await whoRead(folder, { since: NOON + HOUR, until: NOON + 3 * HOUR }, hashes([1, 2, 3]));
    expect(some.suspects[0]).toMatchObject({ leaked: 1, first: NOON + 2 * HOUR, last: NOON + 2 * HOUR });
    expect(
      (await whoRead(folder, { since: NOON + 9 * HOUR, until: NOON + 10 * HOUR }, hashes([1]))).suspects,
    ).toEqual([]);
  });

  test("a time of any length or with a fraction hides nobody", async () => {
    await record([1_000, 0, NOON + 0.5].map((time, i) => ({ user: `u${i}`, people: [1], time })));
    expect((await whoRead(folder, EVER, hashes([1]))).suspects).toHaveLength(3);
  });

  test("who fetched more people than an event names is told, though the leaked are not found with him", async () => {
    const { log } = await openLog(folder);
    const subjects = range(0, 200).map((person) => log.hashSubject(NAMESPACE, String(person)));
    log.write(reading({ user: "dumper", subjects, people: 68_000 }));
    log.write(reading({ user: "anna", subjects: subjects.slice(0, 1), people: 1 }));
    await log.flush();
    const answer = await whoRead(folder, EVER, hashes([5_000]));
    expect(answer).toMatchObject({ suspects: [], unnamed: [{ user: "dumper", people: 67_800 }] });
  });

  test("a large result whose pieces named all its people leaves nobody unnamed", async () => {
    const { log } = await openLog(folder);
    const hashes = Array.from({ length: 6_000 }, (_, i) => log.hashSubject("public.customers.id", String(i)));
    const piece = (from: number, to: number) => {
      const subjects = hashes.slice(from, to);
      log.write({ ...reading({ session: "large", subjects, people: subjects.length }), kind: "rows" });
    };
    for (let at = 0; at < 6_000; at += 500) piece(at, at + 500);
    log.write(reading({ session: "large", subjects: hashes.slice(0, 5_000), people: 6_000 }));
    log.write(reading({ session: "next", subjects: hashes.slice(0, 5_000), people: 5_500 }));
    await log.close();
    const { unnamed, people } = await whoRead(
      folder,
      { since: 0, until: Number.POSITIVE_INFINITY },
      new Map(),
    );
    expect(people).toBe(6_000);
    // The second one came in one piece, and had more than its event names.
    expect(unnamed).toEqual([{ user: "anna", people: 500 }]);
  });

  test("a line torn in the middle of a letter and a damaged segment hide nothing that can be read", async () => {
    const { log } = await openLog(folder, { segmentBytes: 20_000 });
    for (const person of range(0, 120)) {
      log.write(reading({ subjects: [log.hashSubject(NAMESPACE, String(person))], people: 1 }));
    }
    await log.close();
    const [first, second] = (await readdir(folder)).filter((name) => name.endsWith(".gz")).toSorted();
    if (first === undefined || second === undefined) throw new Error("too few segments");
    const lines = gunzipSync(await readFile(join(folder, first)));
    const torn = Buffer.concat([lines, Buffer.from('{"time":1,"actor":{"user":{"name":"\xc3', "latin1")]);
    await writeFile(join(folder, first), gzipSync(torn));
    await truncate(join(folder, second), 700);
    const answer = await whoRead(folder, EVER, hashes([0]));
    expect(answer).toMatchObject({ suspects: [{ user: "anna", leaked: 1 }], unreadable: [second] });
    expect(answer.readings).toBeGreaterThan(60);
  });

  test("with another key nobody is found: the log alone says nothing of whom it names", async () => {
    await record(each("anna", [1, 2, 3]));
    const other = hashesOf(["1"], NAMESPACE, [auditKeys(Buffer.alloc(32, 8))]);
    expect(await whoRead(folder, EVER, other)).toMatchObject({ suspects: [], unread: 1 });
    const both = hashesOf(["1"], NAMESPACE, [auditKeys(Buffer.alloc(32, 8)), auditKeys(KEY)]);
    expect(await whoRead(folder, EVER, both)).toMatchObject({
      suspects: [{ user: "anna", leaked: 1 }],
      leaked: 1,
    });
  });

  test("users with names made to confuse are told apart, and nobody reads in another's name", async () => {
    const names = ['a"b', "a\\", 'x","app_name":"', "ünï\u{1F600}", '"},"unmapped":{"subjects":["'];
    await record(names.map((user, i) => ({ user, people: [i, 100], application: names[4] ?? "" })));
    const { suspects, users } = await whoRead(folder, EVER, hashes([100]));
    expect(users).toBe(names.length);
    expect(suspects.map(({ user }) => user).toSorted()).toEqual(names.toSorted());
  });

  test("single events of a person are listed, for all users or one", async () => {
    await record([...each("anna", [1, 2, 1]), ...each("ben", [1])]);
    const people = new Set(hashes([1]).keys());
    expect(await readingsOf(folder, EVER, people, undefined)).toHaveLength(3);
    const [event, ...others] = await readingsOf(folder, EVER, people, "ben");
    expect(others).toEqual([]);
    expect(event).toMatchObject({ user: "ben", address: "10.0.0.1", application: "helpdesk", people: 1 });
  });
});

describe("the score", () => {
  test("is nothing for a share that chance explains, and grows with each further person", () => {
    expect(score(5, 100, 0.05)).toBe(0);
    const scores = range(6, 101).map((read) => score(read, 100, 0.05));
    expect(scores.every((one, i) => one > (scores[i - 1] ?? 0))).toBe(true);
    expect(score(100, 100, 0.05)).toBeCloseTo(100 * Math.log(20));
    expect(score(10, 10, 1)).toBe(0);
  });

  test("bounds what chance does: Chernoff, against the exact binomial tail", () => {
    for (const [read, leaked, share] of [
      [4, 20, 0.05],
      [12, 100, 0.06],
      [3, 3, 0.3],
      [30, 50, 0.4],
    ] as const) {
      const bound = Math.exp(-score(read, leaked, share));
      expect(bound * (1 + 1e-9)).toBeGreaterThan(binomialTail(read, leaked, share));
    }
  });
});

describe("a list of leaked people", () => {
  test.each([
    ["1\n2\n3\n", ["1", "2", "3"], undefined],
    ["id\n1\n2\n", ["1", "2"], "id"],
    ['\uFEFFid,name\r\n1,"Ng, Alice"\r\n2,"say ""hi"""\r\n\r\n', ["1", "2"], "id"],
    [" 7 \n7\n", ["7"], undefined],
    ["cust-1\ncust-2", ["cust-1", "cust-2"], undefined],
  ])("%j names %j", (text, ids, header) => {
    expect(readSubjects(text, undefined)).toEqual({ ok: true, ids, header });
  });

  test("takes the column that was asked for", () => {
    expect(readSubjects("name,id\nAlice,5\n", "id")).toMatchObject({ ids: ["5"] });
    expect(readSubjects("name,id\nAlice,5\n", "uid")).toEqual({
      ok: false,
      problem: 'the list has no column "uid"; it has name, id',
    });
    expect(readSubjects("id\n", "id").ok).toBe(false);
    expect(readSubjects("", undefined).ok).toBe(false);
  });

  test("finds UUIDs however they are written", () => {
    const id = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
    expect(hashes([id])).toEqual(hashes([id.toLowerCase()]));
  });
});

/** P(X >= read) for X of a binomial distribution, added up. */
function binomialTail(read: number, leaked: number, share: number): number {
  let tail = 0;
  let term = (1 - share) ** leaked;
  for (let k = 0; k <= leaked; k++) {
    if (k >= read) tail += term;
    term *= ((leaked - k) / (k + 1)) * (share / (1 - share));
  }
  return tail;
}
