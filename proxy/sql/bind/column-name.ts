import type {
  A_Expr,
  A_Indirection,
  CaseExpr,
  CollateClause,
  ColumnRef,
  FuncCall,
  JsonFuncExpr,
  MinMaxExpr,
  Node,
  SQLValueFunction,
  SubLink,
  TypeCast,
  XmlExpr,
} from "libpg-query";
import { type Body, nodeOf, stringOf } from "../parse/grammar.ts";

/** How certain a name is: a type's name or "case" gives way to a name from further inside. */
interface Named {
  readonly name: string;
  readonly isWeak?: true;
}

/** The first output of a query inside an expression. */
export type FirstOutput = (query: Body) => string | undefined;

/** Postgres's name for an output without AS (FigureColname in parser/parse_target.c). */
export function columnName(node: Node, firstOutput: FirstOutput): string {
  return named(node, firstOutput)?.name ?? "?column?";
}

function named(node: Node | undefined, firstOutput: FirstOutput): Named | undefined {
  if (node === undefined) return undefined;
  const [type, body] = nodeOf(node);
  const word = WORDS.get(type);
  if (word !== undefined) return { name: word };
  switch (type) {
    case "ColumnRef":
      return lastName((body as ColumnRef).fields);
    case "A_Indirection": {
      const { arg, indirection } = body as A_Indirection;
      return lastName(indirection) ?? named(arg, firstOutput);
    }
    case "FuncCall":
      return lastName((body as FuncCall).funcname);
    case "A_Expr":
      return (body as A_Expr).kind === "AEXPR_NULLIF" ? { name: "nullif" } : undefined;
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      return weak(named(arg, firstOutput), lastName(typeName?.names)?.name);
    }
    case "CollateClause":
      return named((body as CollateClause).arg, firstOutput);
    case "CaseExpr":
      return weak(named((body as CaseExpr).defresult, firstOutput), "case");
    case "SubLink":
      return ofSubquery(body as SubLink, firstOutput);
    case "MinMaxExpr":
      return { name: (body as MinMaxExpr).op === "IS_LEAST" ? "least" : "greatest" };
    case "SQLValueFunction":
      return { name: valueFunction(body as SQLValueFunction) };
    case "XmlExpr":
      return ofXml(body as XmlExpr);
    case "JsonFuncExpr":
      return { name: (body as JsonFuncExpr).op?.replace(/_OP$/, "").toLowerCase() ?? "json_value" };
    default:
      return undefined;
  }
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ["A_ArrayExpr", "array"],
  ["CoalesceExpr", "coalesce"],
  ["GroupingFunc", "grouping"],
  ["JsonArrayAgg", "json_arrayagg"],
  ["JsonArrayConstructor", "json_array"],
  ["JsonArrayQueryConstructor", "json_array"],
  ["JsonObjectAgg", "json_objectagg"],
  ["JsonObjectConstructor", "json_object"],
  ["JsonParseExpr", "json"],
  ["JsonScalarExpr", "json_scalar"],
  ["JsonSerializeExpr", "json_serialize"],
  ["MergeSupportFunc", "merge_action"],
  ["RowExpr", "row"],
  ["XmlSerialize", "xmlserialize"],
]);

/** Skips stars and subscripts. */
function lastName(fields: readonly Node[] | undefined): Named | undefined {
  const last = (fields ?? []).filter((field) => nodeOf(field)[0] === "String").at(-1);
  return last === undefined ? undefined : { name: stringOf(last) };
}

function weak(inner: Named | undefined, name: string | undefined): Named | undefined {
  if (inner !== undefined && inner.isWeak !== true) return inner;
  return name === undefined ? inner : { name, isWeak: true };
}

function ofSubquery({ subLinkType, subselect }: SubLink, firstOutput: FirstOutput): Named | undefined {
  if (subLinkType === "EXISTS_SUBLINK") return { name: "exists" };
  if (subLinkType === "ARRAY_SUBLINK") return { name: "array" };
  const name =
    subLinkType === "EXPR_SUBLINK" && subselect !== undefined ? firstOutput(nodeOf(subselect)[1]) : undefined;
  return name === undefined ? undefined : { name };
}

/** SVFOP_CURRENT_TIMESTAMP_N → current_timestamp */
function valueFunction({ op = "SVFOP_CURRENT_DATE" }: SQLValueFunction): string {
  return op.replace(/^SVFOP_|_N$/g, "").toLowerCase();
}

/** IS_XMLELEMENT → xmlelement; IS DOCUMENT has no name. */
function ofXml({ op }: XmlExpr): Named | undefined {
  return op === undefined || op === "IS_DOCUMENT"
    ? undefined
    : { name: op.replace(/^IS_/, "").toLowerCase() };
}
