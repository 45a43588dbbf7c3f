import { parse } from "../parser/parser.ts";
import { wordsFor } from "../pg/node-words.ts";

/*
 * The syntax trees that a policy's expression may have, as lists of node types and their fields. Anything that is not
 * on a list is refused.
 */

/** Why an expression is refused. */
export interface Fault {
  readonly ok: false;
  readonly problem: string;
  readonly hint: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Accepted node types, each with the fields that it may have. */
export type NodeList = ReadonlyMap<string, ReadonlySet<string>>;

export interface Walk {
  readonly nodes: NodeList;
  readonly relations: string[];
  readonly columns: string[];
  readonly functions: string[];
  readonly operators: string[];
  /** Byte offsets of functions and types that have no schema. */
  readonly unqualified: number[];
  readonly onColumn: (name: string, location: number) => void;
}

export function emptyWalk(): Omit<Walk, "nodes"> {
  return { relations: [], columns: [], functions: [], operators: [], unqualified: [], onColumn: () => {} };
}

function nodeList(fields: Readonly<Record<string, string>>): NodeList {
  return new Map(
    Object.entries(fields).map(([node, names]) => [
      node,
      new Set([
        ...names.split(" "),
        "location",
        "list_start",
        "list_end",
        "rexpr_list_start",
        "rexpr_list_end",
      ]),
    ]),
  );
}

const EXPRESSION_FIELDS = {
  A_Const: "ival fval sval bsval boolval isnull",
  A_Expr: "kind name lexpr rexpr",
  A_ArrayExpr: "elements",
  A_Indices: "is_slice lidx uidx",
  A_Indirection: "arg indirection",
  BoolExpr: "boolop args",
  BooleanTest: "arg booltesttype",
  CaseExpr: "arg args defresult",
  CaseWhen: "expr result",
  CoalesceExpr: "args",
  CollateClause: "arg collname",
  ColumnRef: "fields",
  // Aggregate modifiers, windows and VARIADIC are not accepted: their fields are not listed here.
  FuncCall: "funcname args funcformat agg_star",
  List: "items",
  MinMaxExpr: "op args",
  NullTest: "arg nulltesttype argisrow",
  RowExpr: "args row_format",
  String: "sval",
  SQLValueFunction: "op typmod type",
  TypeCast: "arg typeName",
  TypeName: "names typmods typemod arrayBounds",
  Integer: "ival",
};

export const MASK_NODES = nodeList(EXPRESSION_FIELDS);
export const CONDITION_NODES = nodeList({
  ...EXPRESSION_FIELDS,
  A_Star: "",
  Alias: "aliasname colnames",
  JoinExpr: "jointype isNatural larg rarg usingClause quals alias",
  ParamRef: "number",
  RangeSubselect: "lateral subquery alias",
  RangeVar: "schemaname relname inh relpersistence alias",
  ResTarget: "name val",
  // WITH, INTO and locking clauses are not accepted.
  SelectStmt:
    "targetList fromClause whereClause groupClause havingClause sortClause limitCount limitOption op all larg rarg valuesLists",
  SortBy: "node sortby_dir sortby_nulls",
  SubLink: "subLinkType testexpr operName subselect",
});

/** Fields whose value is a bare struct, without its node type around it. */
const BARE: ReadonlyMap<string, string> = new Map([
  ["typeName", "TypeName"],
  ["alias", "Alias"],
]);

export function visit(value: unknown, walk: Walk, depth: number): Fault | undefined {
  if (Array.isArray(value)) return firstFault(value, (item) => visit(item, walk, depth));
  if (typeof value !== "object" || value === null) return undefined;
  return firstFault(Object.entries(value), ([type, fields]) => visitNode(type, fields as Json, walk, depth));
}

function visitNode(type: string, fields: Json, walk: Walk, depth: number): Fault | undefined {
  const allowed = walk.nodes.get(type);
  const strange = allowed === undefined ? type : Object.keys(fields).find((field) => !allowed.has(field));
  if (allowed === undefined || strange !== undefined) return notHere(type, strange ?? type);
  const refused = note(type, fields, walk, depth);
  if (refused !== undefined || type === "A_Const") return refused;
  const inside = type === "SubLink" || type === "SelectStmt" ? depth + 1 : depth;
  return firstFault(Object.entries(fields), ([field, child]) => {
    const bare =
      BARE.get(field) ?? (type === "SelectStmt" && (field === "larg" || field === "rarg") ? type : undefined);
    // The tested expression of `x IN (SELECT …)` is outside of the subquery.
    const at = type === "SubLink" && field === "testexpr" ? depth : inside;
    return bare === undefined ? visit(child, walk, at) : visitNode(bare, child as Json, walk, at);
  });
}

/** Records the names that a node uses, and refuses what can be recognised only by its name. */
function note(type: string, fields: Json, walk: Walk, depth: number): Fault | undefined {
  const location = typeof fields.location === "number" ? fields.location : -1;
  switch (type) {
    case "RangeVar":
      if (typeof fields.schemaname !== "string") {
        return fault(
          `the table "${String(fields.relname)}" has no schema`,
          `Write it as schema.table, as in public.${String(fields.relname)}.`,
        );
      }
      walk.relations.push(`${fields.schemaname}.${String(fields.relname)}`);
      return undefined;
    case "ColumnRef": {
      const names = strings(fields.fields);
      if (walk.nodes === MASK_NODES && names.length !== 1) {
        return fault(
          `a mask cannot read "${names.join(".")}"`,
          "The column is called value in it: left(value, 3).",
        );
      }
      if (depth === 0 && names.length !== 1) {
        return fault(`"${names.join(".")}" is not a plain column name`, "Write the column's name alone.");
      }
      const [name] = names;
      if (name === undefined) return fault("* is not an expression", "Name the columns.");
      if (depth === 0) walk.columns.push(name);
      walk.onColumn(name, location);
      return undefined;
    }
    case "FuncCall": {
      const names = strings(fields.funcname);
      if (names.length === 1) walk.unqualified.push(location);
      // EXTRACT, SUBSTRING … FROM and similar forms are grammar; the functions behind them differ between versions.
      if (fields.funcformat === "COERCE_SQL_SYNTAX") return undefined;
      walk.functions.push(names.length === 1 ? `pg_catalog.${names[0]}` : names.join("."));
      return undefined;
    }
    case "TypeName":
      if (strings(fields.names).length === 1) walk.unqualified.push(location);
      return undefined;
    case "A_Expr":
      walk.operators.push(
        ...(String(fields.kind).includes("BETWEEN") ? BOUNDS : [strings(fields.name).join(".")]),
      );
      return undefined;
    case "SubLink":
      walk.operators.push(...(fields.operName === undefined ? ["="] : [strings(fields.operName).join(".")]));
      return undefined;
    case "CaseExpr":
    case "JoinExpr":
      // CASE value WHEN …, USING and NATURAL compare by =.
      walk.operators.push("=");
      return undefined;
    case "SQLValueFunction":
      return CURRENT_TIME.has(String(fields.op))
        ? undefined
        : fault("the database's own user is not always the session's user", "Write :user.");
    default:
      return undefined;
  }
}

/** The operators that BETWEEN and NOT BETWEEN use. */
const BOUNDS = [">=", "<=", "<", ">"];

const CURRENT_TIME: ReadonlySet<string> = new Set([
  "SVFOP_CURRENT_DATE",
  "SVFOP_CURRENT_TIME",
  "SVFOP_CURRENT_TIME_N",
  "SVFOP_CURRENT_TIMESTAMP",
  "SVFOP_CURRENT_TIMESTAMP_N",
  "SVFOP_LOCALTIME",
  "SVFOP_LOCALTIME_N",
  "SVFOP_LOCALTIMESTAMP",
  "SVFOP_LOCALTIMESTAMP_N",
]);

/** The expression of `SELECT expression`; undefined if the statement contains anything else. */
export function singleTarget(sql: string): unknown {
  const { stmts } = parse(sql);
  const statement = stmts?.[0];
  if (stmts?.length !== 1 || statement?.stmt === undefined || statement.stmt_len !== undefined)
    return undefined;
  const select = (statement.stmt as { SelectStmt?: Json }).SelectStmt;
  if (select === undefined) return undefined;
  const { targetList, limitOption, op, ...more } = select;
  if (Object.keys(more).length > 0 || op !== "SETOP_NONE" || limitOption !== "LIMIT_OPTION_DEFAULT")
    return undefined;
  if (!Array.isArray(targetList) || targetList.length !== 1) return undefined;
  const target = (targetList[0] as { ResTarget?: Json }).ResTarget;
  return target === undefined || target.name !== undefined ? undefined : target.val;
}

function strings(nodes: unknown): readonly string[] {
  if (!Array.isArray(nodes)) return [];
  return nodes.map((node) => String((node as { String?: { sval?: string } }).String?.sval ?? "*"));
}

function firstFault<T>(items: readonly T[], check: (item: T) => Fault | undefined): Fault | undefined {
  for (const item of items) {
    const found = check(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function notHere(type: string, what: string): Fault {
  const form = type === what ? "" : " of this form";
  return fault(
    `${wordsFor(type)}${form} has no place in a policy's expression`,
    "Columns, literals, operators, plain function calls, CASE and (in conditions) plain subqueries do.",
  );
}

export function fault(problem: string, hint: string): Fault {
  return { ok: false, problem, hint };
}
