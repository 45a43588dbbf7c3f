import type {
  A_Indirection,
  FuncCall,
  InsertStmt,
  Node,
  ResTarget,
  SelectStmt,
  UpdateStmt,
} from "libpg-query";
import type { Analysis } from "./analysis.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";

/*
 * How many values a write tries on columns of which an error tells whether a value exists. Each row is a look-up of
 * its own, whether it is stored, refused or passed over by ON CONFLICT.
 */

/** Undefined: nobody knows before it runs. */
export type RowCount = number | undefined;

/** Runs what counts the look-ups of one row, and counts them for all rows. */
export function probing(analysis: Analysis, rows: RowCount, countOne: () => void): void {
  const before = analysis.lookups;
  countOne();
  const perRow = analysis.lookups - before;
  if (perRow === 0) return;
  if (rows !== undefined) {
    analysis.lookups = before + perRow * rows;
    return;
  }
  const { role } = analysis.scope;
  const window = role.budget.find(({ what }) => what === "lookups");
  if (window === undefined) return;
  analysis.refuse(
    "42501",
    `role "${role.name}" has a budget of look-ups, and how many this statement makes is not known before it runs`,
    {
      rule: window.rule,
      hint: "Write the rows out: INSERT … VALUES, or UPDATE … SET to a constant or a parameter.",
    },
  );
}

/** Of INSERT: those of VALUES, or the one of a SELECT without FROM. */
export function rowsInserted(analysis: Analysis, { selectStmt }: InsertStmt): RowCount {
  if (selectStmt === undefined) return 1;
  const { valuesLists, fromClause, targetList, op, groupClause } = nodeOf(selectStmt)[1] as SelectStmt;
  // Postgres takes VALUES of a single row for a target list, where a function may give many rows (transformInsertStmt).
  if (valuesLists !== undefined)
    return valuesLists.length === 1 && mayGiveRows(analysis, valuesLists) ? undefined : valuesLists.length;
  const isOneRow =
    fromClause === undefined &&
    groupClause === undefined &&
    (op === undefined || op === "SETOP_NONE") &&
    !mayGiveRows(analysis, targetList ?? []);
  return isOneRow ? 1 : undefined;
}

/** Of UPDATE: one value for all rows is one look-up. */
export function valuesAssigned({ targetList }: UpdateStmt): RowCount {
  return (targetList ?? []).every(isOneValue) ? 1 : undefined;
}

function isOneValue(node: Node): boolean {
  const { val } = nodeOf(node)[1] as ResTarget;
  return val !== undefined && isConstant(val);
}

function isConstant(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg } = body as { arg?: Node };
    return arg !== undefined && isConstant(arg);
  }
  return type === "A_Const" || type === "ParamRef" || type === "SetToDefault";
}

/** Some call in it may return a set. A field may be a call as well, of a function that takes a row. */
function mayGiveRows({ scope }: Analysis, nodes: readonly Node[]): boolean {
  let found = false;
  const look = (type: string, body: object): void => {
    if (type === "FuncCall") {
      const name = ((body as FuncCall).funcname ?? []).map(stringOf).at(-1) ?? "";
      found ||= scope.catalog.functionsByName.get(name)?.every(({ returnsSet }) => !returnsSet) !== true;
    }
    if (type === "A_Indirection")
      found ||= ((body as A_Indirection).indirection ?? []).some((step) => nodeOf(step)[0] === "String");
    // A subquery that stands for a value gives one.
    if (type !== "SubLink") forEachChild(type, body, look);
  };
  for (const node of nodes) visitNode(node, look);
  return found;
}
