import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/simulation/random.ts";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { readingsOf } from "../../proxy/audit/person-events.ts";
import {
  hashesOf,
  hashesOfOne,
  kindOfValues,
  listText,
  readSubjects,
} from "../../proxy/audit/subject-list.ts";
import { type Counted, type Person, whoRead as question } from "../../proxy/audit/who-read.ts";
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

const ANY: Counted = { needs: [], unexplainedOnly: false };

function people(
  ids: readonly (number | string)[],
  keys = [auditKeys(KEY)],
  before?: number,
): readonly Person[] {
  return ids.map((id) => ({
    ...{ hashes: hashesOfOne(String(id), NAMESPACE, keys), stratum: 0 },
    ...(before !== undefined && { before }),
  }));
}

/** Without controls, people whom somebody read are compared. */
function whoRead(
  _: string,
  period: { since: number; until: number },
  leaked: readonly Person[],
  { controls, counted = ANY }: { controls?: readonly Person[]; counted?: Counted } = {},
) {
  const log = { folder, period, keys: [auditKeys(KEY)], counted };
  return question(log, async () => ({ leaked, controls, tables: [] }));
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
    const answer = await whoRead(folder, EVER, people(leaked));
    expect(answer.suspects.map(({ user }) => user)).toEqual(["thief", "anna", "ben"]);
    expect(answer).toMatchObject({ users: 4, people: 3790, leaked: 63, unread: 1, readings: 103 });
    expect(answer.suspects[0]).toMatchObject({
      leaked: 60,
      people: 700,
      addresses: ["10.9.9.8", "10.9.9.9"],
      applications: ["helpdesk", "psql"],
    });
    expect(answer.sources.map(({ user }) => user)).toEqual(["thief"]);
    expect(answer.suspects[0]?.chance).toBeLessThan(1e-20);
    expect(answer.suspects[1]?.chance).toBeGreaterThan(0.5);
    expect(answer.suspects[1]?.leaked).toBe(2);
  });

  test("who read everybody is no suspect for having read the leaked too; who read little else is", async () => {
    await record([{ user: "lead", people: range(0, 2000) }, ...each("thief", range(500, 560))]);
    const { suspects, sources } = await whoRead(folder, EVER, people(range(500, 530)));
    expect(suspects.map(({ user, leaked }) => [user, leaked])).toEqual([
      ["thief", 30],
      ["lead", 30],
    ]);
    expect(suspects[1]).toMatchObject({ chance: 1 });
    expect(sources).toMatchObject([{ user: "thief", or: [] }]);
  });

  test("who saw nothing but masks does not count, and neither does who saw another class than the one that leaked", async () => {
    const { log } = await openLog(folder);
    const read = (user: string, person: number, masked: string[], shown: string[], found: string[] = []) =>
      log.write(
        reading({
          ...{ user, masked, people: 1, subjects: [log.hashSubject(NAMESPACE, String(person))] },
          revealed: { shown, shownWhere: [], found },
        }),
      );
    for (const person of range(0, 40)) {
      read("masks", person, ["name", "phone"], []);
      read("names", person, ["phone"], ["name"]);
      read("phones", person, [], ["phone"]);
      read("asked", person, ["phone", "name"], [], ["phone"]);
    }
    await log.flush();
    const readers = async (needs: readonly string[]) =>
      (await whoRead(folder, EVER, people(range(0, 20)), { counted: { ...ANY, needs } })).suspects
        .map(({ user }) => user)
        .toSorted();
    expect(await readers([])).toEqual(["asked", "names", "phones"]);
    expect(await readers(["phone"])).toEqual(["asked", "phones"]);
    const { leftOut } = await whoRead(folder, EVER, people(range(0, 20)));
    expect(leftOut).toEqual({ masks: 20, unsaid: 0 });
  });

  test("lines that do not say what was shown do not count for a class, and that is said", async () => {
    await record(each("anna", range(0, 30)));
    const counted = { ...ANY, needs: ["phone"] };
    const answer = await whoRead(folder, EVER, people(range(0, 10)), { counted });
    expect(answer).toMatchObject({ suspects: [], leftOut: { masks: 0, unsaid: 10 } });
  });

  test("what was read without a reason can be asked for alone", async () => {
    const { log } = await openLog(folder);
    const subjects = range(0, 4).map((person) => log.hashSubject(NAMESPACE, String(person)));
    log.write(reading({ user: "anna", subjects, people: 4, purposeless: 2, unexplained: "0101" }));
    log.write(reading({ user: "ben", subjects, people: 4 }));
    await log.flush();
    const counted = { ...ANY, unexplainedOnly: true };
    const { suspects } = await whoRead(folder, EVER, people([0, 1, 2, 3]), { counted });
    expect(suspects).toMatchObject([{ user: "anna", leaked: 2, people: 2 }]);
  });

  test("what was read after the call did not serve it", async () => {
    await record([
      { user: "early", people: [1], time: NOON },
      { user: "late", people: [1], time: NOON + 2 * HOUR },
    ]);
    const { suspects } = await whoRead(folder, EVER, people([1], undefined, NOON + HOUR));
    expect(suspects.map(({ user }) => user)).toEqual(["early"]);
  });

  test("four who shared a theft out are named together, though half of the list is from elsewhere", async () => {
    const thieves = ["a1", "a2", "a3", "a4"];
    await record([
      ...range(0, 20).flatMap((i) => [
        { user: `agent${i}`, people: range(10_000 + i * 100, 10_100 + i * 100) },
      ]),
      ...thieves.map((user, i) => ({ user, people: range(i * 50, i * 50 + 50) })),
    ]);
    const leaked = [...range(0, 200).filter((person) => person % 2 === 0), ...range(50_000, 50_100)];
    const { sources, unread } = await whoRead(folder, EVER, people(leaked), {
      controls: people(range(10_000, 30_000)),
    });
    expect(unread).toBe(100);
    expect(sources.map(({ user, alone }) => [user, alone])).toEqual(thieves.map((user) => [user, 25]));
  });

  test("where the victims are one queue's customers, none of its agents is named", async () => {
    // Each of six has read 15 % of the 14,000.
    const random = new Random(7);
    const customers = range(0, 14_000);
    const agents = range(0, 6).map((agent) => ({
      user: `agent${agent}`,
      people: customers.filter(() => random.chance(0.15)),
    }));
    await record(agents);
    const leaked = customers.filter((person) => person % 140 === 3);
    const controls = customers.filter((person) => person % 140 !== 3);
    const answer = await whoRead(folder, EVER, people(leaked), { controls: people(controls) });
    expect(answer.sources).toEqual([]);
    // Nor where they are compared with people whom hardly any of them serves.
    const strangers = [...range(50_000, 60_000), ...controls.slice(0, 500)];
    const others = await whoRead(folder, EVER, people(leaked), { controls: people(strangers) });
    expect(others).toMatchObject({ basis: "read", sources: [] });
  });

  test("whom chance explains is not said to stand out", async () => {
    await record(
      Array.from({ length: 20 }, (_, i) => ({ user: `u${i}`, people: range(i * 50, i * 50 + 50) })),
    );
    const { suspects, sources } = await whoRead(folder, EVER, people([7, 60, 110]));
    expect(suspects).toHaveLength(3);
    expect(sources).toEqual([]);
  });

  test("reading somebody twice counts once, in all the counts", async () => {
    await record([...each("anna", [1, 1, 1, 2]), { user: "anna", people: [1, 2, 3] }]);
    const { suspects } = await whoRead(folder, EVER, people([1]));
    expect(suspects[0]).toMatchObject({ leaked: 1, people: 3 });
  });

  test("only the asked stretch of time counts; first and last are of leaked people alone", async () => {
    const at = (hours: number, people: readonly number[]) => ({
      user: "anna",
      people,
      time: NOON + hours * HOUR,
    });
    await record([at(0, [1]), at(1, [9]), at(2, [2]), at(3, [3]), at(4, [9])]);
    const all = await whoRead(folder, EVER, people([1, 2, 3]));
    expect(all.suspects[0]).toMatchObject({ leaked: 3, first: NOON, last: NOON + 3 * HOUR });
    const some = await whoRead(folder, { since: NOON + HOUR, until: NOON + 3 * HOUR }, people([1, 2, 3]));
    expect(some.suspects[0]).toMatchObject({ leaked: 1, first: NOON + 2 * HOUR, last: NOON + 2 * HOUR });
    expect(
      (await whoRead(folder, { since: NOON + 9 * HOUR, until: NOON + 10 * HOUR }, people([1]))).suspects,
    ).toEqual([]);
  });

  test("a time of any length or with a fraction hides nobody", async () => {
    await record([1_000, 0, NOON + 0.5].map((time, i) => ({ user: `u${i}`, people: [1], time })));
    expect((await whoRead(folder, EVER, people([1]))).suspects).toHaveLength(3);
  });

  test("a user who fetched more people than an event names is listed, though the leaked are not found with them", async () => {
    const { log } = await openLog(folder);
    const subjects = range(0, 200).map((person) => log.hashSubject(NAMESPACE, String(person)));
    log.write(reading({ user: "dumper", subjects, people: 68_000 }));
    log.write(reading({ user: "anna", subjects: subjects.slice(0, 1), people: 1 }));
    await log.flush();
    const answer = await whoRead(folder, EVER, people([5_000]));
    expect(answer).toMatchObject({ suspects: [], notCovered: { cut: [{ user: "dumper", people: 67_800 }] } });
  });

  test("and so is whoever read a table beneath another one, or may have read any", async () => {
    const { log } = await openLog(folder);
    const over = (user: string, fields: Partial<StatementEvent>) =>
      log.write({ ...reading({ user, subjects: [], people: 0 }), rows: 7, ...fields });
    over("by_view", { relations: ["public.v"], beneath: ["public.customers"] });
    over("by_cursor", { relations: [], readsMore: true });
    over("many", { relations: [...range(0, 300).map((n) => `public.t${n}`), "public.customers"] });
    over("elsewhere", { relations: ["public.products"] });
    await log.flush();
    const asked = { folder, period: EVER, keys: [auditKeys(KEY)], counted: ANY };
    const leaked = people([1]);
    const { notCovered } = await question(asked, async () => ({
      ...{ leaked, controls: undefined, tables: ["public.customers"] },
    }));
    expect(notCovered.unnamed.map(({ user }) => user)).toEqual(["by_cursor", "by_view", "many"]);
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
    const { notCovered, people } = await whoRead(folder, EVER, []);
    expect(people).toBe(6_000);
    // The second one came in one piece, and had more than its event names.
    expect(notCovered.cut).toEqual([{ user: "anna", people: 500 }]);
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
    const answer = await whoRead(folder, EVER, people([0]));
    expect(answer).toMatchObject({
      suspects: [{ user: "anna", leaked: 1 }],
      notCovered: { unreadable: [second] },
    });
    expect(answer.readings).toBeGreaterThan(60);
  });

  test("with another key nobody is found: the log alone says nothing of whom it names", async () => {
    await record(each("anna", [1, 2, 3]));
    const [old, other] = [auditKeys(KEY), auditKeys(Buffer.alloc(32, 8))];
    expect(await whoRead(folder, EVER, people(["1"], [other]))).toMatchObject({ suspects: [], unread: 1 });
    expect(await whoRead(folder, EVER, people(["1"], [other, old]))).toMatchObject({
      suspects: [{ user: "anna", leaked: 1 }],
      leaked: 1,
    });
  });

  test("users with names made to confuse are told apart, and nobody reads in another's name", async () => {
    const names = ['a"b', "a\\", 'x","app_name":"', "ünï\u{1F600}", '"},"unmapped":{"subjects":["'];
    await record(names.map((user, i) => ({ user, people: [i, 100], application: names[4] ?? "" })));
    const { suspects, users } = await whoRead(folder, EVER, people([100]));
    expect(users).toBe(names.length);
    expect(suspects.map(({ user }) => user).toSorted()).toEqual(names.toSorted());
  });

  test("single events of a person are listed, for all users or one", async () => {
    await record([...each("anna", [1, 2, 1]), ...each("ben", [1])]);
    const asked = new Set(hashes([1]).keys());
    expect(await readingsOf(folder, EVER, asked, undefined)).toHaveLength(3);
    const [event, ...others] = await readingsOf(folder, EVER, asked, "ben");
    expect(others).toEqual([]);
    expect(event).toMatchObject({ user: "ben", address: "10.0.0.1", application: "helpdesk", people: 1 });
  });
});

describe("a list of leaked people", () => {
  test.each([
    ["1\n2\n3\n", ["1", "2", "3"], undefined],
    ["id\n1\n2\n", ["1", "2"], "id"],
    ['\uFEFFid,name\r\n1,"Ng, Alice"\r\n2,"say ""hi"""\r\n\r\n', ["1", "2"], "id"],
    [" 7 \n7\n", ["7"], undefined],
    ["cust-1\ncust-2", ["cust-1", "cust-2"], undefined],
    ["id;name;city\r\n7;Ng, Alice;Bonn\r\n8;B;\r\n", ["7", "8"], "id"],
    ["id\tname\n7\tA; B\n", ["7"], "id"],
    ['"id";"name"\n"7";"A"\n', ["7"], "id"],
  ])("%j names %j", (text, ids, header) => {
    expect(readSubjects(text, undefined)).toEqual({
      ok: true,
      people: ids.map((value) => ({ value })),
      header,
    });
  });

  test("takes the column that was asked for", () => {
    expect(readSubjects("name,id\nAlice,5\n", "id")).toMatchObject({ people: [{ value: "5" }] });
    expect(readSubjects("name,id\nAlice,5\n", "uid")).toEqual({
      ok: false,
      problem: 'the list has no column "uid"; it has name, id',
    });
    expect(readSubjects("id\n", "id").ok).toBe(false);
    expect(readSubjects("", undefined).ok).toBe(false);
    // Names of columns, and nobody under them.
    expect(readSubjects("customer_id\n", undefined).ok).toBe(false);
  });

  test.each([
    ['1001\n"1002\n1003\n', "row 2 has a quote that is not closed, or text behind one"],
    ['id;name\n1;"A" B\n2;C\n', "row 2 has a quote that is not closed, or text behind one"],
    ['1001\n"1002\n1003"\n1004\n', "row 2 has a value of several lines in quotes"],
  ])("%j, in which somebody would be missing, is refused", (text, problem) => {
    expect(readSubjects(text, undefined)).toEqual({ ok: false, problem });
  });

  test("of a spreadsheet may be UTF-16, and what is no text is none", () => {
    expect(listText(Buffer.from("\uFEFFid\r\n7\r\n", "utf16le"))).toBe("\uFEFFid\r\n7\r\n");
    expect(listText(Buffer.from("id\n7\n"))).toBe("id\n7\n");
    expect(listText(Buffer.from("7\0\n"))).toBeUndefined();
  });

  test("has a day for each of them, and of several the first", () => {
    const timeOf = (text: string) => (/^\d+$/.test(text) ? Number(text) : undefined);
    const call = { column: "day", timeOf };
    expect(readSubjects("id,day\n1,9\n2,\n1,7\n", "id", call)).toMatchObject({
      people: [{ value: "1", before: 7 }, { value: "2" }],
    });
    expect(readSubjects("id,day\n1,soon\n", "id", call)).toEqual({
      ok: false,
      problem: 'row 2: "day" is no day; write 2026-05-31',
    });
  });

  test("a header over email addresses is none of them, and they are no ids", () => {
    const list = readSubjects("email\na@example.com\nb@example.com\n", undefined);
    expect(list).toMatchObject({
      header: "email",
      people: [{ value: "a@example.com" }, { value: "b@example.com" }],
    });
    expect(kindOfValues(["a@example.com", "b@example.com"])).toBe("email addresses");
    expect(kindOfValues(["+49 30 1234567", "030/1234567"])).toBe("telephone numbers");
    expect(kindOfValues(["Alice Ng", "Ng, Bob", "Łukasz de la Cruz Jr."])).toBe("names");
    expect(kindOfValues(["17", "cust-4711", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])).toBeUndefined();
  });

  test("numbers with zeros before them are the same people", () => {
    expect(hashes(["0007"]).has([...hashes(["7"]).keys()][0] ?? "")).toBe(true);
  });

  test("finds UUIDs however they are written", () => {
    const id = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
    expect(hashes([id])).toEqual(hashes([id.toLowerCase()]));
  });
});
