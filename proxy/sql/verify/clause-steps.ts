import { fieldBehind, type LocatedTree, type TreeReader } from "../parse/tree-text.ts";
import { insertion, type Step } from "./step.ts";

/* Changes of a query's or a write's clauses, which are found after its target list, or after its target. */

/**
 * The closing brackets of target lists whose last item begins at the location. Such a list is followed by another
 * clause of the query, or ends RETURNING. Other lists can end with something that begins at the same position as the
 * item (`x AT TIME ZONE y` is a call of timezone(y, x)).
 */
export function listEnds(tree: LocatedTree, location: number): readonly number[] {
  return tree
    .placesOf(location, "}}]")
    .map((at) => tree.json.indexOf("]", at))
    .filter((at) => tree.json[at + 1] === "}" || BEHIND_TARGETS.has(keyAt(tree.json, at + 1)));
}

/** The key of the field after a comma. */
function keyAt(json: string, comma: number): string {
  return json.slice(comma + 2, json.indexOf('"', comma + 2));
}

/** Fields of SelectStmt; the last two are always present. */
const BEHIND_TARGETS = new Set([
  ...["fromClause", "whereClause", "groupClause", "groupDistinct", "havingClause", "windowClause"],
  ...["sortClause", "limitOffset", "limitCount", "lockingClause", "withClause", "limitOption", "op"],
]);

/** Fields in the order of SelectStmt, and of UpdateStmt and DeleteStmt (pg_query_outfuncs_defs.c). */
const BEFORE_GROUPING = new Set(["fromClause", "whereClause"]);
const BEFORE_HAVING = new Set([...BEFORE_GROUPING, "groupClause", "groupDistinct"]);
const BEFORE_LIMIT = new Set([...BEFORE_HAVING, "havingClause", "windowClause", "sortClause"]);
const BEFORE_WHERE = new Set(["targetList", "usingClause"]);
const AND = '{"BoolExpr":{"boolop":"AND_EXPR","args":[';

/** The clause's only condition. */
function newClause(at: number, clause: string, made: number): Step {
  return insertion(at, (rewritten) => rewritten.expect(`,"${clause}":`) && rewritten.made(made));
}

/** An additional condition in WHERE, joined to its own by the AND after it. */
export function filterSteps(json: string, from: number, made: number): readonly Step[] {
  const { at, field } = fieldBehind(json, from, BEFORE_WHERE);
  if (field?.key !== "whereClause") return [newClause(at, "whereClause", made)];
  const begin = (rewritten: TreeReader): boolean => {
    if (!rewritten.expect(AND) || !rewritten.made(made)) return false;
    while (rewritten.also(made));
    return rewritten.expect(",");
  };
  return [
    insertion(field.value, begin),
    insertion(field.end, (rewritten) => rewritten.expect(`],"location":${made}}}`)),
  ];
}

/** An additional condition in HAVING: the client's own is inside `CASE WHEN (…) IS NOT TRUE THEN false ELSE … END`. */
export function havingSteps(json: string, from: number, made: number): readonly Step[] {
  const { at, field } = fieldBehind(json, from, BEFORE_HAVING);
  if (field?.key !== "havingClause") return [newClause(at, "havingClause", made)];
  const [ends, no] = [`"location":${made}}}`, `{"A_Const":{"boolval":{},"location":${made}}}`];
  const begin = (rewritten: TreeReader): boolean =>
    rewritten.expect('{"CaseExpr":{"args":[{"CaseWhen":{"expr":{"BooleanTest":{"arg":') &&
    rewritten.made(made) &&
    rewritten.expect(`,"booltesttype":"IS_NOT_TRUE",${ends},"result":${no},${ends}],"defresult":`);
  return [insertion(field.value, begin), insertion(field.end, (rewritten) => rewritten.expect(`,${ends}`))];
}

export function groupingStep(json: string, from: number, made: number): Step {
  const { field } = fieldBehind(json, from, BEFORE_GROUPING);
  if (field?.key !== "groupClause") throw new Error("GROUP BY is not where the tree has it");
  return insertion(field.end - 1, (rewritten) => {
    if (!rewritten.also(made)) return false;
    while (rewritten.also(made));
    return true;
  });
}

/** GROUP BY for a query that has none. */
export function groupsStep(json: string, from: number, made: number): Step {
  const { at, field } = fieldBehind(json, from, BEFORE_GROUPING);
  if (field?.key === "groupClause") throw new Error("a query without GROUP BY is not where the tree has it");
  return insertion(at, (rewritten) => {
    if (!rewritten.expect(',"groupClause":[') || !rewritten.made(made)) return false;
    while (rewritten.also(made));
    return rewritten.expect("]");
  });
}

/** OFFSET 0, for a query that has neither OFFSET nor LIMIT. */
export function fenceStep(json: string, from: number, made: number): Step {
  const { field } = fieldBehind(json, from, BEFORE_LIMIT);
  if (field?.key !== "limitOption") throw new Error("a query without OFFSET is not where the tree has it");
  const zero = `{"A_Const":{"ival":{},"location":${made}}}`;
  return {
    start: field.start,
    end: field.end,
    take: (rewritten) => rewritten.expect(`"limitOffset":${zero},"limitOption":"LIMIT_OPTION_COUNT"`),
  };
}
