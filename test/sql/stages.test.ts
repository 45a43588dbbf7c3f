import { afterAll, beforeAll, expect, test } from "vitest";
import { analyse } from "../../proxy/sql/analyse.ts";
import { VerdictCache } from "../../proxy/sql/cache.ts";
import { STAGES, type StageName } from "../../proxy/sql/stages.ts";
import { type Judged, openJudged } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

const NAMES = STAGES.map(({ name }) => name);

function stagesOf(sql: string): readonly StageName[] {
  const begun: StageName[] = [];
  analyse(sql, judged.scope("anna"), undefined, undefined, (stage) => begun.push(stage));
  return begun;
}

test("an analysis goes through the stages in the order of their table", () => {
  expect(stagesOf("SELECT name, email FROM customers WHERE id = 7")).toEqual(NAMES);
  expect(stagesOf("SELECT 1")).toEqual(NAMES);
});

test.each([
  ["SELEC 1", "parse"],
  [`SELECT ${"(".repeat(500)}1${" + 1)".repeat(500)}`, "bind"],
  ["SELECT * FROM pg_authid", "rules"],
  ["UPDATE customers SET country = email", "rules"],
] as const)("what is refused says by which: %s", (sql, stage) => {
  expect(analyse(sql, judged.scope("anna"))).toMatchObject({ kind: "refuse", stage });
  expect(stagesOf(sql)).toEqual(NAMES.slice(0, NAMES.indexOf(stage) + 1));
});

test("a role that sees all has no stages", () => {
  const begun: StageName[] = [];
  analyse("SELECT 1", judged.scope("helpdesk_app"), undefined, undefined, (stage) => begun.push(stage));
  expect(begun).toEqual([]);
});

test("each refusal is counted, also a cached one", () => {
  const refusals: StageName[] = [];
  const begun: StageName[] = [];
  const cache = new VerdictCache({
    ...{ onLookup: () => {}, onLeftover: () => {} },
    onAnalysis: () => ({ stage: (stage) => begun.push(stage), end: () => {} }),
    onRefusal: (stage) => refusals.push(stage),
  });
  for (const _ of [1, 2]) cache.judge(Buffer.from("SELECT * FROM pg_authid"), judged.scope("anna"));
  cache.judge(Buffer.from([0xff]), judged.scope("anna"));
  expect(refusals).toEqual(["rules", "rules", "parse"]);
  expect(begun).toEqual(["parse", "bind", "rules"]);
});
