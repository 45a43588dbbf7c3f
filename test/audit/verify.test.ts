import { createHash } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import type { Anchor } from "../../proxy/audit/anchor.ts";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { BEGINNING, type Head, linkOf, seal } from "../../proxy/audit/chain.ts";
import { footerText, recordFields } from "../../proxy/audit/records.ts";
import {
  linesOf,
  listSegments,
  readSegment,
  type SegmentFile,
  segmentName,
} from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { KEY, login, makeFolder, NOON, openLog, TRUSTED } from "./support.ts";

let folder: string;
let anchors: readonly Anchor[];

/** Four segments: lines 1 (opened), 2 to 11 (s0 to s9), then the next one; the last is still open. */
beforeEach(async () => {
  folder = await makeFolder();
  const opened = await openLog(folder, { segmentBytes: 5_000, anchorEvery: 5 });
  for (let i = 0; i < 35; i++) opened.log.write(login(`s${i}`));
  await opened.log.flush();
  await expect.poll(() => opened.anchors.at(-1)?.sequence).toBeGreaterThan(35);
  // Closed segments are compressed behind the scenes.
  await expect
    .poll(async () => (await listSegments(folder)).filter((file) => !file.compressed))
    .toHaveLength(1);
  anchors = opened.anchors;
});

async function problem(given: readonly Anchor[] = anchors): Promise<string | undefined> {
  return (await verifyLog(folder, TRUSTED, given)).find((report) => report.problem !== undefined)?.problem;
}

async function segment(number: number): Promise<SegmentFile> {
  const found = (await listSegments(folder)).find((file) => file.number === number);
  if (found === undefined) throw new Error(`there is no segment ${number}`);
  return found;
}

/** Rewrites the lines of a segment, in whatever form the file has. */
async function tamper(number: number, change: (lines: string[]) => string[]): Promise<void> {
  const { path, compressed } = await segment(number);
  const content = await readFile(path);
  const text = (compressed ? gunzipSync(content) : content).toString("utf8");
  const changed = Buffer.from(`${change(text.trimEnd().split("\n")).join("\n")}\n`);
  await writeFile(path, compressed ? gzipSync(changed) : changed);
}

/** What somebody can do who knows the format but not the key: every hash after the change fits again. */
function rechain(lines: readonly string[]): string[] {
  let previous: string | undefined;
  return lines.map((line) => {
    const linked =
      previous === undefined ? line : line.replace(/"prev_hash":"\w{64}"/, `"prev_hash":"${previous}"`);
    const text = linked.slice(0, -75);
    previous = createHash("sha256").update(text).digest("hex");
    return `${text},"hash":"${previous}"}`;
  });
}

const replaceAt = (lines: readonly string[], index: number, change: (line: string) => string) =>
  lines.map((line, i) => (i === index ? change(line) : line));

test("a log that nobody touched is as it was written, and its anchors agree", async () => {
  const [report, ...others] = await verifyLog(folder, TRUSTED, anchors);
  expect(others).toEqual([]);
  expect(report).toMatchObject({ problem: undefined, open: true });
  expect(report?.anchors).toBe(anchors.length);
  expect(report?.segments).toBeGreaterThan(3);
});

test("anybody can check a hash by hand: SHA-256 of the line up to its hash", async () => {
  await tamper(2, (lines) => rechain(lines));
  expect(await problem()).toBeUndefined();
});

describe("an older log, whose segments have no tree and whose keys do not move,", () => {
  const fleet = auditKeys(KEY);
  const writer = `${hostname().replaceAll(/[^\w]/g, "_").slice(0, 40)}-00000000.1`;

  /** A closed segment as version 0.1 wrote it. */
  async function olderSegment(number: number, before: Head, by = writer): Promise<void> {
    const room = Buffer.alloc(10_000);
    let [at, head] = [0, before];
    const add = (fields: Readonly<Record<string, unknown>>) => {
      const sealed = seal(JSON.stringify(fields).slice(0, -1), by, head, room, at);
      [at, head] = [sealed.end, sealed.head];
    };
    add(recordFields({ kind: "segment opened", segment: number, signedBy: fleet.id }, NOON));
    add({ time: NOON, actor: { user: { name: "anna" } }, unmapped: { kind: "login" } });
    const footer = { segment: number, first: before.sequence + 1, count: 2 };
    const text = footerText(by, footer, head.hash);
    const signed = { signedBy: fleet.id, signature: fleet.sign(text) };
    add(recordFields({ kind: "segment closed", ...footer, ...signed }, NOON));
    await writeFile(join(folder, segmentName("20260506", by, number)), room.subarray(0, at));
  }

  beforeEach(async () => {
    folder = await makeFolder();
  });

  test("is verified, and its chain goes on with keys that do", async () => {
    await olderSegment(1, BEGINNING);
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined, lines: 3 }]);
    const { log } = await openLog(folder);
    log.write(login("s1"));
    await log.close();
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ writer, problem: undefined, segments: 2 }]);
    await tamper(1, (lines) => rechain(replaceAt(lines, 1, (line) => line.replace("anna", "ben"))));
    expect(await problem([])).toContain("the segment's signature does not fit");
  });

  test("is none that could follow a chain whose keys move", async () => {
    const { log } = await openLog(folder);
    log.write(login("s1"));
    await log.close();
    const [modern] = await listSegments(folder);
    if (modern === undefined) throw new Error("nothing was written");
    const [last] = [...linesOf(await readSegment(modern))].slice(-1);
    await olderSegment(2, linkOf(last?.bytes ?? Buffer.alloc(0)) ?? BEGINNING, modern.writer);
    expect(await problem([])).toContain("names no key, as those before it do");
  });
});

describe("verify names", () => {
  test("a changed event", async () => {
    await tamper(2, (lines) => replaceAt(lines, 3, (line) => line.replace('"name":"anna"', '"name":"ben"')));
    const sequence = await sequenceAt(2, 3);
    expect(await problem()).toContain(`line 4: event ${sequence} was changed`);
  });

  test("a changed event whose own hash was made anew", async () => {
    const sequence = await sequenceAt(2, 3);
    await tamper(2, (lines) =>
      replaceAt(lines, 3, (line) => rechain([line.replace('"name":"anna"', '"name":"ben"')])[0] ?? ""),
    );
    expect(await problem()).toMatch(new RegExp(`event ${sequence}\\b.* changed`));
  });

  test("a removed event", async () => {
    const sequence = await sequenceAt(2, 3);
    await tamper(2, (lines) => lines.toSpliced(3, 1));
    expect(await problem()).toContain(`line 4: event ${sequence} was removed`);
  });

  test("several removed events", async () => {
    const sequence = await sequenceAt(2, 3);
    await tamper(2, (lines) => lines.toSpliced(3, 3));
    expect(await problem()).toContain(`events ${sequence} to ${sequence + 2} were removed`);
  });

  test("an inserted event, forged to fit", async () => {
    const sequence = await sequenceAt(2, 4);
    await tamper(2, (lines) => {
      const forged = (lines[4] ?? "").replace('"name":"anna"', '"name":"ben"');
      const [, made = ""] = rechain([lines[3] ?? "", forged]);
      return lines.toSpliced(4, 0, made);
    });
    expect(await problem()).toMatch(new RegExp(`event ${sequence}, .* was inserted or changed`));
  });

  test("a repeated event", async () => {
    const sequence = await sequenceAt(2, 3);
    await tamper(2, (lines) => lines.toSpliced(6, 0, lines[3] ?? ""));
    expect(await problem()).toContain(`line 7: event ${sequence} is there again`);
  });

  test("events that changed places", async () => {
    const sequence = await sequenceAt(2, 3);
    await tamper(2, (lines) => lines.toSpliced(3, 2, lines[4] ?? "", lines[3] ?? ""));
    expect(await problem()).toContain(`event ${sequence} was moved`);
  });

  test("an event of another chain", async () => {
    await tamper(2, (lines) =>
      replaceAt(lines, 3, (line) => rechain([line.replace('log_name":"', 'log_name":"x')])[0] ?? ""),
    );
    expect(await problem()).toContain("line 4");
  });

  test("a removed segment, in the middle and at the beginning", async () => {
    await rm((await segment(2)).path);
    expect(await problem()).toMatch(/segment 2 was removed, after event \d+/);
    await rm((await segment(1)).path);
    expect(await problem()).toContain("segments 1 to 2 were removed without a signed record");
  });

  test("a segment that took another's place", async () => {
    const [second, third] = [await segment(2), await segment(3)];
    await rename(third.path, second.path);
    expect(await problem()).toMatch(/line 1: .*removed/);
  });

  test("a compressed file that was cut", async () => {
    const { path } = await segment(1);
    const content = await readFile(path);
    await writeFile(path, content.subarray(0, content.length - 20));
    expect(await problem()).toContain("cannot be decompressed: it was cut or changed, after event 0");
  });

  test("a segment whose whole chain was made anew: its signature does not fit", async () => {
    await tamper(2, (lines) =>
      rechain(replaceAt(lines, 3, (line) => line.replace('"name":"anna"', '"name":"ben"'))),
    );
    expect(await problem([])).toContain("the segment's signature does not fit");
  });

  test("a segment that was signed by somebody else", async () => {
    const forger = auditKeys(Buffer.alloc(32, 9));
    await tamper(2, (lines) =>
      rechain(
        replaceAt(lines, lines.length - 1, (line) =>
          line.replace(/"signedBy":"\w+"/, `"signedBy":"${forger.id}"`),
        ),
      ),
    );
    expect(await problem([])).toContain(`is of an unknown key, ${forger.id}`);
  });

  test("an event that was added to a closed segment, forged to fit", async () => {
    const { number } = (await listSegments(folder)).at(-1) ?? { number: 0 };
    await rm((await segment(number)).path);
    const sequence = await sequenceAt(number - 1, 0);
    await tamper(number - 1, (lines) => {
      const count = lines.length;
      const forged = (lines[1] ?? "").replace(/"sequence":\d+/, `"sequence":${sequence + count}`);
      return [...lines, rechain([lines.at(-1) ?? "", forged])[1] ?? ""];
    });
    expect(await problem([])).toContain("was added to a closed segment");
  });

  test("a cut tail, by the anchors", async () => {
    const { number } = (await listSegments(folder)).at(-1) ?? { number: 0 };
    await tamper(number, (lines) => lines.slice(0, 2));
    expect(await problem([])).toBeUndefined();
    expect(await problem()).toMatch(/events \d+ to \d+ were cut off: event \d+ was anchored at 2026-05-06/);
  });

  test("a newest segment that is gone, by the anchors", async () => {
    await rm((await listSegments(folder)).at(-1)?.path ?? "");
    expect(await problem()).toContain("were cut off");
  });

  test("a writer of whom nothing is left, by the anchors", async () => {
    for (const { path } of await listSegments(folder)) await rm(path);
    expect(await problem()).toMatch(/events 1 to \d+ were cut off/);
  });

  test("a tail that was made anew, by the anchors", async () => {
    const { number } = (await listSegments(folder)).at(-1) ?? { number: 0 };
    await tamper(number, (lines) =>
      rechain(replaceAt(lines, 1, (line) => line.replace('"name":"anna"', '"name":"ben"'))),
    );
    expect(await problem([])).toBeUndefined();
    expect(await problem()).toContain("is not the one that was anchored");
  });

  test("an anchor that nobody of ours has signed", async () => {
    const forged = anchors.map((anchor) => ({ ...anchor, hash: "0".repeat(64) }));
    expect(await problem(forged)).toContain("bears no signature of a trusted key");
  });

  test("each single changed byte", async () => {
    const { path } = (await listSegments(folder)).at(-1) ?? { path: "" };
    const content = await readFile(path);
    for (let at = 0; at < content.length; at += 37) {
      const changed = Buffer.from(content);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(path, changed);
      expect(await problem(), `byte ${at}`).toBeDefined();
    }
  });
});

/** The number of the event in a line of a segment. */
async function sequenceAt(number: number, index: number): Promise<number> {
  const { path, compressed } = await segment(number);
  const content = await readFile(path);
  const line = (compressed ? gunzipSync(content) : content).toString("utf8").split("\n")[index] ?? "{}";
  return (JSON.parse(line) as { metadata: { sequence: number } }).metadata.sequence;
}
