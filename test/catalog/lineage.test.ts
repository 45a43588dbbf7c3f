import fc from "fast-check";
import { expect, test } from "vitest";
import { readLineage, type ViewFacts } from "../../proxy/catalog/lineage.ts";
import { isNode, parseTree, UnreadableTree } from "../../proxy/catalog/node-tree.ts";

const view: ViewFacts = {
  oid: 50,
  columns: new Map([[1, "email"]]),
  action: "",
  depends: [[10, 3]],
  operatorFunctions: new Map(),
};

function query(targetList: string, rest = ":setOperations <>"): string {
  return `({QUERY :rtable ({RANGETBLENTRY :rtekind 0 :relid 10 :selectedCols (b 10)}) :targetList ${targetList} ${rest}})`;
}

const COPY =
  "{TARGETENTRY :expr {VAR :varno 1 :varattno 3 :varlevelsup 0} :resno 1 :resname email :resorigtbl 10 :resorigcol 3 :resjunk false}";

test("a plain column is a copy of its origin", () => {
  const lineage = readLineage({ ...view, action: query(`(${COPY})`) });
  expect(lineage).toEqual({
    origins: new Map([["email", { relation: 10, column: 3 }]]),
    madeOf: new Map([["email", [{ relation: 10, column: 3 }]]]),
    dependsOn: [{ relation: 10, columns: [3] }],
    functions: [],
    types: [],
    references: { times: new Map([[10, 1]]), gathered: new Set(), aggregates: [], windows: [] },
  });
});

test("a relation is read under the name that Postgres 13 and 14 use for it", () => {
  const action = query(`(${COPY})`);
  const older = readLineage({ ...view, depends: [], action: action.replace("RANGETBLENTRY", "RTE") });
  expect(older).toEqual(readLineage({ ...view, depends: [], action }));
  expect(older.dependsOn).toEqual([{ relation: 10, columns: [3] }]);
});

test.each([
  ["no text", ""],
  ["no query", "({NOTIFY})"],
  ["two queries", query(`(${COPY})`).replace(/^\((.*)\)$/, "($1 $1)")],
  ["no targets", query("<>")],
  ["a target of an unknown kind", query("({OTHER :resno 1})")],
  ["a relation of an unknown kind", query(`(${COPY})`).replace("RANGETBLENTRY", "OTHER")],
  ["no range table", query(`(${COPY})`).replace(":rtable", ":other")],
  ["a target without a mark", query(`(${COPY.replace(":resjunk false", "")})`)],
  ["a target beyond the columns", query(`(${COPY.replace(":resno 1", ":resno 2")})`)],
  ["half of its text", query(`(${COPY})`).slice(0, -20)],
  ["text after its end", `${query(`(${COPY})`)} more`],
])("a definition with %s has no origins and may run any code", (_what, action) => {
  const lineage = readLineage({ ...view, action });
  expect(lineage).toEqual({
    origins: new Map(),
    madeOf: new Map(),
    dependsOn: [{ relation: 10, columns: [] }],
    functions: [0],
    types: [],
    references: undefined,
  });
});

test.each([
  ["a computed column", "{VAR :varno 1 :varattno 4 :varlevelsup 0}", [{ relation: 10, column: 4 }]],
  ["a constant", "{CONST :constvalue 1}", []],
  ["a whole row", "{VAR :varno 1 :varattno 0 :varlevelsup 0}", undefined],
  ["a column of a query further out", "{VAR :varno 1 :varattno 4 :varlevelsup 1}", undefined],
  ["a column of something else", "{VAR :varno 2 :varattno 4 :varlevelsup 0}", undefined],
  ["a column without a place", "{VAR :varattno 4}", undefined],
  ["a subquery", "{SUBLINK :subselect {QUERY :rtable <>}}", undefined],
])("%s is made of what its expression names, or it is not known", (_what, expression, made) => {
  const computed = `{TARGETENTRY :expr {FUNCEXPR :funcid 1 :args (${expression})} :resno 1 :resname email :resorigtbl 0 :resorigcol 0 :resjunk false}`;
  expect(readLineage({ ...view, action: query(`(${computed})`) }).madeOf.get("email")).toEqual(made);
});

test("an operator that is not in the catalog is an unknown function", () => {
  const computed =
    "{TARGETENTRY :expr {OPEXPR :opno 99 :opfuncid 0} :resno 1 :resname email :resorigtbl 0 :resorigcol 0 :resjunk false}";
  expect(readLineage({ ...view, action: query(`(${computed})`) }).functions).toEqual([0]);
});

test("any name is read from a tree as it was written", () => {
  // outToken() of outfuncs.c: these characters get a backslash anywhere, some others only in front.
  const written = (name: string) => {
    const escaped = name.replace(/[ \n\t(){}\\]/g, "\\$&");
    return /^[<"0-9+-]/.test(escaped) ? `\\${escaped}` : escaped;
  };
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: "grapheme" }), fc.string({ minLength: 1 }), (one, two) => {
      const tree = parseTree(
        `{ALIAS :aliasname ${written(one)} :colnames (${written(two)} "${written(one)}") :end 1}`,
      );
      if (!isNode(tree)) throw new Error("no node");
      expect(tree.fields.get("aliasname")).toBe(one);
      expect(tree.fields.get("colnames")).toEqual([two, `"${one}"`]);
      expect([...tree.fields.keys()]).toEqual(["aliasname", "colnames", "end"]);
    }),
  );
});

test("text that is not a tree is refused, never half read", () => {
  for (const text of ["", ")", "(", "{", "{A", "{A b}", "{A :b}", "(a", "{A :b 1 :b 2}", "a b"]) {
    expect(() => parseTree(text), text).toThrow(UnreadableTree);
  }
});
