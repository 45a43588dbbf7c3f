import type { Catalog, Relation } from "../catalog/catalog.ts";
import { wordsFor } from "../pg/node-words.ts";
import { bindUser } from "./bind-user.ts";
import { singleTarget } from "./expression-tree.ts";
import type { Condition } from "./policy.ts";
import { compareAlike } from "./subject-path.ts";

/*
 * A condition of `purpose:` is evaluated together with the client's own statement and must not disturb it: it may not
 * raise an error, whatever the rows hold. It therefore consists of EXISTS, AND, OR, NOT, IS NULL and comparisons of
 * columns with columns, constants and :user, of types that Postgres compares without a cast that can fail. Functions
 * are not allowed.
 */

export type CheckedPurpose =
  /** The `schema.table.column` of every column that it reads. */
  | { readonly ok: true; readonly reads: ReadonlySet<string> }
  | { readonly ok: false; readonly problem: string };

type Json = Readonly<Record<string, unknown>>;
/** Tables by the name that expressions use for them; the innermost level first. */
type Levels = readonly ReadonlyMap<string, Relation>[];

const checked = new WeakMap<Condition, WeakMap<Catalog, CheckedPurpose>>();

/** Checks the condition of a table's people; cached per catalog. */
export function checkPurpose(condition: Condition, relation: Relation, catalog: Catalog): CheckedPurpose {
  const known = checked.get(condition) ?? new WeakMap<Catalog, CheckedPurpose>();
  checked.set(condition, known);
  const result = known.get(catalog) ?? check(condition, relation, catalog);
  known.set(catalog, result);
  return result;
}

class Unsafe extends Error {}

function check(condition: Condition, relation: Relation, catalog: Catalog): CheckedPurpose {
  const reads = new Set<string>();
  try {
    const tree = singleTarget(`SELECT (${bindUser(condition, "user")})`);
    new Checker(catalog, reads).condition(tree, [new Map([[relation.name, relation]])]);
    return { ok: true, reads };
  } catch (error) {
    if (error instanceof Unsafe) return { ok: false, problem: error.message };
    throw error;
  }
}

const COMPARISONS: ReadonlySet<string> = new Set(["=", "<>", "<", ">", "<=", ">="]);
const TEXTS: ReadonlySet<string> = new Set(["text", "varchar", "bpchar", "name"]);
const INTEGERS: ReadonlySet<string> = new Set(["int2", "int4", "int8"]);

class Checker {
  readonly #catalog: Catalog;
  readonly #reads: Set<string>;

  constructor(catalog: Catalog, reads: Set<string>) {
    this.#catalog = catalog;
    this.#reads = reads;
  }

  condition(tree: unknown, levels: Levels): void {
    const [type, body] = nodeOf(tree);
    switch (type) {
      case "BoolExpr":
        for (const arg of list(body.args)) this.condition(arg, levels);
        return;
      case "NullTest":
        this.#columnType(body.arg, levels);
        return;
      case "ColumnRef":
        if (this.#columnType(tree, levels) !== "bool") throw new Unsafe("a column alone must be a boolean");
        return;
      case "SubLink":
        this.#exists(body, levels);
        return;
      case "A_Expr":
        this.#comparison(body, levels);
        return;
      default:
        throw new Unsafe(`${wordsFor(type)} has no place in it`);
    }
  }

  #exists(body: Json, levels: Levels): void {
    const [type, select] = nodeOf(body.subselect);
    if (body.subLinkType !== "EXISTS_SUBLINK" || type !== "SelectStmt")
      throw new Unsafe("of subqueries it takes EXISTS (SELECT …)");
    const { targetList, fromClause, whereClause, limitOption, op, ...more } = select;
    if (Object.keys(more).length > 0 || op !== "SETOP_NONE" || limitOption !== "LIMIT_OPTION_DEFAULT")
      throw new Unsafe("a subquery takes FROM and WHERE alone");
    for (const target of list(targetList)) {
      if (nodeOf(nodeOf(target)[1].val)[0] !== "A_Const") throw new Unsafe("write EXISTS (SELECT FROM …)");
    }
    const own = new Map(list(fromClause).map((item) => this.#table(item)));
    if (whereClause !== undefined) this.condition(whereClause, [own, ...levels]);
  }

  #table(item: unknown): readonly [string, Relation] {
    const [type, body] = nodeOf(item);
    const relation = this.#catalog.relations.get(`${String(body.schemaname)}.${String(body.relname)}`);
    // A view could compute anything.
    if (type !== "RangeVar" || (relation?.kind !== "table" && relation?.kind !== "partitioned"))
      throw new Unsafe("FROM takes plain tables, with commas between them");
    const alias = body.alias as { aliasname?: string; colnames?: unknown } | undefined;
    if (alias?.colnames !== undefined) throw new Unsafe("columns cannot be renamed");
    return [alias?.aliasname ?? relation.name, relation];
  }

  #comparison({ kind, name, lexpr, rexpr }: Json, levels: Levels): void {
    const [operator, ...more] = list(name).map((part) => String(nodeOf(part)[1].sval));
    if ((kind !== "AEXPR_OP" && kind !== "AEXPR_IN") || more.length > 0 || !COMPARISONS.has(operator ?? ""))
      throw new Unsafe(`it takes ${[...COMPARISONS].join(" ")} and IN`);
    const others = kind === "AEXPR_IN" ? list(nodeOf(rexpr)[1].items) : [rexpr];
    for (const other of others) {
      const sides = [lexpr, other].map((side) => this.#operand(side, levels));
      if (!compares(sides[0], sides[1]) && !compares(sides[1], sides[0]))
        throw new Unsafe(
          "it compares what Postgres does not compare by itself: integers, texts, or one type",
        );
    }
  }

  #operand(tree: unknown, levels: Levels): Operand {
    const [type, body] = nodeOf(tree);
    if (type === "ColumnRef") return { column: this.#columnType(tree, levels) };
    if (type === "A_Const" && body.sval !== undefined) return { constant: "text" };
    if (type === "A_Const" && body.ival !== undefined) return { constant: "integer" };
    throw new Unsafe("it compares columns with columns, texts, integers and :user");
  }

  #columnType(tree: unknown, levels: Levels): string {
    const [type, body] = nodeOf(tree);
    if (type !== "ColumnRef") throw new Unsafe(`${wordsFor(type)} has no place in it`);
    const fields = list(body.fields).map((field) => String(nodeOf(field)[1].sval));
    const [name = "", table] = fields.toReversed();
    if (fields.length > 2) throw new Unsafe(`write "${fields.slice(-2).join(".")}" without the schema`);
    for (const level of levels) {
      const found = [...level].flatMap(([alias, relation]) =>
        table === undefined || table === alias
          ? relation.columns.filter((column) => column.name === name).map((column) => ({ relation, column }))
          : [],
      );
      const [only, ...others] = found;
      if (others.length > 0) throw new Unsafe(`"${name}" could be a column of two tables`);
      if (only === undefined) continue;
      this.#reads.add(`${only.relation.schema}.${only.relation.name}.${name}`);
      const known = this.#catalog.typesByOid.get(only.column.typeOid);
      if (known?.schema !== "pg_catalog") throw new Unsafe(`"${name}" is of a type of the database's own`);
      return known.name;
    }
    throw new Unsafe(`there is no column "${fields.join(".")}"`);
  }
}

type Operand = { readonly column: string } | { readonly constant: "text" | "integer" };

function compares(left: Operand | undefined, right: Operand | undefined): boolean {
  if (left === undefined || right === undefined || !("column" in left)) return false;
  if ("column" in right) return compareAlike(left.column, right.column);
  return (right.constant === "text" ? TEXTS : INTEGERS).has(left.column);
}

function nodeOf(tree: unknown): readonly [string, Json] {
  const [entry] = typeof tree === "object" && tree !== null ? Object.entries(tree) : [];
  return entry === undefined ? ["nothing", {}] : [entry[0], entry[1] as Json];
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
