import { isNode, RTE, type TreeNode, type TreeValue, toNumber, UnreadableTree } from "./node-tree.ts";

/** Columns, by the oid of their relation. An empty set means the whole row. */
export type ChosenBy = ReadonlyMap<number, ReadonlySet<number>>;

/** Kinds of entries that produce their rows from expressions, and the field with these: functions, XMLTABLE and JSON_TABLE, VALUES. */
const MADE_BY: ReadonlyMap<string, string> = new Map([
  ["3", "functions"],
  ["4", "tablefunc"],
  ["5", "values_lists"],
]);
const UNION = "1";

/** A query and the queries around it, indexed by `varlevelsup`. */
type Levels = readonly [TreeNode, ...TreeNode[]];

/**
 * The columns that decide which rows a view has: those in its conditions, joins, groups and limits, and in the same parts of its
 * subqueries. Columns that are only shown decide nothing. Throws if the stored query has an unexpected form.
 */
export function readChoice(query: TreeNode): ChosenBy {
  const choice = new Choice();
  choice.ofRows(query, []);
  return choice.columns;
}

class Choice {
  readonly columns = new Map<number, Set<number>>();
  readonly #whole = new Set<number>();
  readonly #rows = new Set<TreeNode>();
  readonly #values = new Map<TreeNode, Set<number>>();

  ofRows(query: TreeNode, around: readonly TreeNode[]): void {
    if (this.#rows.has(query)) return;
    this.#rows.add(query);
    const levels: Levels = [query, ...around];
    const { fields } = query;
    this.#ofExpression(fieldIn(query, "jointree"), levels);
    for (const name of ["havingQual", "limitOffset", "limitCount"])
      this.#ofExpression(fields.get(name), levels);
    for (const entry of nodesIn(fields.get("rtable"))) this.#ofEntry(entry, levels);
    for (const cte of nodesIn(fields.get("cteList"))) this.ofRows(queryIn(cte, "ctequery"), levels);
    const isPicked = ["groupClause", "distinctClause", "limitOffset", "limitCount"].some(
      (name) => (fields.get(name) ?? "<>") !== "<>",
    );
    // Set-returning functions such as unnest() return as many rows as their arguments say.
    const isMade = fieldIn(query, "hasTargetSRFs") !== "false";
    for (const target of nodesIn(fields.get("targetList")))
      if (isMade || (isPicked && fieldIn(target, "ressortgroupref") !== "0"))
        this.#ofExpression(target.fields.get("expr"), levels);
    // UNION, INTERSECT and EXCEPT compare all columns of their arms.
    if (!isPlainUnion(fields.get("setOperations"))) this.#ofArms(levels);
  }

  #ofArms(levels: Levels): void {
    for (const entry of nodesIn(levels[0].fields.get("rtable")))
      if (fieldIn(entry, "rtekind") === RTE.subquery) this.#ofTargets(queryIn(entry, "subquery"), levels);
  }

  #ofEntry(entry: TreeNode, levels: Levels): void {
    const kind = String(fieldIn(entry, "rtekind"));
    const made = MADE_BY.get(kind);
    if (made !== undefined) this.#ofExpression(fieldIn(entry, made), levels);
    else if (kind === RTE.subquery) this.ofRows(queryIn(entry, "subquery"), levels);
    else if (!Object.values<string>(RTE).includes(kind)) throw new UnreadableTree("an entry of another kind");
  }

  #ofExpression(value: TreeValue | undefined, levels: Levels): void {
    if (value === undefined || typeof value === "string") return;
    if (!isNode(value)) for (const item of value) this.#ofExpression(item, levels);
    else if (value.type === "VAR") this.#ofVariable(value, levels);
    else if (value.type === "QUERY") {
      this.ofRows(value, levels);
      this.#ofTargets(value, levels);
    } else for (const field of value.fields.values()) this.#ofExpression(field, levels);
  }

  #ofTargets(query: TreeNode, around: readonly TreeNode[]): void {
    for (const target of nodesIn(query.fields.get("targetList")))
      this.#ofTarget(query, toNumber(fieldIn(target, "resno")), around);
  }

  /** One column of a query; for a set operation, the column of each arm. */
  #ofTarget(query: TreeNode, number: number, around: readonly TreeNode[]): void {
    if (this.#isKnown(query, number)) return;
    const levels: Levels = [query, ...around];
    if (query.fields.get("setOperations") !== "<>") {
      for (const entry of nodesIn(query.fields.get("rtable")))
        if (fieldIn(entry, "rtekind") === RTE.subquery)
          this.#ofTarget(queryIn(entry, "subquery"), number, levels);
      return;
    }
    const targets = nodesIn(query.fields.get("targetList"));
    const target = targets.find((each) => fieldIn(each, "resno") === String(number));
    // Columns that SEARCH and CYCLE add are computed from the others.
    for (const each of target === undefined ? targets : [target])
      this.#ofExpression(each.fields.get("expr"), levels);
  }

  #ofVariable(variable: TreeNode, levels: Levels): void {
    const up = toNumber(fieldIn(variable, "varlevelsup"));
    const number = toNumber(fieldIn(variable, "varattno"));
    const around = levels.slice(up);
    const [query] = around;
    const entry = query && nodesIn(query.fields.get("rtable"))[toNumber(fieldIn(variable, "varno")) - 1];
    if (query === undefined || entry === undefined) throw new UnreadableTree("a variable of nothing");
    const kind = String(fieldIn(entry, "rtekind"));
    const own: Levels = [query, ...around.slice(1)];
    switch (kind) {
      case RTE.relation:
        this.#add(toNumber(fieldIn(entry, "relid")), number);
        break;
      case RTE.subquery:
        this.#ofColumn(queryIn(entry, "subquery"), number, own);
        break;
      case RTE.join:
      case RTE.group:
        this.#ofMade(entry, kind === RTE.join ? "joinaliasvars" : "groupexprs", number, own);
        break;
      case RTE.cte: {
        const outer = around.slice(toNumber(fieldIn(entry, "ctelevelsup")));
        const ctes = nodesIn(outer[0]?.fields.get("cteList"));
        const cte = ctes.find((each) => fieldIn(each, "ctename") === fieldIn(entry, "ctename"));
        if (cte === undefined) throw new UnreadableTree("a WITH query that is not there");
        this.#ofColumn(queryIn(cte, "ctequery"), number, outer);
        break;
      }
      default:
        // The expressions that produce their rows have been added already.
        if (!MADE_BY.has(kind)) throw new UnreadableTree("a variable of another kind");
    }
  }

  #ofColumn(query: TreeNode, number: number, around: readonly TreeNode[]): void {
    if (number > 0) this.#ofTarget(query, number, around);
    else this.#ofTargets(query, around);
  }

  /** A column of a join or a group, which lists its columns as expressions. */
  #ofMade(entry: TreeNode, field: string, number: number, levels: Levels): void {
    if (this.#isKnown(entry, number)) return;
    const made = fieldIn(entry, field);
    if (!Array.isArray(made)) throw new UnreadableTree("not a list");
    const all = made as readonly TreeValue[];
    this.#ofExpression(number > 0 ? all[number - 1] : all, levels);
  }

  /** A recursive query refers to itself. */
  #isKnown(node: TreeNode, number: number): boolean {
    const known = this.#values.get(node) ?? new Set();
    this.#values.set(node, known);
    if (known.has(number)) return true;
    known.add(number);
    return false;
  }

  /** Number 0 is the whole row; system columns have negative numbers. */
  #add(relation: number, number: number): void {
    const known = this.columns.get(relation) ?? new Set();
    if (number === 0) this.#whole.add(relation);
    if (this.#whole.has(relation)) known.clear();
    else if (number > 0) known.add(number);
    if (number >= 0) this.columns.set(relation, known);
  }
}

function isPlainUnion(value: TreeValue | undefined): boolean {
  if (value === "<>") return true;
  if (value === undefined || typeof value === "string" || !isNode(value)) return false;
  if (value.type === "RANGETBLREF") return true;
  const { fields } = value;
  return (
    value.type === "SETOPERATIONSTMT" &&
    fields.get("op") === UNION &&
    fields.get("all") === "true" &&
    isPlainUnion(fields.get("larg")) &&
    isPlainUnion(fields.get("rarg"))
  );
}

function queryIn(node: TreeNode, field: string): TreeNode {
  const query = fieldIn(node, field);
  if (!isNode(query) || query.type !== "QUERY") throw new UnreadableTree("not a query");
  return query;
}

function fieldIn({ type, fields }: TreeNode, field: string): TreeValue {
  const value = fields.get(field);
  if (value === undefined) throw new UnreadableTree(`${type} without ${field}`);
  return value;
}

function nodesIn(value: TreeValue | undefined): readonly TreeNode[] {
  if (value === undefined || value === "<>") return [];
  if (!Array.isArray(value)) throw new UnreadableTree("not a list");
  return (value as readonly TreeValue[]).map((item) => {
    if (!isNode(item)) throw new UnreadableTree("not a list of nodes");
    return item;
  });
}
