import { insertion, type Step } from "./step.ts";
import {
  type Field,
  fieldAt,
  isMade,
  type LocatedTree,
  stringText,
  type TreeReader,
  valueEnd,
} from "./tree-text.ts";

/* Changes of calls, each found by the location of its name. */

const CALL = '{"FuncCall":{';
/** The last but one field of a call that is not spelt as syntax; the location is behind it. */
const FORMAT = '"funcformat":"COERCE_EXPLICIT_CALL",';

interface Call {
  readonly start: number;
  readonly end: number;
  readonly funcname: Field;
}

/** The calls whose names begin at the location. */
function callsAt(tree: LocatedTree, location: number): readonly Call[] {
  const { json } = tree;
  return tree.placesOf(location, "}}").flatMap((at) => {
    if (!json.endsWith(FORMAT, at)) return [];
    const end = json.indexOf("}", at) + 2;
    let start = json.lastIndexOf(CALL, at);
    // Calls in its arguments are nearer.
    while (start >= 0 && valueEnd(json, start) < end) start = json.lastIndexOf(CALL, start - 1);
    const funcname = start < 0 ? undefined : fieldAt(json, start + CALL.length);
    if (funcname?.key !== "funcname" || valueEnd(json, start) !== end)
      throw new Error("a call is not where the tree has it");
    return [{ start, end, funcname }];
  });
}

/** The argument stands within `CASE WHEN false THEN … END`. */
export function argumentSteps(tree: LocatedTree, location: number, made: number): readonly Step[] {
  return callsAt(tree, location).flatMap(({ funcname }) => {
    const args = fieldAt(tree.json, funcname.end);
    if (args?.key !== "args") return [];
    return [
      insertion(
        args.value + 1,
        (rewritten) =>
          rewritten.expect('{"CaseExpr":{"args":[{"CaseWhen":{"expr":') &&
          rewritten.made(made) &&
          rewritten.expect(',"result":'),
      ),
      insertion(args.end - 1, (rewritten) => rewritten.expect(`,"location":${made}}}],"location":${made}}}`)),
    ];
  });
}

const SUBQUERY = '{"TypeCast":{"arg":{"SubLink":{"subLinkType":"EXPR_SUBLINK","subselect":';

/**
 * A cast subquery of one column stands for the call of an aggregate, begins where that began, and has its name: an output column
 * is called by it.
 */
export function summarySteps(
  tree: LocatedTree,
  location: number,
  name: string,
  made: number,
): readonly Step[] {
  const column = `{"SelectStmt":{"targetList":[{"ResTarget":{"name":${stringText(name)},`;
  const take = (rewritten: TreeReader): boolean => {
    if (!rewritten.expect(SUBQUERY)) return false;
    const query = rewritten.value();
    return (
      query.startsWith(column) &&
      isMade(query, made) &&
      rewritten.expect(`,"location":${made}}},"typeName":`) &&
      rewritten.made(made) &&
      rewritten.expect(`,"location":${location}}}`)
    );
  };
  return callsAt(tree, location)
    .filter(({ funcname }) =>
      tree.json.slice(funcname.value, funcname.end).endsWith(`{"String":{"sval":${stringText(name)}}}]`),
    )
    .map(({ start, end }) => ({ start, end, take }));
}
