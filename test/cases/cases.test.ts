import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Redis as Client } from "ioredis";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import type { AlertChange, Change, MadeChange } from "../../proxy/cases/case-changes.ts";
import { CaseDesk } from "../../proxy/cases/case-desk.ts";
import { type Case, casesOf, type Held, withAlert } from "../../proxy/cases/cases.ts";
import { SILENT } from "../audit/support.ts";
import { startRedis } from "../harness/redis.ts";

type Redis = Awaited<ReturnType<typeof startRedis>>;
let redis: Redis;
let client: Client;

beforeAll(async () => {
  redis = await startRedis({});
  client = new Client(redis.url);
});
afterAll(async () => {
  client?.disconnect();
  await redis?.stop();
});

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-cases-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

let ids = 0;

interface Opened {
  readonly desk: CaseDesk;
  readonly told: readonly string[];
}

interface Time {
  now: number;
  readonly held?: readonly Held[];
}

async function openDesk(folder: string, withRedis = false, time?: Time): Promise<Opened> {
  const told: string[] = [];
  const desk = new CaseDesk({
    file: join(folder, "cases.jsonl"),
    ...(withRedis && { redis: { url: redis.url, key: Buffer.alloc(32, 7), commandTimeout: 5_000 } }),
    ...{ log: SILENT, newId: () => `c${ids++}`, now: () => time?.now ?? Date.now() },
    held: async () => time?.held ?? [],
    onChange: (change, of) => told.push(`${change.kind} ${of.about}`),
  });
  onTestFinished(() => desk.close());
  await desk.poll();
  return { desk, told };
}

function alert(about: string, fields: Partial<AlertChange> = {}): AlertChange {
  return {
    ...{ kind: "alert", id: `a${ids++}`, time: Date.now(), about, database: "support", rule: "dump" },
    ...{ severity: "high", text: "reads them all" },
    ...fields,
  };
}

test("alerts of one user are one case, which is taken, answered, commented on and closed; the next alert opens another", async () => {
  const { desk, told } = await openDesk(await makeFolder());
  desk.gather(alert("anna", { id: "first" }));
  desk.gather(alert("anna", { id: "second" }));
  desk.gather(alert("ben"));
  const say = (kind: "owner" | "answer" | "comment", text: string) =>
    desk.change("second", "olga", { kind, text });
  expect(await say("owner", "olga")).toEqual({ ok: true, kept: true });
  expect(desk.find("first")).toMatchObject({ owner: "olga", answeredAt: undefined });
  await say("answer", "asked her");
  await say("comment", "a report");
  await desk.change("first", "olga", { kind: "closed", outcome: "justified", text: "for the board" });
  expect(desk.find("first")).toMatchObject({
    outcome: "justified",
    alerts: [{ id: "first" }, { id: "second" }],
  });
  expect(desk.find("first")?.answeredAt).toBe(desk.find("first")?.history[1]?.time);
  expect(await say("answer", "too late")).toMatchObject({
    ok: false,
    problem: expect.stringContaining("closed"),
  });
  expect(await desk.change("nothing", "olga", { kind: "comment", text: "x" })).toMatchObject({ ok: false });
  desk.gather(alert("anna", { id: "third", time: Date.now() + 1_000 }));
  expect(desk.find("third")?.id).toBe("third");
  expect(told).toEqual([
    ...["alert anna", "alert ben", "owner anna", "answer anna", "comment anna", "closed anna"],
    "alert anna",
  ]);
});

test("a case keeps the id under which it was opened, and a closed one gets no alert, whatever times alerts have", async () => {
  const { desk } = await openDesk(await makeFolder());
  const time = Date.now();
  desk.gather(alert("anna", { id: "z first", time }));
  desk.gather(alert("anna", { id: "a of the same millisecond", time }));
  desk.gather(alert("anna", { id: "b of the one before", time: time - 1 }));
  expect(desk.list()).toMatchObject([{ id: "z first" }]);
  expect(desk.list()[0]?.alerts).toHaveLength(3);
  await desk.change("z first", "olga", { kind: "closed", outcome: "justified", text: "words" });
  desk.gather(alert("anna", { id: "late", time }));
  expect(desk.list()).toMatchObject([
    { id: "late", closedAt: undefined },
    { id: "z first", outcome: "justified" },
  ]);
});

test("cases are there after a restart, in a file for its owner only, though a line of it is torn", async () => {
  const folder = await makeFolder();
  const first = await openDesk(folder);
  first.desk.gather(alert("anna", { id: "kept" }));
  await first.desk.change("kept", "olga", { kind: "owner", text: "olga" });
  await first.desk.close();
  await appendFile(join(folder, "cases.jsonl"), '{"id":"to');
  const second = await openDesk(folder);
  expect(second.desk.find("kept")).toMatchObject({ about: "anna", owner: "olga" });
  // What is written behind the torn line is a line of its own.
  await second.desk.change("kept", "olga", { kind: "comment", text: "after the crash" });
  expect((await openDesk(folder)).desk.find("kept")?.history).toHaveLength(2);
  expect((await stat(join(folder, "cases.jsonl"))).mode & 0o077).toBe(0);
});

test("two proxies share their cases over Redis, sealed, and give them back to a Redis that lost them", async () => {
  const [one, other] = await Promise.all([
    openDesk(await makeFolder(), true),
    openDesk(await makeFolder(), true),
  ]);
  const seen = (desk: CaseDesk) =>
    vi.waitFor(async () => {
      await desk.poll();
      expect(desk.find("shared")).toMatchObject({ about: "anna-over-redis" });
    });
  one.desk.gather(alert("anna-over-redis", { id: "shared" }));
  await seen(other.desk);
  expect(await other.desk.change("shared", "olga", { kind: "answer", text: "asked her" })).toMatchObject({
    ok: true,
  });
  await vi.waitFor(async () => {
    await one.desk.poll();
    expect(one.desk.find("shared")?.history).toHaveLength(1);
  });
  // Who tells is who did it: the other proxy writes no second event.
  expect(one.told).toEqual(["alert anna-over-redis"]);
  const stored = await client.xrangeBuffer("sluice:cases", "-", "+");
  expect(Buffer.concat(stored.flatMap(([, fields]) => fields)).toString("latin1")).not.toContain(
    "anna-over-redis",
  );
  await client.flushall();
  const third = await openDesk(await makeFolder(), true);
  await vi.waitFor(async () => {
    await one.desk.poll();
    await third.desk.poll();
    expect(third.desk.find("shared")?.history).toHaveLength(1);
  });
});

test("a flood of alerts is one case with its first fifty, in the file too", async () => {
  const folder = await makeFolder();
  const { desk, told } = await openDesk(folder);
  for (let i = 0; i < 1_000; i++) desk.gather(alert("anna"));
  await desk.poll();
  expect(desk.list()).toHaveLength(1);
  expect(desk.list()[0]?.alerts).toHaveLength(50);
  expect(told).toEqual(["alert anna"]);
  const lines = (await readFile(join(folder, "cases.jsonl"), "utf8"))
    .split("\n")
    .filter((line) => line !== "");
  expect(lines).toHaveLength(50);
});

const DAY = 86_400_000;

/** A case that was opened and closed on this day. */
async function closedCase(desk: CaseDesk, about: string, time: Time): Promise<void> {
  const id = `${about}-${ids++}`;
  desk.gather(alert(about, { id, time: time.now }));
  await desk.change(id, "olga", { kind: "closed", outcome: "justified", text: "words" });
}

async function linesIn(folder: string): Promise<string> {
  return readFile(join(folder, "cases.jsonl"), "utf8");
}

test("what was closed more than 400 days ago leaves the file, of each process; what is open, or on hold, stays", async () => {
  const folder = await makeFolder();
  const start = Date.UTC(2026, 0, 1);
  const time: Time = { now: start, held: [{ since: start + 2 * DAY, until: start + 3 * DAY }] };
  const [one, other] = [await openDesk(folder, false, time), await openDesk(folder, false, time)];
  await closedCase(one.desk, "old", time);
  one.desk.gather(alert("open-since", { time: time.now }));
  time.now += 2.5 * DAY;
  await closedCase(one.desk, "held", time);
  time.now += 200 * DAY;
  await closedCase(one.desk, "young", time);
  await appendFile(join(folder, "cases.jsonl"), '{"id":"torn in a cra');
  await other.desk.poll();
  expect(other.desk.list()).toHaveLength(4);
  time.now = start + 410 * DAY;
  await one.desk.poll();
  const about = (desk: CaseDesk) => desk.list().map((each) => each.about);
  expect(about(one.desk)).toEqual(["young", "held", "open-since"]);
  expect(await linesIn(folder)).not.toMatch(/"old"|torn/);
  // The other one knew it, and does not write it again.
  await other.desk.poll();
  await other.desk.change(other.desk.list()[0]?.id ?? "", "olga", { kind: "comment", text: "later" });
  await one.desk.poll();
  expect(about(other.desk)).toEqual(about(one.desk));
  expect(one.desk.list()[0]?.history).toHaveLength(2);
  expect(await linesIn(folder)).not.toContain('"old"');
  expect(about((await openDesk(folder, false, time)).desk)).toEqual(about(one.desk));
  expect((await stat(join(folder, "cases.jsonl"))).mode & 0o077).toBe(0);
});

test("nothing that one process writes is lost while others leave out what is old", async () => {
  const folder = await makeFolder();
  const time: Time = { now: Date.UTC(2026, 0, 1) };
  const desks: CaseDesk[] = [];
  for (let i = 0; i < 3; i++) desks.push((await openDesk(folder, false, time)).desk);
  const [writer, ...tidy] = desks;
  if (writer === undefined) throw new Error("no desk");
  writer.gather(alert("anna", { id: "long", time: time.now }));
  for (let day = 0; day < 40; day++) {
    await closedCase(writer, `day-${day}`, time);
    // Each day all of them leave out what has become too old, while the writer goes on.
    time.now += 401 * DAY;
    const written = writer.change("long", "olga", { kind: "comment", text: `after ${day}` });
    await Promise.all([...tidy.map((desk) => desk.poll()), written]);
  }
  await Promise.all(desks.map((desk) => desk.poll()));
  const fresh = (await openDesk(folder, false, time)).desk;
  for (const desk of [...desks, fresh]) expect(desk.find("long")?.history).toHaveLength(40);
  expect(fresh.list()).toHaveLength(1);
  expect((await linesIn(folder)).length).toBeLessThan(40_000);
});

test("names that somebody makes up open 2,000 cases and no more", async () => {
  const folder = await makeFolder();
  const { desk } = await openDesk(folder);
  for (let i = 0; i < 2_100; i++) desk.gather(alert(`made-up-${i}`));
  expect(desk.list()).toHaveLength(2_000);
  const [first] = desk.list();
  desk.gather(alert(first?.about ?? ""));
  expect(desk.find(first?.id ?? "")?.alerts).toHaveLength(2);
  await desk.change(first?.id ?? "", "olga", { kind: "closed", outcome: "misuse", text: "made up" });
  desk.gather(alert("anna-at-last"));
  expect(desk.list().map(({ about }) => about)).toContain("anna-at-last");
});

test("whatever the order in which places learn of changes, they come to the same cases", () => {
  const time = fc.integer({ min: 1, max: 20 });
  const change = fc.oneof(
    fc.record({ kind: fc.constant("alert" as const), time, about: fc.constantFrom("anna", "ben") }),
    fc.record({
      kind: fc.constantFrom("owner" as const, "answer" as const, "comment" as const, "closed" as const),
      time,
      of: fc.nat(9),
    }),
  );
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 20 }),
      fc.infiniteStream(fc.nat()),
      (drawn, chance) => {
        const changes = drawn.map((one, i): Change => {
          const id = `x${String(i).padStart(2, "0")}`;
          if (one.kind === "alert") return alert(one.about, { id, time: one.time });
          const made = { id, time: one.time, by: "olga", case: `x0${one.of}`, kind: one.kind, text: "words" };
          return (one.kind === "closed" ? { ...made, outcome: "misuse" } : made) as MadeChange;
        });
        const shuffled = changes
          .map((one) => [chance.next().value ?? 0, one] as const)
          .toSorted(([a], [b]) => a - b)
          .map(([, one]) => one);
        expect(casesOf(shuffled)).toEqual(casesOf(changes));
        // An alert that comes last is put in its place without looking at all the others again.
        const last = alert("anna", { id: "x99", time: 21 });
        const newest = (cases: readonly Case[]) => cases.toSorted((a, b) => b.openedAt - a.openedAt);
        expect(withAlert(newest(casesOf(changes)), last)).toEqual(newest(casesOf([...changes, last])));
      },
    ),
  );
});
