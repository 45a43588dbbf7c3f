import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Anchor } from "../../proxy/audit/anchor.ts";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { openFileLog } from "../../proxy/audit/file-log.ts";
import { listSegments } from "../../proxy/audit/segments.ts";
import { auditExport } from "../../proxy/commands/audit-export.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { entriesOf, login, makeFolder, NOON, reading, SILENT } from "./support.ts";

const SECRET = Buffer.alloc(32, 5);
const fleet = auditKeys(deriveKeys(SECRET).audit);
const VERIFIER = join(import.meta.dirname, "../../proxy/audit/evidence/verify.mjs");
const { verifyEvidence } = (await import(VERIFIER)) as {
  verifyEvidence: (
    folder: string,
    given?: { readonly key?: string; readonly anchors?: string },
  ) => { readonly lines: number; readonly anchored: number };
};

interface House {
  readonly base: string;
  readonly folder: string;
  readonly keyFile: string;
  /** The anchors that somebody else was given. */
  readonly anchors: string;
  readonly evidence: string;
}

let house: House;

/** Some segments with the work of ten agents, and a thief's thirty statements among it. */
beforeAll(async () => {
  const base = await mkdtemp(join(tmpdir(), "sluice-evidence-"));
  const [folder, keyFile, anchors] = [join(base, "audit"), join(base, "key"), join(base, "anchors.jsonl")];
  await writeFile(keyFile, SECRET.toString("hex"), { mode: 0o600 });
  const kept: Anchor[] = [];
  const log = await openFileLog({
    ...{ folder, key: deriveKeys(SECRET).audit, log: SILENT, onLost: () => {} },
    ...{ segmentBytes: 150_000, checkpointEvery: 5, anchorEvery: 5 },
    anchor: (anchor) => void kept.push(anchor),
  });
  for (let i = 0; i < 600; i++) {
    const user = i % 20 === 7 ? "thief" : `agent${i % 10}`;
    const subjects = [log.hashSubject("public.customers.id", String(i))];
    log.write(reading({ user, session: `s${i}`, subjects, people: 1, time: NOON + i }));
    // Another's line that speaks of the thief, and is no line of the case.
    if (i === 100) log.write(login("mention", { application: '"thief"' }));
    if (i % 40 === 0) await log.flush();
  }
  await log.close();
  await writeFile(anchors, kept.map((anchor) => `${JSON.stringify(anchor)}\n`).join(""));
  house = { base, folder, keyFile, anchors, evidence: join(base, "case/evidence") };
  const told = await run("--case", join(base, "case"), "--user", "thief", "--anchors", anchors);
  expect(told).toMatchObject({ status: 0, errors: "" });
  expect(told.output).toContain("30 lines and their proofs");
});

afterAll(() => rm(house.base, { recursive: true, force: true }));

async function run(...args: string[]) {
  let [output, errors] = ["", ""];
  const status = await auditExport([...args, "--audit", house.folder, "--key-file", house.keyFile], {
    output: { write: (text) => (output += text) },
    errors: { write: (text) => (errors += text) },
  });
  return { status, output, errors };
}

/** A copy of the evidence to change. */
async function copied(): Promise<string> {
  const copy = join(await makeFolder(), "evidence");
  await cp(house.evidence, copy, { recursive: true });
  return copy;
}

function problemOf(folder: string, given?: { readonly key?: string; readonly anchors?: string }): string {
  try {
    verifyEvidence(folder, given);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

describe("the evidence of a case", () => {
  test("has the lines of its users and about them, as they stand in the log", async () => {
    const lines = (await readFile(join(house.evidence, "lines.jsonl"), "utf8")).trimEnd().split("\n");
    const entries = lines.map((line) => JSON.parse(line) as (typeof all)[number]);
    const all = await entriesOf(house.folder);
    const own = all.filter(
      ({ actor, unmapped }) => actor?.user?.name === "thief" || unmapped.user === "thief",
    );
    // The exports are on record as questions about the thief, after what they export.
    expect(entries.map(({ metadata }) => metadata)).toEqual(
      own.slice(0, entries.length).map((one) => one.metadata),
    );
    expect(entries.filter(({ unmapped }) => unmapped.kind === "statement")).toHaveLength(30);
  });

  test("is verified by the file beside it, with Node alone and nothing of Sluice, even from elsewhere", async () => {
    const copy = await copied();
    const node = (...args: string[]) =>
      spawnSync(process.execPath, [join(copy, "verify.mjs"), ...args], {
        cwd: "/",
        env: {},
        encoding: "utf8",
      });
    const { status, stdout, stderr } = node();
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("30 lines stand in the log as they were written");
    expect(stdout).toContain(`Believed: the keys ${fleet.id} beside this file`);
    expect(node("--anchors", house.anchors).stdout).toMatch(
      /^[1-9]\d? of them are proved by an anchor of yours/m,
    );
    await writeFile(join(copy, "lines.jsonl"), "");
    expect(node()).toMatchObject({ status: 1, stderr: "WRONG: lines.jsonl was changed\n" });
    const text = await readFile(VERIFIER, "utf8");
    expect(text.split("\n").length).toBeLessThan(300);
    expect([...text.matchAll(/ from "([^"]+)"/g)].map(([, name]) => name)).toEqual([
      ...["node:crypto", "node:fs", "node:path", "node:url"],
    ]);
  });

  test("of one event is smaller than 10 kB, key and manifest with it", async () => {
    const [thief] = (await entriesOf(house.folder)).filter(({ actor }) => actor?.user?.name === "thief");
    const { log_name: writer, sequence } = thief?.metadata ?? { log_name: "", sequence: 0 };
    const folder = join(house.base, "one");
    const told = await run("--case", folder, "--event", `${writer}:${sequence}`);
    expect(told).toMatchObject({ status: 0, errors: "" });
    const evidence = join(folder, "evidence");
    expect(verifyEvidence(evidence).lines).toBe(1);
    let bytes = 0;
    for (const name of await readdir(evidence))
      if (name !== "verify.mjs") bytes += (await stat(join(evidence, name))).size;
    expect(bytes).toBeLessThan(10_000);
  });

  test("is made again beside what was made before", async () => {
    const folder = join(house.base, "again");
    await mkdir(folder);
    await writeFile(join(folder, "breach.json"), '{"users":["thief"]}');
    for (let i = 0; i < 2; i++) expect(await run("--case", folder)).toMatchObject({ status: 0 });
    const names = (await readdir(folder)).filter((name) => name.startsWith("evidence"));
    expect(names).toHaveLength(2);
    for (const name of names) expect(problemOf(join(folder, name))).toBe("");
  });

  test("is not made of nothing, nor in a folder of something else", async () => {
    const folder = join(house.base, "other");
    await mkdir(join(folder, "evidence"), { recursive: true });
    await writeFile(join(folder, "evidence/mine"), "");
    expect(await run("--case", folder, "--user", "thief")).toMatchObject({ status: 2 });
    expect((await run("--case", folder, "--user", "thif")).errors).toContain("no line of this log");
    expect((await run("--case", folder)).errors).toContain("has no breach.json");
    expect((await run("--case", folder, "--event", "x")).errors).toContain("write WRITER:NUMBER");
    expect((await run("--user", "thief")).errors).toContain("--case: missing");
  });
});

describe("the verifier finds", () => {
  test("each changed byte of each file, each file that is missing, and each that was added", async () => {
    const copy = await copied();
    for (const name of await readdir(copy)) {
      const path = join(copy, name);
      const content = await readFile(path);
      for (let at = 0; at < content.length; at += 1 + Math.floor(content.length / 150)) {
        const changed = Buffer.from(content);
        changed[at] = (changed[at] ?? 0) ^ 1;
        await writeFile(path, changed);
        expect(problemOf(copy), `${name}, byte ${at}`).not.toBe("");
      }
      await rm(path);
      expect(problemOf(copy), `${name} is gone`).not.toBe("");
      await writeFile(path, content);
    }
    expect(problemOf(copy)).toBe("");
    await writeFile(join(copy, "more"), "");
    expect(problemOf(copy)).toContain("more is not named");
  });

  test("lines and proofs that fit nothing, though the manifest was made anew with the fleet's own key", async () => {
    const copy = await copied();
    const name = join(copy, "lines.jsonl");
    const [lines, proofs, anchors] = await Promise.all(
      ["lines", "proofs", "anchors"].map(async (one) =>
        (await readFile(join(copy, `${one}.jsonl`), "utf8")).trimEnd().split("\n"),
      ),
    );
    if (lines === undefined || proofs === undefined || anchors === undefined) throw new Error("no evidence");
    type Made = { lines: string[]; proofs: string[]; anchors: string[] };
    const write = async (made: Made) => {
      for (const [file, content] of Object.entries(made))
        await writeFile(join(copy, `${file}.jsonl`), content.map((line) => `${line}\n`).join(""));
      const text = await readFile(join(copy, "manifest.json"), "utf8");
      const manifest = JSON.parse(text) as { lines: number; files: Record<string, string> };
      manifest.lines = made.lines.length;
      for (const file of Object.keys(manifest.files))
        manifest.files[file] = createHash("sha256")
          .update(await readFile(join(copy, file)))
          .digest("hex");
      const again = `${JSON.stringify(manifest, null, 2)}\n`;
      const signature = Buffer.from(fleet.sign(`sluice audit evidence 1\n${again}`), "base64url");
      await writeFile(join(copy, "manifest.json"), again);
      await writeFile(join(copy, "manifest.sig"), `${fleet.id} ${signature.toString("hex")}\n`);
    };
    const whole = { lines, proofs, anchors };
    await write(whole);
    expect(problemOf(copy)).toBe("");
    const at = fc.nat(lines.length - 1);
    const digit = fc.constantFrom(..."0123456789abcdef");
    const swapped = (list: readonly string[], i: number, j: number) =>
      list.map((line, k) => (k === i ? (list[j] ?? "") : k === j ? (list[i] ?? "") : line));
    const replaced = (list: readonly string[], i: number, change: (line: string) => string) =>
      list.map((line, k) => (k === i ? change(line) : line));
    /** A changed line whose own hash fits again. */
    const forged = (line: string) => {
      const body = line.slice(0, -75).replace('"user":{"name":"thief"', '"user":{"name":"clara"');
      return `${body},"hash":"${createHash("sha256").update(body).digest("hex")}"}`;
    };
    const mutation = fc.oneof(
      at.map((i) => ({ ...whole, lines: replaced(lines, i, (line) => line.replace("thief", "clara")) })),
      at.map((i) => ({ ...whole, lines: replaced(lines, i, forged) })),
      fc.tuple(at, at).map(([i, j]) => ({ ...whole, lines: swapped(lines, i, j) })),
      fc.tuple(at, at).map(([i, j]) => ({ ...whole, proofs: swapped(proofs, i, j) })),
      fc.tuple(at, at).map(([i, j]) => ({
        ...whole,
        lines: [...lines, lines[i] ?? ""],
        proofs: [...proofs, proofs[j] ?? ""],
      })),
      fc.tuple(at, fc.integer({ min: -3, max: 3 })).map(([i, by]) => ({
        ...whole,
        proofs: replaced(proofs, i, (line) =>
          line.replace(/"index":(\d+)/, (_, index) => `"index":${Number(index) + by}`),
        ),
      })),
      fc.tuple(at, digit, fc.nat(63)).map(([i, to, place]) => ({
        ...whole,
        proofs: replaced(proofs, i, (line) =>
          line.replace(
            /"path":\["(\w{64})"/,
            (_, one: string) => `"path":["${one.slice(0, place)}${to}${one.slice(place + 1)}"`,
          ),
        ),
      })),
      at.map((i) => ({ ...whole, proofs: replaced(proofs, i, () => "[]") })),
      fc
        .tuple(fc.nat(anchors.length - 1), fc.constantFrom("writer", "sequence", "time", "hash"))
        .map(([i, field]) => ({
          ...whole,
          anchors: replaced(anchors, i, (line) => {
            const anchor = JSON.parse(line) as Anchor & Record<string, unknown>;
            const value = anchor[field];
            return JSON.stringify({
              ...anchor,
              [field]: typeof value === "number" ? value + 1 : `${value}0`,
            });
          }),
        })),
    );
    const claim = fc.asyncProperty(mutation, async (made) => {
      fc.pre(JSON.stringify(made) !== JSON.stringify(whole));
      await write(made);
      expect(problemOf(copy)).not.toBe("");
    });
    await fc.assert(claim, { numRuns: 300 });
    expect((await stat(name)).size).toBeGreaterThan(0);
  });

  test("keys that the reader does not know", async () => {
    const other = join(house.base, "other.pem");
    const stranger = auditKeys(Buffer.alloc(32, 9)).publicKey.export({ format: "pem", type: "spki" });
    await writeFile(other, stranger);
    expect(problemOf(house.evidence, { key: other })).toContain("which is not trusted");
    expect(problemOf(house.evidence, { key: join(house.evidence, `audit-key-${fleet.id}.pem`) })).toBe("");
  });
});

test("a log that was changed is exported, and said to be wrong", async () => {
  const { base, keyFile } = house;
  const folder = join(base, "changed");
  await cp(house.folder, folder, { recursive: true });
  onTestFinished(() => rm(folder, { recursive: true }));
  const [{ path, compressed } = { path: "", compressed: false }] = await listSegments(folder);
  const content = await readFile(path);
  const text = (compressed ? gunzipSync(content) : content)
    .toString("utf8")
    .replace('"uid":"s7"', '"uid":"s8"');
  await writeFile(path, compressed ? gzipSync(text) : text);
  const streams = {
    said: "",
    output: { write: () => true },
    errors: { write: (line: string) => (streams.said += line) },
  };
  const args = ["--case", join(base, "case2"), "--user", "thief", "--audit", folder, "--key-file", keyFile];
  expect(await auditExport(args, streams)).toBe(1);
  expect(streams.said).toMatch(/the evidence is in .*, but .*: WRONG: .* was changed/);
  // What is left is proved, and the changed line is not.
  expect(verifyEvidence(join(base, "case2/evidence")).lines).toBeGreaterThan(28);
  expect(streams.said).toMatch(/1 lines of segment 1 of .* are not proved: damaged/);
});
