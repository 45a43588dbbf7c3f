import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noisyCalls } from "../../../proxy/sql/rules/summary-calls.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ setup: "ALTER TABLE payments ADD fee numeric(10, 2), ADD share real" });
});
afterAll(() => judged?.close());

function callsOf(sql: string) {
  const { statement, ...given } = ruleInput(judged, "metabase", sql);
  if (statement.top === undefined) throw new Error(`no query: ${sql}`);
  return noisyCalls(statement, given, statement.top);
}

test("counts, and sums and averages of plain numbers, can be given noise", () => {
  const found = callsOf(
    "SELECT count(*), count(1), count(DISTINCT p.currency), sum(fee), pg_catalog.avg(p.share), count(NULL) FROM payments p",
  );
  if (!found.ok) throw new Error(found.refusal.message);
  expect(
    found.calls.map(({ name, distinct, column, type }) => [name, distinct, column !== undefined, type]),
  ).toEqual([
    ["count", false, false, undefined],
    ["count", false, false, undefined],
    ["count", true, true, undefined],
    ["sum", false, true, "numeric(10,2)"],
    ["avg", false, true, "real"],
    // If the argument is only NULL, the server returns 0, whoever is in the group.
  ]);
});

describe("others cannot", () => {
  test.each([
    ["SELECT stddev(fee) FROM payments", "stddev() of people with noise"],
    ["SELECT sum(DISTINCT fee) FROM payments", "with DISTINCT"],
    ["SELECT count(DISTINCT 3) FROM payments", "of a constant"],
    ["SELECT sum(3) FROM payments", "of a constant"],
    ["SELECT sum(customer_id) FROM payments", "of customer_id, which identifies them"],
    ["SELECT avg(x) FROM payments AS p (x)", "of id, which identifies them"],
    ["SELECT avg(paid_at) FROM payments", "of type timestamp with time zone"],
    ["SELECT sum(id) FROM tickets JOIN payments USING (id)", "of what is no plain column"],
    ["SELECT public.sum(fee) FROM payments", "of a schema other than pg_catalog"],
  ])("%s: %s", (sql, words) => {
    const found = callsOf(sql);
    expect(found).toMatchObject({ ok: false, refusal: { message: expect.stringContaining(words) } });
  });
});
