import { fieldAt, type LocatedTree, type TreeReader } from "../parse/tree-text.ts";
import { insertion, type Step } from "./step.ts";

const ITEM = '{"ResTarget":{';
const COMPARED = '{"A_Expr":{"kind":"AEXPR_NOT_DISTINCT","name":[{"String":{"sval":"="}}],"lexpr":';

/** The value is inside `CASE WHEN column IS NOT DISTINCT FROM (…) THEN … ELSE … END`: see kept-columns.ts. */
export function keptSteps(tree: LocatedTree, location: number, made: number): readonly Step[] {
  const { json } = tree;
  const ends = `"location":${made}}}`;
  const before = (rewritten: TreeReader): boolean =>
    rewritten.expect(`{"CaseExpr":{"args":[{"CaseWhen":{"expr":${COMPARED}`) &&
    rewritten.made(made) &&
    rewritten.expect(',"rexpr":');
  const behind = (rewritten: TreeReader): boolean =>
    rewritten.expect(`,${ends},"result":`) &&
    takeOurs(rewritten) &&
    rewritten.expect(`,${ends}],"defresult":`) &&
    takeOurs(rewritten) &&
    rewritten.expect(`,${ends}`);
  return tree.placesOf(location, "}}").flatMap((at) => {
    const start = json.lastIndexOf(ITEM, at);
    let field = start < 0 ? undefined : fieldAt(json, start + ITEM.length);
    while (field !== undefined && field.key !== "val") field = fieldAt(json, field.end);
    if (field === undefined) return [];
    return [insertion(field.value, before), insertion(field.end, behind)];
  });
}

/** All of its nodes are in our own text. */
function takeOurs(rewritten: TreeReader): boolean {
  const value = rewritten.value();
  return value.includes('"location":-') && !/"location":(?!-)/.test(value);
}
