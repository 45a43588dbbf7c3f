import { afterAll, beforeAll, expect, test } from "vitest";
import { createFingerprint } from "../../proxy/audit/fingerprint.ts";
import { parse, TextTooDeep } from "../../proxy/parser/parser.ts";
import { VerdictCache } from "../../proxy/sql/cache.ts";
import { type Judged, openJudged } from "./judged.ts";

let judge: Judged;
beforeAll(async () => {
  judge = await openJudged();
});
afterAll(() => judge.close());

/** No text is read until the next turn of the event loop. */
const breakParser = () =>
  expect(() => parse(`SELECT 1${" UNION SELECT 1".repeat(15_000)}`)).toThrow(TextTooDeep);
const nothing = () => {};

test.each(["SELECT id FROM customers WHERE id = 7", "SELECT name FROM customers"])(
  "%s, refused while there is no parser, is not refused for ever",
  async (sql) => {
    const cache = new VerdictCache({
      ...{ onLookup: nothing, onRefusal: nothing, onLeftover: nothing },
      onAnalysis: () => ({ stage: nothing, end: nothing }),
    });
    const scope = judge.scope("anna");
    breakParser();
    expect(cache.judge(Buffer.from(sql), scope)).toMatchObject({ refusal: { sqlstate: "58000" } });
    await new Promise(setImmediate);
    expect(cache.judge(Buffer.from(sql), scope)).toMatchObject({ kind: "rewrite" });
  },
);

test("nor is its event without its fingerprint for ever", async () => {
  const fingerprintOf = createFingerprint();
  breakParser();
  expect(fingerprintOf("SELECT 1")).toBeUndefined();
  await new Promise(setImmediate);
  expect(fingerprintOf("SELECT 1")).toMatch(/^[0-9a-f]{16}$/);
});
