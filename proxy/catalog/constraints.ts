import type { Column, Constraint } from "./catalog.ts";
import { isNode, parseTree, type TreeNode, type TreeValue } from "./node-tree.ts";

/** Rows of the query of the same name. */
export type ConstraintRow = readonly [
  relation: number,
  name: string,
  kind: string,
  columns: readonly number[],
  compared: readonly number[],
  expressions: string,
  condition: string,
  flag: boolean,
];

const KINDS: ReadonlyMap<string, Constraint["kind"]> = new Map([
  ["c", "check"],
  ["f", "foreign key"],
  ["u", "unique"],
  ["x", "exclusion"],
  ["p", "policy"],
  ["k", "partition key"],
]);

/** The number of the whole row, in `conkey` and in node trees. */
const WHOLE_ROW = 0;

export type ColumnsByNumber = ReadonlyMap<number, Column>;

/**
 * The constraints of one relation: what the server checks, and what it computes from the row, which may fail as well.
 */
export function toConstraints(
  rows: readonly ConstraintRow[],
  columns: ColumnsByNumber,
  equalities: ReadonlySet<number>,
): readonly Constraint[] {
  const checked = rows.flatMap((row) => toConstraint(row, columns, equalities));
  return [...checked, ...[...columns.values()].flatMap((column) => ofGenerated(column, columns))];
}

function toConstraint(
  [, name, kind, named, plain, expressions, condition, flag]: ConstraintRow,
  columns: ColumnsByNumber,
  equalities: ReadonlySet<number>,
): readonly Constraint[] {
  const known = KINDS.get(kind);
  if (known === undefined) throw new Error(`a constraint of the kind ${kind}`);
  const used: Uses = {
    compared: new Set(plain),
    otherwise: new Set(named.filter((number) => !plain.includes(number))),
    keys: new Set(plain),
    strict: new Set(),
  };
  try {
    noteKeys(expressions, used, equalities);
    noteCondition(condition, used, equalities);
  } catch {
    // A tree that cannot be read may name any column.
    used.otherwise.add(WHOLE_ROW);
  }
  resolveGenerated(used, columns);
  const all = new Set([...used.compared, ...used.otherwise]);
  const isWhole = all.has(WHOLE_ROW);
  const isUnique = known === "unique" || known === "exclusion";
  const namesOf = (numbers: Iterable<number>) =>
    [...numbers].flatMap((number) => columns.get(number)?.name ?? []);
  return [
    {
      name,
      kind: known,
      columns: namesOf(isWhole ? columns.keys() : all),
      compared: isWhole ? [] : namesOf([...used.compared].filter((number) => !used.otherwise.has(number))),
      keys: isUnique ? namesOf(used.keys) : [],
      // For an index, `flag` means NULLS NOT DISTINCT.
      freeIfNull: isUnique ? namesOf(flag ? used.strict : new Set([...used.keys, ...used.strict])) : [],
      ...(flag && known === "check" && { unproven: true as const }),
    },
  ];
}

/** The server refuses a row if a generated value cannot be computed from it or is too long for its column. */
function ofGenerated({ name, generatedFrom }: Column, columns: ColumnsByNumber): readonly Constraint[] {
  if (generatedFrom === undefined) return [];
  const from = generatedFrom.flatMap((number) => columns.get(number)?.name ?? []);
  return [{ name, kind: "generated column", columns: from, compared: [], keys: [], freeIfNull: [] }];
}

/** The column that an expression copies, at most with its case changed. */
export function caseFolded(expression: string): number | undefined {
  try {
    return folded(parseTree(expression));
  } catch {
    return undefined;
  }
}

/** Replaces a generated column by the columns that it is computed from. */
function resolveGenerated({ compared, otherwise, keys }: Uses, columns: ColumnsByNumber): void {
  for (const number of [...compared, ...otherwise]) {
    const { generatedFrom, caseOf } = columns.get(number) ?? {};
    if (generatedFrom === undefined) continue;
    if (otherwise.delete(number) || caseOf === undefined)
      for (const source of generatedFrom) otherwise.add(source);
    else {
      compared.add(caseOf);
      if (keys.has(number)) keys.add(caseOf);
    }
    compared.delete(number);
    keys.delete(number);
  }
}

interface Uses {
  readonly compared: Set<number>;
  readonly otherwise: Set<number>;
  readonly keys: Set<number>;
  /** If one of these is NULL the condition does not hold. */
  readonly strict: Set<number>;
}

/** Reads a list of expressions, in the order of the index's columns. */
function noteKeys(text: string, uses: Uses, equalities: ReadonlySet<number>): void {
  if (text === "") return;
  const tree = parseTree(text);
  for (const key of typeof tree === "string" || isNode(tree) ? [tree] : tree) {
    const column = folded(key);
    if (column === undefined) noteUses(key, uses, equalities);
    else for (const set of [uses.compared, uses.keys]) set.add(column);
  }
}

function noteCondition(text: string, uses: Uses, equalities: ReadonlySet<number>): void {
  if (text === "") return;
  const tree = parseTree(text);
  noteUses(tree, uses, equalities);
  for (const { type, fields } of conjuncts(tree)) {
    const args = fields.get("args");
    // Postgres's own boolean operators are strict; those below this oid are numbered by hand (transam.h).
    if (type !== "OPEXPR" || !(Number(fields.get("opno")) < FIRST_NORMAL_OID) || !Array.isArray(args))
      continue;
    for (const argument of args as readonly TreeValue[]) {
      const column = folded(argument);
      if (column !== undefined) uses.strict.add(column);
    }
  }
}

const FIRST_NORMAL_OID = 16_384;

function conjuncts(tree: TreeValue): readonly TreeNode[] {
  if (typeof tree === "string") return [];
  if (!isNode(tree)) return tree.flatMap(conjuncts);
  const isAnd = tree.type === "BOOLEXPR" && tree.fields.get("boolop") === "and";
  return isAnd ? conjuncts(tree.fields.get("args") ?? []) : [tree];
}

/** Whether a column is NULL says nothing about its value, so an expression that only tests for NULL does not use it. */
function noteUses(value: TreeValue, uses: Uses, equalities: ReadonlySet<number>): void {
  if (typeof value === "string") return;
  if (!isNode(value)) {
    for (const one of value) noteUses(one, uses, equalities);
    return;
  }
  const column = columnOf(value);
  if (column !== undefined) uses.otherwise.add(column);
  else if (value.type === "NULLTEST" && columnOf(operand(value, "arg")) !== undefined) return;
  else if (!isComparison(value, equalities, uses))
    for (const part of value.fields.values()) noteUses(part, uses, equalities);
}

/** `column = 'constant'`, also with the column's case changed. */
function isComparison({ type, fields }: TreeNode, equalities: ReadonlySet<number>, uses: Uses): boolean {
  const args = fields.get("args");
  if (type !== "OPEXPR" || !equalities.has(Number(fields.get("opno"))) || !Array.isArray(args)) return false;
  const [left, right, ...more] = args as readonly TreeValue[];
  const column = left === undefined ? undefined : folded(left);
  if (column === undefined || more.length > 0 || !isNode(right) || right.type !== "CONST") return false;
  uses.compared.add(column);
  return true;
}

/** pg_proc.dat: lower(text), upper(text). */
const FOLDING: ReadonlySet<string> = new Set(["870", "871"]);

/** The column itself, or in lower or upper case: an index on it compares values apart from their case. */
function folded(value: TreeValue): number | undefined {
  if (!isNode(value)) return undefined;
  const column = columnOf(value);
  if (column !== undefined) return column;
  if (value.type !== "FUNCEXPR" || !FOLDING.has(String(value.fields.get("funcid")))) return undefined;
  return columnOf(operand(value, "args"));
}

function operand({ fields }: TreeNode, field: string): TreeNode | undefined {
  const value = fields.get(field);
  const one = Array.isArray(value) && value.length === 1 ? (value[0] as TreeValue) : value;
  return isNode(one) ? one : undefined;
}

/** The number of a plain column, also if it is relabelled as another type with the same bytes (varchar as text). */
function columnOf(node: TreeNode | undefined): number | undefined {
  if (node?.type === "RELABELTYPE") return columnOf(operand(node, "arg"));
  if (node?.type !== "VAR") return undefined;
  const number = Number(node.fields.get("varattno"));
  // A system column, such as tableoid, is not a value of a person.
  return number < 0 ? undefined : number;
}
