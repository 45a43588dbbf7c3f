import { afterAll, beforeAll, expect, test } from "vitest";
import { VerdictCache } from "../../proxy/sql/cache.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY.replace("sees: all\n", "sees: all\n    watch: true\n") });
});
afterAll(() => judged?.close());

function sentFor(texts: readonly string[]): { readonly sent: readonly string[]; readonly analysed: number } {
  let analysed = 0;
  const end = () => {
    analysed++;
  };
  const cache = new VerdictCache({
    ...{ onLookup: () => {}, onRefusal: () => {}, onLeftover: () => {} },
    onAnalysis: () => ({ stage: () => {}, end }),
  });
  const sent = texts.map((text) => {
    const verdict = cache.judge(Buffer.from(text), judged.scope("helpdesk_app"));
    return verdict.kind === "rewrite" ? verdict.sql.toString() : text;
  });
  return { sent, analysed };
}

test("texts that differ in their constants share a verdict", () => {
  const { sent, analysed } = sentFor([7, 8, 9].map((id) => `SELECT name FROM customers WHERE id = ${id}`));
  expect(analysed).toBe(1);
  expect(sent[2]).toMatch(/"sluice subject" FROM customers WHERE id = 9$/);
});

test("a number that names a column behind the client's own is seen in each text", () => {
  const order = (column: number) => `SELECT name, country FROM customers ORDER BY ${column}`;
  const { sent } = sentFor([order(2), order(3), order(1)]);
  expect(sent.map((text) => text.includes("sluice subject"))).toEqual([true, false, true]);
});

test("what sets a setting is seen in each text", () => {
  const cache = new VerdictCache({
    onLookup: () => {},
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  });
  const touches = (name: string) =>
    cache
      .judge(
        Buffer.from(`SELECT set_config('${name}', 'x', true), pg_ls_dir('.')`),
        judged.scope("helpdesk_app"),
      )
      .statements.map(({ touch }) => touch?.session);
  expect([touches("statement_timeout"), touches("app.agent"), touches("work_mem")]).toEqual([
    [false],
    [true],
    [false],
  ]);
});

test.each([
  [
    "SELECT DISTINCT customers.id, customers.name FROM customers JOIN tickets ON tickets.customer_id = customers.id",
    1,
    0,
  ],
  ["SELECT DISTINCT * FROM customers", 1, 0],
  ["SELECT DISTINCT c.* FROM customers c JOIN tickets t ON t.customer_id = c.id ORDER BY c.name", 1, 0],
  ["SELECT DISTINCT name FROM customers", 0, 1],
  ["SELECT DISTINCT ON (name) customers.id, name FROM customers", 0, 1],
  ["SELECT DISTINCT customers.id + 1 FROM customers", 0, 1],
])("of DISTINCT only rows that hold the subject name their people: %s", (sql, subjects, unknown) => {
  const { metering } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
  expect([metering?.subjects.length, metering?.unknown]).toEqual([subjects, unknown]);
});
