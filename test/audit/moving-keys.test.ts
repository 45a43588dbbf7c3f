import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { makeAnchor } from "../../proxy/audit/anchor.ts";
import { auditKeys, type SigningKey } from "../../proxy/audit/audit-keys.ts";
import { linkOf } from "../../proxy/audit/chain.ts";
import { keysFile, readSlots, writeSlots } from "../../proxy/audit/key-slots.ts";
import { GrowingTree } from "../../proxy/audit/merkle.ts";
import { secretOf } from "../../proxy/audit/moving-keys.ts";
import { checkpoint, footer, type LogRecord, opening, recordOf } from "../../proxy/audit/records.ts";
import { listSegments } from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { KEY, kindsOf, login, makeFolder, NOON, openLog, sessionsOf, TRUSTED } from "./support.ts";

let folder: string;

beforeEach(async () => {
  folder = await makeFolder();
});

async function problem(): Promise<string | undefined> {
  return (await verifyLog(folder, TRUSTED, [])).find((report) => report.problem !== undefined)?.problem;
}

async function checkpoints(): Promise<number> {
  return (await kindsOf(folder)).filter((kind) => kind === "checkpoint").length;
}

async function writerName(): Promise<string> {
  return (await listSegments(folder))[0]?.writer ?? "";
}

/** The folder as it is while the process still writes, as somebody would take it who has broken in. */
async function taken(): Promise<string> {
  const copy = await makeFolder();
  for (const name of await readdir(folder)) await copyFile(join(folder, name), join(copy, name));
  return copy;
}

/** A log with some checkpoints, after each of which something was written. */
async function lived(rounds: number, segmentBytes = 1_000_000) {
  const opened = await openLog(folder, { checkpointEvery: 5, segmentBytes });
  for (let i = 0; i < rounds; i++) {
    const before = await checkpoints();
    opened.log.write(login(`s${i}`));
    await opened.log.flush();
    await expect.poll(checkpoints).toBeGreaterThan(before);
  }
  return opened;
}

describe("the key that signs a chain", () => {
  test("moves on while events come, and stays while none do", async () => {
    await lived(4);
    const signers = (await readLines()).flatMap((line) => {
      const record = recordOf(line);
      return record?.kind === "checkpoint" ? [record.signedBy] : [];
    });
    expect(new Set(signers).size).toBe(signers.length);
    const before = await checkpoints();
    const { keys } = await slots();
    await expect.poll(async () => (await slots()).keys).toEqual(keys);
    expect(await checkpoints()).toBe(before);
    expect(await problem()).toBeUndefined();
  });

  test("is on disk with the next one alone: those before are erased", async () => {
    const { log } = await lived(3);
    const named = (await readLines()).flatMap((line) => {
      const record = recordOf(line);
      return record !== undefined && "nextKey" in record ? [record.nextKey] : [];
    });
    // The one before is erased once the line that names this one is on disk.
    await expect.poll(async () => (await slots()).keys[0]).toBe(named.at(-1));
    const { keys } = await slots();
    expect(keys).toHaveLength(2);
    expect(named.filter((key) => key !== undefined && keys.includes(key))).toEqual([named.at(-1)]);
    await log.close();
    // The footer's key is gone as well, though the process has ended.
    const after = await slots();
    const closed = recordOf((await readLines()).at(-1) ?? Buffer.alloc(0));
    expect(closed).toMatchObject({ kind: "segment closed", nextKey: after.keys[0] });
  });

  test("goes over from process to process", async () => {
    for (let i = 0; i < 3; i++) {
      const { log } = await openLog(folder, { checkpointEvery: 5 });
      log.write(login(`s${i}`));
      await log.close();
    }
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined, segments: 3 }]);
  });

  test("that is lost ends the chain: another one begins, says so, and nothing is wrong", async () => {
    const { log } = await lived(1);
    await log.close();
    const name = await writerName();
    await rm(keysFile(folder, name));
    for (let i = 0; i < 2; i++) {
      const next = await openLog(folder);
      next.log.write(login(`after${i}`));
      await next.log.close();
    }
    expect(await problem()).toBeUndefined();
    const writers = new Set((await listSegments(folder)).map(({ writer }) => writer));
    expect(writers.size).toBe(2);
    expect((await kindsOf(folder)).filter((kind) => kind === "chain left")).toHaveLength(1);
    expect(await sessionsOf(folder)).toEqual(expect.arrayContaining(["s0", "after0", "after1"]));
  });

  test("tells the next process of a tail that was cut off while none was running", async () => {
    const { log } = await lived(3);
    await log.close();
    const [file] = await listSegments(folder);
    const lines = (await readLines()).map(String);
    const cut = lines.findIndex((line) => line.includes('"kind":"checkpoint"')) + 1;
    await writeFile(file?.path ?? "", gzipSync(`${lines.slice(0, cut).join("\n")}\n`));
    expect(await problem()).toBeUndefined();
    const next = await openLog(folder);
    await next.log.close();
    expect(await problem()).toContain("cut off when it started");
  });

  test("is torn by a crash in one of its two slots only", async () => {
    await writeSlots(folder, "w", { generation: 1n, seeds: [Buffer.alloc(32, 1), Buffer.alloc(32, 2)] });
    await writeSlots(folder, "w", { generation: 2n, seeds: [Buffer.alloc(32, 2), Buffer.alloc(32, 3)] });
    expect((await readSlots(folder, "w")).map(({ generation }) => generation)).toEqual([2n]);
    const content = await readFile(keysFile(folder, "w"));
    expect(content.includes(Buffer.alloc(32, 1))).toBe(false);
    // The next write is cut in the middle: what is in force stays.
    content.fill(7, 4096, 4096 + 60);
    await writeFile(keysFile(folder, "w"), content);
    expect((await readSlots(folder, "w")).map(({ generation }) => generation)).toEqual([2n]);
  });
});

async function slots(): Promise<{ readonly keys: readonly string[] }> {
  const kept = await readSlots(folder, await writerName());
  return { keys: kept.flatMap(({ seeds }) => seeds.map((seed) => secretOf(seed).text)) };
}

async function readLines(): Promise<readonly Buffer[]> {
  const lines: Buffer[] = [];
  for (const { path, compressed } of await listSegments(folder)) {
    const content = await readFile(path);
    const text = (compressed ? gunzipSync(content) : content).toString("utf8");
    lines.push(...text.trimEnd().split("\n").map(Buffer.from));
  }
  return lines;
}

describe("somebody who takes every secret", () => {
  const fleet = auditKeys(KEY);
  let stolen: readonly SigningKey[];
  let lines: readonly Buffer[];

  /** Three events, each older than a checkpoint; then the folder, the fleet's key and the chain's are taken. */
  beforeEach(async () => {
    const { log } = await lived(3);
    folder = await taken();
    await log.close();
    stolen = (await readSlots(folder, await writerName())).flatMap(({ seeds }) => seeds.map(secretOf));
    lines = await readLines();
    expect(stolen.length).toBeGreaterThan(0);
  });

  /** Makes the segment anew with changed events; `signerOf` says whose key signs each record, and names which next. */
  async function forge(
    change: (line: string) => string,
    turn: (record: LogRecord & { nextKey?: string }) => { signer: SigningKey; nextKey: string },
  ): Promise<void> {
    const writer = await writerName();
    const tree = new GrowingTree();
    let head = { sequence: 0, hash: "0".repeat(64) };
    const made = lines.map((line) => {
      const record = recordOf(line);
      let text = change(line.toString("utf8"));
      if (record !== undefined && "nextKey" in record) {
        const anchor = makeAnchor(fleet, writer, head, { segment: 1, ...tree.tree }, NOON);
        const signed = {
          "segment opened": () =>
            opening(turn(record), writer, { segment: 1, peopleKey: fleet.peopleId }, head),
          checkpoint: () => checkpoint(turn(record), 1, anchor),
          "segment closed": () =>
            footer(turn(record), writer, { segment: 1, first: 1, tree: tree.tree }, anchor),
        };
        const kind = record.kind as keyof typeof signed;
        text = text.replace(
          /"unmapped":\{.*\},"class_uid"/,
          `"unmapped":${JSON.stringify(signed[kind]())},"class_uid"`,
        );
      }
      const body = text.replace(/"prev_hash":"\w{64}","hash":"\w{64}"\}$/, `"prev_hash":"${head.hash}"`);
      const hash = createHash("sha256").update(body).digest("hex");
      head = { sequence: linkOf(line)?.sequence ?? 0, hash };
      tree.append(hash);
      return `${body},"hash":"${hash}"}`;
    });
    await writeFile((await listSegments(folder))[0]?.path ?? "", `${made.join("\n")}\n`);
  }

  const [asBefore, changed] = [
    (line: string) => line,
    (line: string) => line.replace('"uid":"s1"', '"uid":"forged"'),
  ];
  const own = secretOf(Buffer.alloc(32, 77));
  /** The true signer of each record cannot sign again: its public key is named, and another signs. */
  const named = (record: { nextKey?: string }, signer: SigningKey) => ({
    signer,
    nextKey: record.nextKey ?? "",
  });

  test("cannot sign anew what they wrote before: not with the fleet's key, not with the chain's", async () => {
    for (const signer of [fleet, ...stolen]) {
      await forge(changed, (record) => named(record, signer));
      expect(await problem()).toMatch(/signature .*(unknown key|does not fit)/);
    }
  });

  test("can begin a whole chain with keys of their own, which any anchor from before shows", async () => {
    const anchor = makeAnchor(fleet, await writerName(), headOf(lines, 2), undefined, NOON);
    expect(await verifyLog(folder, TRUSTED, [anchor])).toMatchObject([{ problem: undefined, anchors: 1 }]);
    await forge(changed, (record) => ({
      signer: record.kind === "segment opened" ? fleet : own,
      nextKey: own.text,
    }));
    expect(await problem()).toBeUndefined();
    await expect(verifyLog(folder, TRUSTED, [anchor])).resolves.toMatchObject([
      { problem: expect.stringContaining("is not the one that was anchored") },
    ]);
  });

  test("cannot go on with keys of their own from some line on", async () => {
    await forge(changed, (record) => {
      return record.kind === "segment opened" ? named(record, fleet) : { signer: own, nextKey: own.text };
    });
    expect(await problem()).toContain("checkpoint's signature is of an unknown key");
  });

  test("(and the forger of this test makes a log that verifies where nothing stands in their way)", async () => {
    await forge(asBefore, (record) => ({
      signer: record.kind === "segment opened" ? fleet : own,
      nextKey: own.text,
    }));
    expect(await problem()).toBeUndefined();
  });

  test("cannot cut the log and open the next segment earlier", async () => {
    const writer = await writerName();
    const [signer] = stolen;
    if (signer === undefined) throw new Error("no key was taken");
    const cut = lines.slice(0, 2).map(String);
    const before = headOf(lines, 2);
    const made = opening({ signer, nextKey: own.text }, writer, { segment: 2 }, before);
    const body = `{"time":1,"unmapped":${JSON.stringify(made)},"metadata":{"version":"1","product":{},"log_name":"${writer}","sequence":3},"prev_hash":"${before.hash}"`;
    const hash = createHash("sha256").update(body).digest("hex");
    const { path = "" } = (await listSegments(folder))[0] ?? {};
    await writeFile(path, `${cut.join("\n")}\n`);
    await writeFile(path.replace("000001", "000002"), `${body},"hash":"${hash}"}\n`);
    expect(await problem()).toContain("the signature of the segment's opening is of an unknown key");
  });
});

function headOf(lines: readonly Buffer[], count: number) {
  const link = linkOf(lines[count - 1] ?? Buffer.alloc(0));
  return { sequence: link?.sequence ?? 0, hash: link?.hash ?? "" };
}
