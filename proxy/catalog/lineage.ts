import type { ColumnOrigin, ViewLineage } from "./catalog.ts";
import { isNode, parseTree, type TreeNode, type TreeValue, visitNodes } from "./node-tree.ts";
import { readReferences } from "./view-references.ts";

/** What the server's tables say of one view beside its stored query. */
export interface ViewFacts {
  readonly oid: number;
  /** By attribute number. */
  readonly columns: ReadonlyMap<number, string>;
  /** pg_rewrite.ev_action of its rule `_RETURN`. */
  readonly action: string;
  /** pg_depend: relation, and column or 0. */
  readonly depends: readonly (readonly [relation: number, column: number])[];
  /** pg_operator.oprcode by oid. */
  readonly operatorFunctions: ReadonlyMap<number, number>;
}

/** Fields of expression nodes that call a function (Postgres source, primnodes.h, parsenodes.h). */
const FUNCTION_FIELDS = [
  "funcid",
  "opfuncid",
  "elemfuncid",
  "aggfnoid",
  "winfnoid",
  "startInRangeFunc",
  "endInRangeFunc",
];
/** Fields that hold an operator; what they call is looked up, for `opfuncid` may be stored as 0. */
const OPERATOR_FIELDS = ["opno", "opnos", "eqop", "sortop"];

/** No function has this oid: whoever asks whether it is harmless hears no. */
const UNKNOWN_FUNCTION = 0;

/** No column has this number: the relation's rows are used (counted), but nothing that is in them. */
const NO_COLUMN = 0;

/** A bit of `selectedCols` is the attribute number less FirstLowInvalidHeapAttributeNumber (sysattr.h). */
const ATTRIBUTE_OFFSET = 7;

/**
 * What a view is made from. A definition that cannot be read depends on an unknown function, and has no
 * origins: nothing is known to be harmless in it.
 */
export function readLineage(view: ViewFacts): ViewLineage {
  try {
    const query = outermostQuery(parseTree(view.action));
    return {
      origins: readOrigins(query, view),
      dependsOn: readDependencies(query, view),
      functions: readFunctions(query, view),
      references: readReferences(query, view.oid),
    };
  } catch {
    return {
      origins: new Map(),
      dependsOn: view.depends.map(([relation]) => ({ relation, columns: [] })),
      functions: [UNKNOWN_FUNCTION],
      references: undefined,
    };
  }
}

/** ev_action is a list of one query. */
function outermostQuery(action: TreeValue): TreeNode {
  const query = Array.isArray(action) && action.length === 1 ? (action[0] as TreeValue) : undefined;
  if (!isNode(query) || query.type !== "QUERY") throw new Error("a view's rule is one query");
  return query;
}

/**
 * The parser marks each output column that is a plain column of a relation, through joins, subqueries and
 * CTEs (markTargetListOrigin() of parse_target.c). The relation may be a view again.
 */
function readOrigins(query: TreeNode, view: ViewFacts): ReadonlyMap<string, ColumnOrigin> {
  const origins = new Map<string, ColumnOrigin>();
  // Columns of a UNION come from several relations.
  if (query.fields.get("setOperations") !== "<>") return origins;
  const targets = query.fields.get("targetList");
  if (!Array.isArray(targets)) throw new Error("a view without a target list");
  for (const target of targets as readonly TreeValue[]) {
    if (!isNode(target) || target.type !== "TARGETENTRY") throw new Error("not a target entry");
    const junk = target.fields.get("resjunk");
    if (junk === "true") continue;
    if (junk !== "false") throw new Error("a target entry that may be a column or not");
    const relation = readNumber(target, "resorigtbl");
    const column = readNumber(target, "resorigcol");
    // By position: `resname` is the name at creation, and the column may have been renamed since.
    const name = view.columns.get(readNumber(target, "resno"));
    const expression = target.fields.get("expr");
    if (name === undefined) throw new Error("a target entry that is no column");
    // 0 is the whole row, below are system columns.
    if (relation > 0 && column > 0 && isNode(expression) && expression.type === "VAR") {
      origins.set(name, { relation, column });
    }
  }
  return origins;
}

/**
 * pg_depend alone is not enough: it has no rows for what the system was born with (pg_authid), and none for
 * whole rows (`row_to_json(c)`) beside a named column. The permission marks in the query have both.
 */
function readDependencies(query: TreeNode, view: ViewFacts): ViewLineage["dependsOn"] {
  const columns = new Map<number, Set<number>>();
  const whole = new Set<number>();
  const of = (relation: number) => {
    const known = columns.get(relation) ?? new Set();
    columns.set(relation, known);
    return known;
  };
  for (const [relation, column] of view.depends) if (column !== 0) of(relation).add(column);
  visitNodes(query, (node) => {
    // Up to Postgres 15 the range table holds the marks, from 16 on a list beside it.
    if (node.type !== "RANGETBLENTRY" && node.type !== "RTEPERMISSIONINFO") return;
    const relation = node.fields.has("relid") ? readNumber(node, "relid") : 0;
    // Rules name their own relation as `old` and `new`.
    if (relation === 0 || relation === view.oid) return;
    for (const bit of readBitmap(node.fields.get("selectedCols"))) {
      const column = bit - ATTRIBUTE_OFFSET;
      if (column === 0) whole.add(relation);
      else of(relation).add(column);
    }
    of(relation);
  });
  for (const [relation] of view.depends) of(relation);
  return [...columns]
    .sort(([one], [two]) => one - two)
    .map(([relation, named]) => ({ relation, columns: columnsRead(whole.has(relation), named) }));
}

function columnsRead(whole: boolean, named: ReadonlySet<number>): readonly number[] {
  if (whole) return [];
  return named.size === 0 ? [NO_COLUMN] : [...named].sort((one, two) => one - two);
}

function readFunctions(query: TreeNode, view: ViewFacts): readonly number[] {
  const functions = new Set<number>();
  visitNodes(query, (node) => {
    for (const field of FUNCTION_FIELDS)
      for (const oid of readOids(node.fields.get(field))) functions.add(oid);
    for (const field of OPERATOR_FIELDS) {
      for (const oid of readOids(node.fields.get(field))) {
        functions.add(view.operatorFunctions.get(oid) ?? UNKNOWN_FUNCTION);
      }
    }
  });
  return [...functions].sort((one, two) => one - two);
}

/** One oid or a list of them, `(o 96 97)`; 0 is none. */
function readOids(value: TreeValue | undefined): readonly number[] {
  if (value === undefined || value === "<>" || isNode(value)) return [];
  const texts = typeof value === "string" ? [value] : value.slice(1);
  return texts.map((text) => toNumber(text)).filter((oid) => oid !== 0);
}

/** `(b 8 9)`. */
function readBitmap(value: TreeValue | undefined): readonly number[] {
  if (value === undefined || value === "<>") return [];
  if (!Array.isArray(value) || value[0] !== "b") throw new Error("not a bitmap");
  return value.slice(1).map((text) => toNumber(text as TreeValue));
}

function readNumber(node: TreeNode, field: string): number {
  return toNumber(node.fields.get(field));
}

function toNumber(value: TreeValue | undefined): number {
  if (typeof value !== "string" || !/^-?\d{1,10}$/.test(value)) throw new Error("not a number");
  return Number(value);
}
