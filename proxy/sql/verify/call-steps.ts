import {
  type Field,
  fieldAt,
  isMade,
  type LocatedTree,
  stringText,
  type TreeReader,
  valueEnd,
} from "../parse/tree-text.ts";
import { insertion, type Step } from "./step.ts";

/* Changes of calls, each found by the location of its name. */

const CALL = '{"FuncCall":{';
/** The second-to-last field of a call that is not written in special syntax; the location follows it. */
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
    // Calls in its arguments are closer.
    while (start >= 0 && valueEnd(json, start) < end) start = json.lastIndexOf(CALL, start - 1);
    const funcname = start < 0 ? undefined : fieldAt(json, start + CALL.length);
    if (funcname?.key !== "funcname" || valueEnd(json, start) !== end)
      throw new Error("a call is not where the tree has it");
    return [{ start, end, funcname }];
  });
}

/** The argument is inside `CASE WHEN false THEN … END`. */
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
 * The call of an aggregate is replaced by a cast subquery of one column. It begins where the call began, and its column
 * has the call's name, because an output column is named after it.
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
