import { readFile, rm, writeFile } from "node:fs/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { beforeEach, expect, test } from "vitest";
import { listSegments } from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { DAY, entriesOf, login, makeFolder, NOON, openLog, sessionsOf, TRUSTED } from "./support.ts";

let folder: string;
let time: number;

beforeEach(async () => {
  folder = await makeFolder();
  time = NOON;
});

/** A log with one segment a day for ten days. */
async function tenDays(): Promise<void> {
  const { log } = await openLog(folder, { now: () => time });
  for (let day = 0; day < 10; day++, time += DAY) log.write(login(`day${day}`));
  await log.close();
}

async function reopen(days: number): Promise<void> {
  const { log } = await openLog(folder, { now: () => time, retentionDays: days });
  await log.close();
}

test("old segments go, the log says so with a signature, and verify finds nothing wrong", async () => {
  await tenDays();
  await reopen(4);
  expect(await sessionsOf(folder)).toEqual(["day6", "day7", "day8", "day9"]);
  const [dropped] = (await entriesOf(folder)).filter(({ unmapped }) => unmapped.kind === "segments dropped");
  expect(dropped?.unmapped).toMatchObject({
    before: "20260512",
    signature: expect.stringMatching(/^[\w-]{86}$/),
  });
  expect(dropped?.unmapped.segments).toHaveLength(6);
  expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
});

test("and again, when the record of the first time has itself grown old", async () => {
  await tenDays();
  for (let i = 0; i < 12; i++, time += DAY) await reopen(4);
  expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
  expect((await listSegments(folder)).every(({ day }) => day >= "20260520")).toBe(true);
});

test("anchors of what was dropped accuse nobody", async () => {
  const opened = await openLog(folder, { now: () => time });
  opened.log.write(login("a"));
  await opened.log.close();
  time += 3 * DAY;
  await reopen(30);
  time += 40 * DAY;
  await reopen(30);
  expect(opened.anchors.length).toBeGreaterThan(0);
  expect(await verifyLog(folder, TRUSTED, opened.anchors)).toMatchObject([{ problem: undefined }]);
});

test("whoever deletes more than retention did is found out", async () => {
  await tenDays();
  await reopen(4);
  const [oldest] = await listSegments(folder);
  await rm(oldest?.path ?? "");
  const [report] = await verifyLog(folder, TRUSTED, []);
  expect(report?.problem).toContain("were removed without a signed record that allows it");
});

test("a damaged segment is evidence: it and what follows stays", async () => {
  await tenDays();
  const third = (await listSegments(folder))[2];
  const path = third?.path ?? "";
  const text = gunzipSync(await readFile(path)).toString("utf8");
  await writeFile(path, gzipSync(text.replace('"name":"anna"', '"name":"ben"')));
  await reopen(4);
  const left = await listSegments(folder);
  expect(left[0]?.number).toBe(3);
  expect(left.map(({ number }) => number)).toContain(4);
});
