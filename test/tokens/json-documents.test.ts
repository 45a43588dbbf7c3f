import fc from "fast-check";
import { expect, test } from "vitest";
import { type Shape, shapeOf, turnDocument } from "../../proxy/tokens/json-documents.ts";
import { overlaps, parsePath, pathText } from "../../proxy/tokens/json-path.ts";

const RUNS = 300 * Number(process.env.SLUICE_LONG ?? 1);

const paths = (...texts: readonly string[]) =>
  shapeOf(texts.map((text) => ({ steps: parsePath(text) ?? [], leaf: text })));
/** Strings at the paths get `<path:…>` around them. */
const turn = (text: string, shape: Shape<string>) =>
  turnDocument(text, shape, {
    string: (value, leaf) => `<${leaf}:${value}>`,
    other: () => null,
  });

test.each([
  ["customer.email", ["customer", "email"]],
  ["contacts[*].phone", ["contacts", null, "phone"]],
  ["[*][*]", [null, null]],
  ["[*].a", [null, "a"]],
  ['"a.b".c', ["a.b", "c"]],
  ['a."x\\"y\\\\"', ["a", 'x"y\\']],
  ['""', [""]],
  ["größe.a-b", ["größe", "a-b"]],
])("%s is a path", (text, steps) => {
  expect(parsePath(text)).toEqual(steps);
  expect(parsePath(pathText(steps))).toEqual(steps);
});

test.each(["", ".", "a.", ".a", "a..b", "a b", "a[0]", "a[", "a.[*]", '"a', 'a"b"', "a[*]b", '"a\\n"'])(
  "%s is no path",
  (text) => {
    expect(parsePath(text)).toBeUndefined();
  },
);

test("a path overlaps those that lead through it", () => {
  const meets = (one: string, other: string) => overlaps(parsePath(one) ?? [], parsePath(other) ?? []);
  expect(meets("a.b", "a")).toBe(true);
  expect(meets("a", "a")).toBe(true);
  expect(meets("a[*]", "a[*].b")).toBe(true);
  expect(meets("a[*].c", "a.b")).toBe(false);
});

test.each([
  ['{"a":{"b":"x"}}', '{"a":{"b":"<a.b:x>"}}'],
  [' { "a" : { "b" : "x" , "c":"y"} } ', ' { "a" : { "b" : "<a.b:x>" , "c":"y"} } '],
  ['{"a":{"b":"x","b":"y"},"a":{"b":"z"}}', '{"a":{"b":"<a.b:x>","b":"<a.b:y>"},"a":{"b":"<a.b:z>"}}'],
  ['{"\\u0061":{"b":"\\u00e9\\n"}}', '{"\\u0061":{"b":"<a.b:é\\n>"}}'],
  ['{"a":{"b":null}}', '{"a":{"b":null}}'],
  ['{"a":{"b":[1,{"b":"x"}]},"c":1e400}', '{"a":{"b":null},"c":1e400}'],
  ['{"a":{"b":12.50}}', '{"a":{"b":null}}'],
  ['{"a":"b"}', '{"a":"b"}'],
  ['[{"a":{"b":"x"}}]', '[{"a":{"b":"x"}}]'],
  ['{"l":["x",{"x":"y"},null]}', '{"l":["<l[*]:x>",null,null]}'],
  ["{}", "{}"],
  ['"x"', '"x"'],
  ["null", "null"],
])("in %s only strings at the paths are turned", (text, expected) => {
  expect(turn(text, paths("a.b", "l[*]"))).toEqual({ text: expected });
});

test.each([
  "",
  "{",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  "[1,]",
  "01",
  "1.",
  "+1",
  "nul",
  "nullx",
  "'a'",
  '"\n"',
  '"\\x"',
  '"\\u12"',
  "{} {}",
  "\u00a0{}",
  "\ufeff{}",
  "NaN",
  "{a:1}",
])("%j is refused, as the server refuses it", (text) => {
  expect(turn(text, paths("a"))).toEqual({ fault: "syntax" });
});

test("what no text can be is not sealed, and depth is bounded", () => {
  expect(turn('{"a":"\\u0000"}', paths("a"))).toEqual({ fault: "character" });
  expect(turn('{"a":"\\ud800"}', paths("a"))).toEqual({ fault: "character" });
  expect(turn('{"a":"\\ud83d\\ude00"}', paths("a"))).toEqual({ text: '{"a":"<a:😀>"}' });
  expect(turn(`{"b":"\\u0000\\ud800"}`, paths("a"))).toEqual({ text: '{"b":"\\u0000\\ud800"}' });
  expect(turn(`${"[".repeat(200_000)}`, paths("a"))).toEqual({ fault: "depth" });
  expect(turn(`${"[".repeat(900)}${"]".repeat(900)}`, paths("a"))).toHaveProperty("text");
});

/** The same by JSON.parse, for documents without duplicates. */
function model(value: unknown, shape: Shape<string> | undefined): unknown {
  if (shape?.leaf !== undefined)
    return value === null ? null : typeof value === "string" ? `<${shape.leaf}:${value}>` : null;
  if (Array.isArray(value)) return value.map((each) => model(each, shape?.each));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, model(each, shape?.keys.get(key))]),
  );
}

const KEYS = fc.constantFrom("a", "b", "c", "", "é", "a.b", '"', "constructor", "length");
const documents = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: "binary" }).filter((text) => !/[\p{Surrogate}\0]/u.test(text)),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(null, true, false),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(KEYS, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;
const steps = fc.array(fc.oneof(KEYS, fc.constant(null)), { minLength: 1, maxLength: 3 });

test("documents of any kind are turned as a parser would do it", () => {
  fc.assert(
    fc.property(documents, fc.array(steps, { maxLength: 4 }), fc.constantFrom(0, 2), (value, ways, space) => {
      const apart = ways.filter((way, index) => !ways.slice(0, index).some((other) => overlaps(other, way)));
      const shape = shapeOf(apart.map((way) => ({ steps: way, leaf: pathText(way) })));
      const text = JSON.stringify(value, undefined, space);
      expect(turnDocument(text, shape, { string: () => undefined, other: () => undefined })).toEqual({
        text,
      });
      const turned = turn(text, shape);
      expect(turned).toEqual({ text: JSON.stringify(model(JSON.parse(text), shape), undefined, space) });
    }),
    { numRuns: RUNS },
  );
});

test("any text is taken or refused as JSON.parse does", () => {
  const texts = fc.string({
    unit: fc.constantFrom(...'{}[]":,\\ \n\t01.-+eEutrfalsn'.split(""), "null", "true", '"a"'),
    maxLength: 12,
  });
  fc.assert(
    fc.property(texts, (text) => {
      const isValid = (() => {
        try {
          JSON.parse(text);
          return true;
        } catch {
          return false;
        }
      })();
      expect(
        "text" in turnDocument(text, paths("a"), { string: () => undefined, other: () => undefined }),
      ).toBe(isValid);
    }),
    { numRuns: 20 * RUNS },
  );
});
