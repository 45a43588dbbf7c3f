/** Names in SQL terms for the nodes of the parser's tree (nodes/parsenodes.h, nodes/primnodes.h). */
const WORDS: Readonly<Record<string, string>> = {
  A_ArrayExpr: "ARRAY[…]",
  A_Const: "a constant",
  A_Expr: "an operator",
  A_Indirection: "a subscript or a field",
  A_Star: "*",
  BoolExpr: "AND, OR or NOT",
  BooleanTest: "IS TRUE and its like",
  CaseExpr: "CASE",
  CoalesceExpr: "COALESCE",
  CollateClause: "COLLATE",
  ColumnRef: "a column",
  CommonTableExpr: "WITH",
  CurrentOfExpr: "CURRENT OF",
  FuncCall: "a function call",
  GroupingFunc: "GROUPING",
  JoinExpr: "JOIN",
  List: "a list",
  MergeSupportFunc: "merge_action()",
  MinMaxExpr: "GREATEST or LEAST",
  NamedArgExpr: "a named argument",
  NullTest: "IS NULL",
  ParamRef: "a parameter",
  RangeFunction: "a function in FROM",
  RangeSubselect: "a subquery in FROM",
  RangeTableFunc: "XMLTABLE",
  RangeTableSample: "TABLESAMPLE",
  RangeVar: "a table",
  RowExpr: "ROW(…)",
  SQLValueFunction: "CURRENT_DATE, CURRENT_USER and their like",
  SelectStmt: "a query",
  SetToDefault: "DEFAULT",
  SubLink: "a subquery",
  TypeCast: "a cast",
  WindowDef: "OVER",
  XmlExpr: "an XML expression",
  XmlSerialize: "XMLSERIALIZE",
};

/** The node's name in SQL, or a phrase if it has none. */
export function wordsFor(nodeType: string): string {
  const words = Object.hasOwn(WORDS, nodeType) ? WORDS[nodeType] : undefined;
  return words ?? (nodeType.startsWith("Json") ? "an SQL/JSON expression" : "this kind of expression");
}
