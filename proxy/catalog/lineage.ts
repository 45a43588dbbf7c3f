import type { ColumnOrigin, ViewLineage } from "./catalog.ts";
import { isNode, parseTree, RTE, type TreeNode, type TreeValue, toNumber, visitNodes } from "./node-tree.ts";
import { codeIn, UNKNOWN_CODE } from "./stored-code.ts";
import { type ChosenBy, readChoice } from "./view-choice.ts";
import { readReferences } from "./view-references.ts";

/** What the server's tables contain about one view in addition to its stored query. */
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

/** No column has this number: the relation's rows are used (counted), but none of their values. */
const NO_COLUMN = 0;

/** A bit of `selectedCols` is the attribute number minus FirstLowInvalidHeapAttributeNumber (sysattr.h). */
const ATTRIBUTE_OFFSET = 7;

/**
 * The relations and columns that a view is built from. A definition that cannot be read is taken to depend on an
 * unknown function and has no origins, so nothing in it is considered harmless.
 */
export function readLineage(view: ViewFacts): ViewLineage {
  try {
    const query = outermostQuery(parseTree(view.action));
    const targets = readTargets(query, view);
    return {
      origins: readOrigins(query, targets),
      madeOf: readMade(query, targets),
      dependsOn: readDependencies(query, view),
      ...codeIn(query, view.operatorFunctions),
      references: readReferences(query, view.oid),
      chosenBy: choiceIn(query),
    };
  } catch {
    return {
      origins: new Map(),
      madeOf: new Map(),
      dependsOn: view.depends.map(([relation]) => ({ relation, columns: [] })),
      ...UNKNOWN_CODE,
      references: undefined,
      chosenBy: undefined,
    };
  }
}

function choiceIn(query: TreeNode): ChosenBy | undefined {
  try {
    return readChoice(query);
  } catch {
    return undefined;
  }
}

/** ev_action is a list with one query. */
function outermostQuery(action: TreeValue): TreeNode {
  const query = Array.isArray(action) && action.length === 1 ? (action[0] as TreeValue) : undefined;
  if (!isNode(query) || query.type !== "QUERY") throw new Error("a view's rule is one query");
  visitNodes(query, ({ type, fields }) => {
    if (type === "QUERY") checkRangeTable(fields.get("rtable"));
  });
  return query;
}

/** All that a query reads is in its range table: an unknown entry could be a relation that would be missed. */
function checkRangeTable(entries: TreeValue | undefined): void {
  if (entries === "<>") return;
  if (!Array.isArray(entries)) throw new Error("a query without a range table");
  for (const entry of entries as readonly TreeValue[]) {
    if (!isNode(entry) || entry.type !== "RANGETBLENTRY") throw new Error("not an entry of a range table");
  }
}

/** A column of the view, and what it shows. */
interface Target {
  readonly name: string;
  readonly entry: TreeNode;
  readonly expression: TreeValue | undefined;
}

function readTargets(query: TreeNode, view: ViewFacts): readonly Target[] {
  const entries = query.fields.get("targetList");
  if (!Array.isArray(entries)) throw new Error("a view without a target list");
  return (entries as readonly TreeValue[]).flatMap((entry): readonly Target[] => {
    if (!isNode(entry) || entry.type !== "TARGETENTRY") throw new Error("not a target entry");
    const junk = entry.fields.get("resjunk");
    if (junk === "true") return [];
    if (junk !== "false") throw new Error("a target entry that may be a column or not");
    // By position: `resname` is the name at creation, and the column may have been renamed since.
    const name = view.columns.get(readNumber(entry, "resno"));
    if (name === undefined) throw new Error("a target entry that is no column");
    return [{ name, entry, expression: entry.fields.get("expr") }];
  });
}

/** Columns of a UNION come from several relations. */
function isSetOperation({ fields }: TreeNode): boolean {
  return fields.get("setOperations") !== "<>";
}

/**
 * The parser marks each output column that is a plain column of a relation, through joins, subqueries and CTEs
 * (markTargetListOrigin() of parse_target.c). The relation may itself be a view.
 */
function readOrigins(query: TreeNode, targets: readonly Target[]): ReadonlyMap<string, ColumnOrigin> {
  const origins = new Map<string, ColumnOrigin>();
  if (isSetOperation(query)) return origins;
  for (const { name, entry, expression } of targets) {
    const relation = readNumber(entry, "resorigtbl");
    const column = readNumber(entry, "resorigcol");
    // 0 is the whole row; negative numbers are system columns.
    if (relation > 0 && column > 0 && isNode(expression) && expression.type === "VAR")
      origins.set(name, { relation, column });
  }
  return origins;
}

/** What each column is made of, where its expression names columns of relations and nothing else. */
function readMade(query: TreeNode, targets: readonly Target[]): ViewLineage["madeOf"] {
  const entries = query.fields.get("rtable");
  const made = new Map<string, readonly ColumnOrigin[]>();
  if (isSetOperation(query) || !Array.isArray(entries)) return made;
  for (const { name, expression } of targets) {
    try {
      const named = columnsNamed(expression, entries as readonly TreeValue[]);
      if (named !== undefined) made.set(name, named);
    } catch {
      // It may then be made of all that the view reads.
    }
  }
  return made;
}

/** Undefined for an expression with a subquery, a whole row, or a name of something that is no relation. */
function columnsNamed(
  expression: TreeValue | undefined,
  entries: readonly TreeValue[],
): readonly ColumnOrigin[] | undefined {
  const named: ColumnOrigin[] = [];
  let isKnown = expression !== undefined;
  visitNodes(expression ?? "", (node) => {
    if (node.type === "QUERY") isKnown = false;
    if (node.type !== "VAR") return;
    const entry = entries[readNumber(node, "varno") - 1];
    const column = readNumber(node, "varattno");
    if (isNode(entry) && entry.fields.get("rtekind") === RTE.relation && column > 0)
      named.push({ relation: readNumber(entry, "relid"), column });
    else isKnown = false;
    if (readNumber(node, "varlevelsup") !== 0) isKnown = false;
  });
  return isKnown ? named : undefined;
}

/**
 * pg_depend alone is not enough: it has no rows for objects created by initdb (pg_authid), nor for whole rows
 * (`row_to_json(c)`) beside a named column. The permission marks in the query cover both.
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
    // Up to Postgres 15 the range table holds the marks; from 16 on a separate list does.
    if (node.type !== "RANGETBLENTRY" && node.type !== "RTEPERMISSIONINFO") return;
    const relation = node.fields.has("relid") ? readNumber(node, "relid") : 0;
    // Rules refer to their own relation as `old` and `new`.
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

/** `(b 8 9)`. */
function readBitmap(value: TreeValue | undefined): readonly number[] {
  if (value === undefined || value === "<>") return [];
  if (!Array.isArray(value) || value[0] !== "b") throw new Error("not a bitmap");
  return value.slice(1).map((text) => toNumber(text as TreeValue));
}

function readNumber(node: TreeNode, field: string): number {
  return toNumber(node.fields.get(field));
}
