import type {
  A_Const,
  A_Expr,
  ColumnRef,
  FuncCall,
  JoinExpr,
  Node,
  ResTarget,
  SelectStmt,
} from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level } from "./analysis.ts";
import { conjuncts } from "./conditions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { identifies, kindOfColumn, uniques } from "./identifying.ts";
import { cannotFailOnRows, type ValueKind } from "./infallible.ts";

/*
 * Who may stand in a summary of `aggregates_only`. Groups that differ by one person tell of that person, and noise alone does not
 * hide it from someone who may form such groups at will (Dinur and Nissim 2003): so people are chosen and grouped only by
 * what many of them share, from tables that the catalog knows, by expressions that cannot fail.
 */

interface Selection {
  readonly analysis: Analysis;
  readonly level: Level;
  /** Columns of people that conditions and groups name, by reference. */
  readonly named: Map<FromReference, Set<string>>;
}

/** Refuses a level that reads people where its FROM, conditions or groups could choose single ones. */
export function requireBroadSelection(
  analysis: Analysis,
  body: SelectStmt,
  level: Level,
  grouped: readonly Node[],
): void {
  const selection: Selection = { analysis, level, named: new Map() };
  for (const { use, alias } of level.references) {
    if (use?.sight === undefined)
      refuse(
        selection,
        `may read people beside tables and views only, not beside ${alias || "a subquery"}`,
        "Join tables or views; a summary that is a subquery of its own may be joined to other summaries.",
      );
  }
  for (const item of body.fromClause ?? []) fromItem(selection, item);
  if (body.whereClause !== undefined) condition(selection, body.whereClause);
  for (const node of grouped) {
    const value = groupedValue(body, level, node);
    if (value !== undefined) expression(selection, value, "a group");
  }
  for (const [reference, columns] of selection.named) refuseWholeKey(selection, reference, columns);
}

function refuse({ analysis }: Selection, message: string, hint: string): never {
  return analysis.deny(`role "${analysis.scope.role.name}" ${message}`, "aggregates_only", hint);
}

const SHARED = "Choose and group people by what many of them share: a country, a status, a month.";

const SHARED_OR_JOINED = `${SHARED} Tables that are joined by it need a "subject:" in the policy.`;

function fromItem(selection: Selection, item: Node): void {
  const [type, body] = nodeOf(item);
  if (type === "RangeTableSample")
    refuse(selection, "may not read samples of people", "Leave TABLESAMPLE out.");
  if (type !== "JoinExpr") return;
  const { larg, rarg, quals, usingClause, isNatural } = body as JoinExpr;
  if (isNatural === true) refuse(selection, "may not read people through NATURAL JOIN", "Write the columns.");
  for (const name of usingClause ?? []) joinedBy(selection, stringOf(name));
  if (quals !== undefined) condition(selection, quals);
  for (const side of [larg, rarg]) if (side !== undefined) fromItem(selection, side);
}

/** `USING (customer_id)` is an equality of all columns of that name. */
function joinedBy(selection: Selection, name: string): void {
  const here = selection.level.references.filter(({ columns }) => columns?.has(name));
  if (here.every(hasPeople)) return;
  for (const reference of here) mayChooseBy(selection, reference, name);
}

function condition(selection: Selection, node: Node): void {
  for (const conjunct of conjuncts(node)) {
    if (isJoin(selection, conjunct)) continue;
    for (const side of joinedSides(selection, conjunct) ?? [conjunct])
      expression(selection, side, "a condition");
  }
}

/** `c.country = k.code`, `date_trunc('day', p.paid_at) = d.day`: two expressions of one column each, of two relations. */
function joinedSides({ level }: Selection, node: Node): readonly Node[] | undefined {
  const [type, body] = nodeOf(node);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).join() !== "=") return undefined;
  if (lexpr === undefined || rexpr === undefined) return undefined;
  const [left, right] = [lexpr, rexpr].map((side) =>
    columnsIn(side).flatMap((column) => meantBy(level, column)),
  );
  const isPair = left?.length === 1 && right?.length === 1 && left[0]?.reference !== right[0]?.reference;
  return isPair ? [lexpr, rexpr] : undefined;
}

function columnsIn(node: Node): readonly Node[] {
  const columns: Node[] = [];
  const look = (type: string, body: object): void => {
    if (type === "ColumnRef") columns.push({ ColumnRef: body } as Node);
    else forEachChild(type, body, look);
  };
  visitNode(node, look);
  return columns;
}

/** `m.ticket_id = t.id` ties the rows of one relation of people to another's, whoever they are. */
function isJoin({ analysis, level }: Selection, node: Node): boolean {
  const [type, body] = nodeOf(node);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).join() !== "=") return false;
  const [left, right] = [lexpr, rexpr].map((side) => (side === undefined ? [] : meantBy(level, side)));
  const [a, b] = [left?.length === 1 ? left[0] : undefined, right?.length === 1 ? right[0] : undefined];
  if (a === undefined || b === undefined || a.reference === b.reference) return false;
  return (
    hasPeople(a.reference) &&
    hasPeople(b.reference) &&
    [a, b].every(({ reference, own }) => own !== undefined && !isHidden(analysis, reference, own))
  );
}

function hasPeople({ use }: FromReference): boolean {
  return use?.sight?.people !== undefined;
}

interface Meant {
  readonly reference: FromReference;
  /** The relation's own column; undefined for system columns and what is not known. */
  readonly own: string | undefined;
}

/** What a column may mean; empty for whole rows, stars and anything else. */
function meantBy(level: Level, node: Node): readonly Meant[] {
  const [type, body] = nodeOf(node);
  const fields = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  if (fields.length === 0 || fields.some((field) => nodeOf(field)[0] !== "String")) return [];
  const names = fields.map(stringOf);
  const name = names.at(-1) ?? "";
  return candidates(level, names.at(-2), name).map((reference) => ({
    reference,
    own: reference.columns?.get(name),
  }));
}

function expression(selection: Selection, node: Node, what: string): void {
  const columns = columnsIn(node);
  for (const column of columns) namedColumn(selection, column);
  const kindOf = (column: Node) => kindOfColumnRef(selection, column);
  if (!cannotFailOnRows(node, kindOf))
    refuse(
      selection,
      `may not use ${what} over people that can fail on a row`,
      "Comparisons, IN, BETWEEN, LIKE, CASE, COALESCE, lower, upper, date_trunc, extract and to_char of plain columns cannot. " +
        "An error would tell of a single person.",
    );
  refuseMixed(selection, node, columns, what);
}

/**
 * `country = 'DE' OR (zip = '101' AND is_vip)` puts one person into a group of others, and so does CASE: each condition, and
 * each group, is of one column, and of one with fine values it is a range.
 */
function refuseMixed(selection: Selection, node: Node, columns: readonly Node[], what: string): void {
  const meant = columns.flatMap((column) => meantBy(selection.level, column));
  const [first] = meant;
  if (meant.some(({ reference, own }) => reference !== first?.reference || own !== first?.own))
    refuse(
      selection,
      `may not use ${what} over people that mixes several columns`,
      "Write one condition for each column, with AND between them.",
    );
  const isFine = columns.some((column) => FINE.has(kindOfColumnRef(selection, column) ?? ""));
  if (isFine && picksValues(node))
    refuse(
      selection,
      `may not pick single times or numbers to choose people`,
      "Write a range: >=, <, BETWEEN. Parts of a time may be listed: extract(month FROM paid_at) IN (1, 2).",
    );
}

const FINE: ReadonlySet<string> = new Set(["time", "real"]);
const PICKING = new Set([
  "AEXPR_IN",
  "AEXPR_OP_ANY",
  "AEXPR_OP_ALL",
  "AEXPR_DISTINCT",
  "AEXPR_NOT_DISTINCT",
  "AEXPR_NULLIF",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_NOT_BETWEEN_SYM",
]);

/** Lists, unions and gaps; but not of parts of a time, which are few. */
function picksValues(node: Node): boolean {
  let picks = false;
  const look = (type: string, body: object): void => {
    const { kind, lexpr, name } = (type === "A_Expr" ? body : {}) as A_Expr;
    if (kind === "AEXPR_IN" && lexpr !== undefined && isPartOfTime(lexpr)) return;
    picks ||= type === "BoolExpr" || type === "CaseExpr" || PICKING.has(kind ?? "");
    picks ||= kind === "AEXPR_OP" && (name ?? []).map(stringOf).join() === "<>";
    forEachChild(type, body, look);
  };
  visitNode(node, look);
  return picks;
}

function isPartOfTime(node: Node): boolean {
  const [type, body] = nodeOf(node);
  const name = type === "FuncCall" ? ((body as FuncCall).funcname ?? []).map(stringOf).at(-1) : undefined;
  const [field] = (body as FuncCall).args ?? [];
  const part = field === undefined ? undefined : (nodeOf(field)[1] as A_Const).sval?.sval;
  return (name === "extract" || name === "date_part") && part !== "epoch";
}

function kindOfColumnRef({ analysis, level }: Selection, column: Node): ValueKind {
  const kinds = meantBy(level, column).map(({ reference, own }) => kindOfColumn(analysis, reference, own));
  return kinds.every((kind) => kind === kinds[0]) ? kinds[0] : undefined;
}

function namedColumn(selection: Selection, column: Node): void {
  const meant = meantBy(selection.level, column);
  if (meant.length === 0) refuse(selection, "may not choose people by whole rows or system columns", SHARED);
  const name = ((nodeOf(column)[1] as ColumnRef).fields ?? []).map(stringOf).at(-1) ?? "";
  for (const { reference } of meant) mayChooseBy(selection, reference, name);
}

function mayChooseBy(selection: Selection, reference: FromReference, name: string): void {
  const { analysis, named } = selection;
  const { use, columns } = reference;
  const own = columns?.get(name);
  if (use === undefined) return;
  if (own === undefined) refuse(selection, `may not choose people by ${name} of ${use.key}`, SHARED);
  if (!hasPeople(reference)) return;
  if (isHidden(analysis, reference, own))
    refuse(
      selection,
      `may not choose people by ${use.key}.${own}, which the policy protects`,
      `${SHARED} A column that is masked by year, month or rounding may be used.`,
    );
  if (identifies(analysis, reference, own))
    refuse(selection, `may not choose people by ${use.key}.${own}, which tells them apart`, SHARED_OR_JOINED);
  named.set(reference, (named.get(reference) ?? new Set()).add(own));
}

const COARSE = new Set(["truncate", "round", "null", "constant"]);

/** Protected, and not coarse by its mask. */
function isHidden({ scope }: Analysis, { use }: FromReference, own: string): boolean {
  const sight = use?.sight?.columns.find(({ column }) => column.name === own);
  if (sight?.isProtected !== true) return false;
  const mask = sight.className === undefined ? undefined : scope.policy.classes.get(sight.className)?.mask;
  return sight.kind !== "masked" || mask === undefined || !COARSE.has(mask.kind);
}

function refuseWholeKey(selection: Selection, { use }: FromReference, columns: ReadonlySet<string>): void {
  const key = use && uniques(use.relation).find((unique) => unique.every((column) => columns.has(column)));
  if (use !== undefined && key !== undefined)
    refuse(
      selection,
      `may not choose people by ${key.join(" and ")} of ${use.key}, which tell them apart together`,
      SHARED,
    );
}

/** What `GROUP BY 1`, or by an output column's name, groups by; undefined for other constants. */
function groupedValue({ targetList }: SelectStmt, level: Level, node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  if (type === "A_Const") {
    const target = targetList?.[((body as A_Const).ival?.ival ?? 0) - 1];
    return target && (nodeOf(target)[1] as ResTarget).val;
  }
  const fields = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  const [field, ...more] = fields;
  if (field === undefined || more.length > 0 || nodeOf(field)[0] !== "String") return node;
  const name = stringOf(field);
  // An input column of that name comes first (Postgres docs, "GROUP BY Clause").
  if (candidates({ ...level, outer: undefined }, undefined, name).length > 0) return node;
  const target = (targetList ?? []).find((each) => (nodeOf(each)[1] as ResTarget).name === name);
  return target === undefined ? node : (nodeOf(target)[1] as ResTarget).val;
}
