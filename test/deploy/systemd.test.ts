import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type ProgramResult, runProgram } from "../harness/programs.ts";

const UNIT = readFileSync(join(import.meta.dirname, "../../deploy/systemd/sluice.service"), "utf8");

/** How much of the machine a unit leaves open, in the eyes of systemd itself: it fails above 2.0 of 10. */
async function exposure(unit: string): Promise<ProgramResult> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-unit-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "sluice.service");
  await writeFile(file, unit);
  return runProgram("systemd-analyze", ["security", "--offline=true", "--threshold=20", "--no-pager", file]);
}

test("systemd understands each line of the unit, and calls its exposure low", {
  timeout: 120_000,
}, async () => {
  const { code, stdout, stderr } = await exposure(UNIT);
  expect(stdout).toMatch(/Overall exposure level for sluice.service: [01]\.\d OK/);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});

test("a line that systemd would leave out, or one that is missing, is seen", {
  timeout: 120_000,
}, async () => {
  expect((await exposure(UNIT.replace("ProtectSystem", "ProtectSytem"))).stderr).toContain("ProtectSytem");
  expect((await exposure(UNIT.replace(/^(Restrict|SystemCall|Protect|Private).*\n/gm, ""))).code).not.toBe(0);
});
