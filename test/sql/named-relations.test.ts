import fc from "fast-check";
import { expect, test } from "vitest";
import { treeText } from "../../proxy/parser/parser.ts";
import { forEachNamedRelation, namedRelations } from "../../proxy/sql/parse/named-relations.ts";
import { readCorpus } from "./corpus.ts";

function byWalking(json: string) {
  const found: object[] = [];
  forEachNamedRelation(JSON.parse(json), (named) => found.push(named));
  return found;
}

function treeOf(text: string): string | undefined {
  try {
    return treeText(text);
  } catch {
    return undefined;
  }
}

const corpora = await Promise.all([readCorpus("clients"), readCorpus("regress")]);

test.skipIf(corpora.includes(undefined))(
  "the JSON of a tree names the relations that a walk over the tree finds",
  () => {
    const trees = corpora.flatMap((corpus) => (corpus ?? []).flatMap(({ sql }) => treeOf(sql) ?? []));
    expect(trees.length).toBeGreaterThan(1_000);
    for (const tree of trees) expect(namedRelations(tree)).toEqual(byWalking(tree));
  },
);

test("also where names and literals look like JSON", () => {
  const odd = fc
    .array(fc.constantFrom(...'{}[]":,\\\\aä\u0001'.split(""), '"relname":"', '{"schemaname":"'), {
      minLength: 1,
      maxLength: 8,
    })
    .map((parts) => parts.join(""));
  const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
  fc.assert(
    fc.property(odd, odd, odd, odd, (schema, table, alias, literal) => {
      const from = `${quoted(schema)}.${quoted(table)} AS ${quoted(alias)} (${quoted(literal)}, b)`;
      const tree = treeText(`SELECT '${literal}', (SELECT 1 FROM ${from}) FROM db.s.t, u`);
      expect(namedRelations(tree)).toEqual(byWalking(tree));
    }),
    { numRuns: 2_000 },
  );
});

test("it does not skip what it does not know", () => {
  expect(() => namedRelations('{"inh":true,"relname":"t"}')).toThrow("not known");
  expect(() => namedRelations('[1,"relname":"t"}')).toThrow("not known");
  expect(() => namedRelations('{"relname":"t"')).toThrow("without an end");
});
