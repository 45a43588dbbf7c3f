import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Analyst, type AnalystOptions } from "../../proxy/analyst/analyst.ts";
import { assembled, partsOf } from "../../proxy/catalog/assembled.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { residueOf } from "../../proxy/sql/session-residue.ts";
import { LONGEST_PARSED_ELSEWHERE, storedText } from "../../proxy/sql/stored-text.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";
import { type Judged, openJudged } from "../sql/judged.ts";

const list = (count: number, make: (i: number) => string, between = ", ") =>
  Array.from({ length: count }, (_, i) => make(i)).join(between);

/** Beyond what is analysed on the event loop, each in another way. */
const TEXTS = [
  [
    "a bulk INSERT",
    `insert into tickets (id, customer_id, status) values ${list(500, (i) => `(${i}, ${i}, 'open ''${i}''')`)}`,
  ],
  [
    "a long IN list that names its people",
    `select id, name, email from customers where id in (${list(2_000, String)})`,
  ],
  ["a masked comparison", `select id from customers where email in (${list(800, (i) => `'a${i}@b.c'`)})`],
  ["what is refused", `select ${list(500, (i) => `no_such_column_${i}`)} from customers`],
  ["what does not parse", `select ${list(2_000, String)} from from`],
  [
    "several statements",
    list(50, (i) => `select id, email from customers where id = ${i}; /* ${"-".repeat(200)} */`, ""),
  ],
] as const;

let judged: Judged;
let program: Program;
let thread: URL;
beforeAll(async () => {
  [judged, program] = await Promise.all([openJudged(), compileSluice()]);
  thread = pathToFileURL(join(program.main, "../analyst/thread.js"));
});
afterAll(async () => {
  await judged.close();
});

const open: Analyst[] = [];
const lost: string[] = [];
function openAnalyst(options: Partial<AnalystOptions> = {}): Analyst {
  const analyst = new Analyst({ thread, onLost: (why) => lost.push(why), ...options });
  open.push(analyst);
  return analyst;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((analyst) => analyst.close()));
  lost.length = 0;
});

function openCache(analyst: Analyst): VerdictCache {
  return new VerdictCache(
    {
      onLookup: () => {},
      onAnalysis: () => ({ stage: () => {}, end: () => {} }),
      onRefusal: () => {},
      onLeftover: () => {},
    },
    analyst,
  );
}

function watched(scope: Scope): Scope {
  return { ...scope, role: { ...scope.role, reads: "all", writes: "all", sees: "all", watch: true } };
}

test("a catalog is the same after it has been taken apart and put together", () => {
  expect(assembled(partsOf(judged.catalog))).toEqual(judged.catalog);
});

test.each(TEXTS)("the thread's verdict on %s is the analysis's own, byte for byte", async (_, text) => {
  const analyst = openAnalyst();
  for (const scope of [
    ...(["anna", "ben", "cleo", "metabase"] as const).map((user) => judged.scope(user)),
    watched(judged.scope("cleo")),
  ]) {
    const { verdict, stored, isLasting } = await analyst.analyse(text, scope);
    expect(verdict).toEqual(analyse(text, scope));
    expect(stored).toBe(storedText(text, LONGEST_PARSED_ELSEWHERE));
    expect(isLasting).toBe(true);
  }
  expect(lost).toEqual([]);
});

test("the thread tells what a long text leaves behind, as the event loop would", async () => {
  const analyst = openAnalyst();
  const listens = `${TEXTS[0][1]}; listen x`;
  for (const text of [TEXTS[0][1], listens]) {
    const found = await analyst.residue(text, judged.catalog);
    expect(found).toEqual(residueOf(text, judged.catalog, text.length));
  }
  expect((await analyst.residue(listens, judged.catalog))?.refusal?.message).toMatch(/LISTEN/);
  await analyst.close();
  expect(await analyst.residue(listens, judged.catalog)).toBeUndefined();
});

test("the event loop turns while a text is analysed, and the verdict is remembered", async () => {
  const verdicts = openCache(openAnalyst());
  const scope = new Scopes().of(judged.scope("anna"));
  const text = Buffer.from(TEXTS[0][1]);
  const verdict = verdicts.judgeInTurn(text, scope);
  expect(verdict).toBeInstanceOf(Promise);
  // Whoever asks for the same meanwhile gets the same.
  expect(await verdicts.judgeInTurn(text, scope)).toBe(await verdict);
  const again = verdicts.judgeInTurn(text, scope);
  expect(again).not.toBeInstanceOf(Promise);
  expect(again).toEqual(await verdict);
  if (again instanceof Promise) throw new Error("not remembered");
  expect(verdicts.storedText(again.statements)).toBe(storedText(TEXTS[0][1], LONGEST_PARSED_ELSEWHERE));
});

test("a short text that costs much is analysed in the thread, and others are not", async () => {
  const verdicts = openCache(openAnalyst());
  const scope = new Scopes().of(judged.scope("anna"));
  const costly = Buffer.from(
    `select ${list(1_500, () => "*", ",")} from ${list(30, (i) => `customers a${i}`)}`,
  );
  const cheap = Buffer.from("select id, name, email from customers where id = 7");
  expect(verdicts.judgeInTurn(costly, scope)).toBeInstanceOf(Promise);
  expect(verdicts.judgeInTurn(cheap, scope)).toMatchObject({ kind: "rewrite" });
});

test.each([
  ["does not start", {}, pathToFileURL("/nowhere/thread.js"), "58000"],
  ["is too slow", { deadline: 1 }, undefined, "54001"],
  ["has too much to do", { mostWaiting: 10 }, undefined, "58000"],
] as const)(
  "a thread that %s: guarded texts are refused, watched ones charged by their size",
  async (_, options, broken, sqlstate) => {
    const analyst = openAnalyst({ ...options, ...(broken && { thread: broken }) });
    const scope = judged.scope("cleo");
    const [, text] = TEXTS[1];
    const refused = await analyst.analyse(text, scope);
    expect(refused).toMatchObject({
      verdict: { kind: "refuse", refusal: { sqlstate, hint: expect.any(String) } },
    });
    expect(refused.isLasting).toBe(false);
    const charged = await analyst.analyse(text, watched(scope));
    expect(charged).toMatchObject({
      verdict: { kind: "pass", statements: [{ uncounted: true, metering: { price: { bySize: true } } }] },
      isLasting: false,
    });
  },
);

test("after a text that could not be sent the next one has a thread again", async () => {
  const analyst = openAnalyst();
  const scope = judged.scope("anna");
  // What holds a function cannot be copied.
  const strange = { ...scope, searchPath: { includes: () => false } as unknown as readonly string[] };
  const first = await analyst.analyse(TEXTS[1][1], strange);
  expect(first.verdict).toMatchObject({ kind: "refuse", refusal: { sqlstate: "58000" } });
  const second = await analyst.analyse(TEXTS[1][1], scope);
  expect(second.verdict.kind).toBe("rewrite");
  expect(lost).toHaveLength(1);
});

test("what failed for the moment is not remembered", async () => {
  const verdicts = openCache(openAnalyst({ mostWaiting: 5_000 }));
  const scope = new Scopes().of(judged.scope("anna"));
  const text = Buffer.from(TEXTS[0][1]);
  const verdict = await verdicts.judgeInTurn(text, scope);
  expect(verdict).toMatchObject({ kind: "refuse", refusal: { sqlstate: "58000" } });
  expect(verdicts.judgeInTurn(text, scope)).toBeInstanceOf(Promise);
});
