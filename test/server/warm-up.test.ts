import { afterAll, beforeAll, expect, test } from "vitest";
import { warmUp } from "../../proxy/app/warm-up.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { type Judged, openJudged, POLICY } from "../sql/judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

test("the statements of the warm-up go all the way, for a guarded role and one that sees all", () => {
  const compiled = compilePolicies([{ name: "test.yaml", text: POLICY }]);
  if (!compiled.ok) throw new Error("the policy does not compile");
  const verdicts = warmUp(compiled.policies, [judged.catalog]);
  expect(verdicts.filter(({ kind }) => kind === "rewrite").length).toBeGreaterThanOrEqual(3);
  const commands = verdicts.flatMap(({ statements }) => statements.map(({ command }) => command));
  expect(new Set(commands)).toEqual(
    new Set(["SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "SET", "OTHER"]),
  );
});

test("a process without a policy's tables, or without a catalog, is warmed up as well", () => {
  const compiled = compilePolicies([{ name: "test.yaml", text: EMPTY }]);
  if (!compiled.ok) throw new Error("the policy does not compile");
  expect(warmUp(compiled.policies, [])).toEqual([]);
  expect(warmUp(compiled.policies, [judged.catalog]).length).toBeGreaterThan(0);
});

const EMPTY =
  "version: 1\nroles: { app: { users: [app], reads: all, writes: all, sees: all, budget: none } }";

test("serve warms up before it takes the first client", async () => {
  let sluice: TestSluice | undefined;
  try {
    sluice = await startSluice({ policy: EMPTY, upstream: judged.database.uri, logLevel: "debug" });
    const said = sluice.log.map(({ msg }) => msg);
    expect(said).toContain("the analysis is warm");
  } finally {
    await sluice?.close();
  }
});
