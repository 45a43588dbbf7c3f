import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { deriveKeys, loadSecret, randomSecret } from "../../proxy/keys/secret.ts";
import { createLog } from "../../proxy/log.ts";

const BYTES = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i));

describe("the one secret", () => {
  let file: string;
  beforeEach(async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-key-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    file = join(folder, "key");
  });

  async function load(content: string | Buffer, mode = 0o600) {
    await writeFile(file, content);
    await chmod(file, mode);
    return loadSecret({ keyFile: file });
  }

  test("is the same bytes as hexadecimal, base64 or raw, in a file or the environment", async () => {
    const expected = { ok: true, secret: BYTES };
    expect(await load(`${BYTES.toString("hex")}\n`)).toEqual(expected);
    expect(await load(`${BYTES.toString("base64")}\n`)).toEqual(expected);
    expect(await load(`${BYTES.toString("base64url")}\n`)).toEqual(expected);
    expect(await load(BYTES)).toEqual(expected);
    expect(loadSecret({ env: BYTES.toString("hex") })).toEqual(expected);
    expect(loadSecret({ env: BYTES.toString("base64") })).toEqual(expected);
  });

  test("may be absent", () => {
    expect(loadSecret({})).toEqual({ ok: true, secret: undefined });
    expect(loadSecret({ env: "" })).toEqual({ ok: true, secret: undefined });
  });

  test("is refused when short, without being shown", async () => {
    for (const short of ["hunter2hunter2!", "ab".repeat(31), Buffer.alloc(31, 7).toString("base64")]) {
      for (const result of [await load(short), loadSecret({ env: short })]) {
        expect(result).toMatchObject({ ok: false, problem: expect.stringMatching(/at least 32/) });
        expect(JSON.stringify(result)).not.toContain(short.slice(0, 8));
      }
    }
  });

  test.each([0o640, 0o644, 0o660, 0o604, 0o610])(
    "in a file of mode %o is judged as libpq judges keys",
    async (mode) => {
      const rootMayShare = process.getuid?.() === 0 && mode === 0o640;
      const result = await load(BYTES, mode);
      expect(result.ok).toBe(rootMayShare);
      if (!result.ok) expect(result.problem).toContain("group or world access");
    },
  );

  test("in something that is no file, or in none, is refused", () => {
    expect(loadSecret({ keyFile: tmpdir() })).toMatchObject({ ok: false });
    expect(loadSecret({ keyFile: join(tmpdir(), "no", "such") })).toMatchObject({
      ok: false,
      problem: expect.stringContaining("ENOENT"),
    });
    expect(loadSecret({ keyFile: "/dev/zero" })).toMatchObject({ ok: false });
  });

  test("gives each purpose its own key, the same in every process", () => {
    const keys = deriveKeys(BYTES);
    expect(deriveKeys(BYTES)).toEqual(keys);
    expect(new Set(Object.values(keys).map((key) => key.toString("hex"))).size).toBe(3);
    for (const key of Object.values(keys)) expect(key).toHaveLength(32);
    expect(deriveKeys(randomSecret()).masks).not.toEqual(keys.masks);
    // A key of another value would make every counter and every token of a running fleet a stranger.
    expect(keys.counters.toString("hex")).toMatchInlineSnapshot(
      `"bc75e3328d1df4209113c1f655fd58dce52353ff0c3557b02a66ab7de73f8488"`,
    );
  });
});

test("the log shows nothing that is named a secret", () => {
  const lines: string[] = [];
  const log = createLog({ level: "info", to: { write: (line) => lines.push(line) } });
  log.info({ password: "hunter2", upstream: { host: "db", password: "hunter2" } }, "one");
  log.info({ settings: { redis: { key: "hunter2", secret: "hunter2" } } }, "two");
  expect(lines.join("")).not.toContain("hunter2");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "info", msg: "one", upstream: { host: "db" } });
});
