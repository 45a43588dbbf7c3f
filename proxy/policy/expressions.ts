import { loadModule, parseSync, type ScanToken, scanSync } from "libpg-query";

/*
 * SQL expressions of a policy: conditions and masks. They are read by Postgres's own parser, once, when the
 * policy is loaded, and only forms on the lists below are accepted: an expression is spliced into the
 * statements of every session, so there may be no way out of it.
 */

await loadModule();

/** What an expression names, as far as the catalog can check it. */
export interface ExpressionUse {
  /** `schema.table` of subqueries. */
  readonly relations: readonly string[];
  /** Plain column names outside of subqueries: they can only be columns of the expression's own table. */
  readonly columns: readonly string[];
  /** `schema.name`. */
  readonly functions: readonly string[];
  readonly operators: readonly string[];
}

export type ParsedExpression =
  | {
      readonly ok: true;
      /** The text with `pg_catalog.` before each function and type that has no schema. */
      readonly sql: string;
      readonly use: ExpressionUse;
    }
  | { readonly ok: false; readonly problem: string; readonly hint: string };

/** A part of a text, in UTF-8 bytes. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

type Fault = Extract<ParsedExpression, { ok: false }>;

/** As long as `:user`, so that offsets stay. The spaces keep it apart from its neighbours. */
const AS_PARAMETER = " $1  ";
/** The form in which the user's name is spliced in the end (conditions.ts), and as long. */
const AS_LITERAL = "('') ";

/** Checks the condition of `when:` or `only:`. */
export function parseCondition(text: string): ParsedExpression {
  return parseExpression(text, CONDITION_NODES);
}

/** Checks the expression of an `{ sql: … }` mask; `value` is its only column. */
export function parseMaskExpression(text: string): ParsedExpression {
  const parsed = parseExpression(text, MASK_NODES);
  if (!parsed.ok) return parsed;
  const stranger = parsed.use.columns.find((column) => column !== "value");
  if (stranger !== undefined) {
    return fault(
      `a mask cannot read the column "${stranger}"`,
      "The column stands in it as value: left(value, 3).",
    );
  }
  return parsed;
}

/** Where the placeholder `:user` stands: as a token of its own, so not in literals, names, casts (`::user`). */
export function placeholders(text: string): readonly ByteRange[] {
  const { tokens } = scanSync(text);
  const found: ByteRange[] = [];
  tokens.forEach((token, i) => {
    const next = tokens[i + 1];
    if (token.text === ":" && next?.text === "user" && next.start === token.end) {
      found.push({ start: token.start, end: next.end });
    }
  });
  return found;
}

/** Byte ranges of the column references named `value` in a checked mask expression. */
export function valueReferences(expression: string): readonly ByteRange[] {
  const starts: number[] = [];
  const walk: Walk = { ...emptyWalk(), nodes: MASK_NODES, onColumn: (_, location) => starts.push(location) };
  const target = singleTarget(`SELECT (${expression})`);
  if (target !== undefined) visit(target, walk, 0);
  const tokens = new Map(scanSync(expression).tokens.map((token) => [token.start, token]));
  return starts.flatMap((location) => {
    const token = tokens.get(location - PREFIX);
    return token === undefined ? [] : [{ start: token.start, end: token.end }];
  });
}

const PREFIX = "SELECT (".length;

function parseExpression(text: string, nodes: NodeList): ParsedExpression {
  // The parser reads a C string: what follows a zero byte would be spliced unread.
  if (text.includes("\0")) return fault("a zero byte in an SQL expression", "Take it out.");
  if (text.trim() === "") return fault("this is not one SQL expression", "One expression, as after WHERE.");
  let tokens: readonly ScanToken[];
  try {
    tokens = scanSync(text).tokens;
  } catch (error) {
    return fault(`not valid SQL: ${messageOf(error)}`, "One SQL expression, as after WHERE.");
  }
  if (tokens.some((token) => token.tokenName === "SQL_COMMENT" || token.tokenName === "C_COMMENT")) {
    // A comment at the end would swallow what the rewrite puts behind the expression.
    return fault("a comment inside an SQL expression", "Write it as a YAML comment, after #.");
  }
  if (tokens.some((token) => token.tokenName === "PARAM")) {
    return fault(
      "a parameter in an SQL expression",
      ":user stands for the session's user; there are no others.",
    );
  }

  const users = placeholders(text);
  if (users.length > 0 && nodes === MASK_NODES) {
    return fault(":user has no meaning in a mask", "Use :user in when: or only:.");
  }
  const walk: Walk = { ...emptyWalk(), nodes };
  try {
    const substituted = standIn(text, users, AS_PARAMETER);
    // In parentheses and without: `true) OR (true` fits the one, `1 FROM t` the other, one expression both.
    const target = singleTarget(`SELECT (${substituted})`);
    if (target === undefined || singleTarget(`SELECT ${substituted}`) === undefined) {
      return fault(
        "this is not one SQL expression",
        "One expression, as after WHERE; a subquery stands in parentheses.",
      );
    }
    const literal = singleTarget(`SELECT (${standIn(text, users, AS_LITERAL)})`);
    if (shapeOf(target, users) !== shapeOf(literal, users)) {
      return fault("not valid SQL: :user cannot stand here", "It is a value, as in assignee = :user.");
    }
    const refused = visit(target, walk, 0);
    if (refused !== undefined) return refused;
  } catch (error) {
    return fault(`not valid SQL: ${messageOf(error)}`, "One SQL expression, as after WHERE.");
  }
  const qualified = walk.unqualified.map((location) => ({
    start: location - PREFIX,
    end: location - PREFIX,
    text: "pg_catalog.",
  }));
  return {
    ok: true,
    sql: splice(text, qualified),
    use: {
      relations: [...new Set(walk.relations)],
      columns: [...new Set(walk.columns)],
      functions: [...new Set(walk.functions)],
      operators: [...new Set(walk.operators)],
    },
  };
}

function standIn(text: string, users: readonly ByteRange[], form: string): string {
  return splice(
    text,
    users.map(({ start, end }) => ({ start, end, text: form })),
  );
}

/**
 * The tree as text, the same for both forms of `:user`. This parser lets a parameter stand where Postgres
 * itself does not (`date $1`, a cast to it) and where a literal in parentheses means something else (a call).
 */
function shapeOf(tree: unknown, users: readonly ByteRange[]): string {
  const starts = new Set(users.map(({ start }) => start + PREFIX + 1));
  return JSON.stringify(tree, (key, value) =>
    (key === "ParamRef" || key === "A_Const") && starts.has(value.location) ? ":user" : value,
  ).replaceAll(/"(ParamRef|A_Const)":":user"/g, '":user":0');
}

/** Replaces byte ranges of a text. */
export function splice(
  text: string,
  edits: readonly { readonly start: number; readonly end: number; readonly text: string }[],
): string {
  const bytes = Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    parts.push(bytes.subarray(at, edit.start), Buffer.from(edit.text, "utf8"));
    at = edit.end;
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts).toString("utf8");
}

// --- the tree ---------------------------------------------------------------------------------------------

type Json = Readonly<Record<string, unknown>>;

/** Node types that are accepted, each with the fields that it may have. */
type NodeList = ReadonlyMap<string, ReadonlySet<string>>;

interface Walk {
  readonly nodes: NodeList;
  readonly relations: string[];
  readonly columns: string[];
  readonly functions: string[];
  readonly operators: string[];
  /** Byte offsets of functions and types without a schema. */
  readonly unqualified: number[];
  readonly onColumn: (name: string, location: number) => void;
}

function emptyWalk(): Omit<Walk, "nodes"> {
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
  // No aggregate modifiers, no window, no VARIADIC: their fields are absent here.
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

const MASK_NODES = nodeList(EXPRESSION_FIELDS);
const CONDITION_NODES = nodeList({
  ...EXPRESSION_FIELDS,
  A_Star: "",
  Alias: "aliasname colnames",
  JoinExpr: "jointype isNatural larg rarg usingClause quals alias",
  ParamRef: "number",
  RangeSubselect: "lateral subquery alias",
  RangeVar: "schemaname relname inh relpersistence alias",
  ResTarget: "name val",
  // No WITH, no INTO, no locking.
  SelectStmt:
    "targetList fromClause whereClause groupClause havingClause sortClause limitCount limitOption op all larg rarg valuesLists",
  SortBy: "node sortby_dir sortby_nulls",
  SubLink: "subLinkType testexpr operName subselect",
});

/** Fields whose value is a bare struct, without the node type around it. */
const BARE: ReadonlyMap<string, string> = new Map([
  ["typeName", "TypeName"],
  ["alias", "Alias"],
]);

function visit(value: unknown, walk: Walk, depth: number): Fault | undefined {
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
    // The tested expression of `x IN (SELECT …)` stands outside of the subquery.
    const at = type === "SubLink" && field === "testexpr" ? depth : inside;
    return bare === undefined ? visit(child, walk, at) : visitNode(bare, child as Json, walk, at);
  });
}

/** Writes down what a node names, and refuses what only the names can tell. */
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
          "The column stands in it as value: left(value, 3).",
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
      // EXTRACT, SUBSTRING … FROM and the like are grammar; the functions behind them differ by version.
      if (fields.funcformat === "COERCE_SQL_SYNTAX") return undefined;
      walk.functions.push(names.length === 1 ? `pg_catalog.${names[0]}` : names.join("."));
      return undefined;
    }
    case "TypeName":
      if (strings(fields.names).length === 1) walk.unqualified.push(location);
      return undefined;
    case "A_Expr":
      walk.operators.push(strings(fields.name).join("."));
      return undefined;
    case "SQLValueFunction":
      return CURRENT_TIME.has(String(fields.op))
        ? undefined
        : fault("the database's own user is not always the session's user", "Write :user.");
    default:
      return undefined;
  }
}

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

/** The expression of `SELECT expression`; undefined when the statement is anything more. */
function singleTarget(sql: string): unknown {
  const { stmts } = parseSync(sql);
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
  const inside = type === what ? "" : ` of ${type}`;
  return fault(
    `${what}${inside} has no place in a policy's expression`,
    "Columns, literals, operators, plain function calls, CASE and (in conditions) plain subqueries do.",
  );
}

function fault(problem: string, hint: string): Fault {
  return { ok: false, problem, hint };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unreadable";
}
