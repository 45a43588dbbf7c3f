import { isDeepStrictEqual } from "node:util";
import type { A_Expr, ColumnRef, JoinExpr, Node, SelectStmt } from "libpg-query";
import type { Catalog, Relation } from "../catalog/catalog.ts";
import type { Analysis, FromReference, Level } from "./analysis.ts";
import { columnName, conjuncts, onlyReference } from "./conditions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import type { Subject } from "./subjects.ts";

/*
 * A join that multiplies a person's rows at will gives the rounding of a group another turn each time, and the average of
 * many turns is the truth (docs/aggregates.md). So each relation of a summary has at most one row for each row of those before
 * it, by a unique key, or is joined by the person or by a foreign key, and then once: how often a person's rows are
 * counted depends on the schema and not on the statement.
 */

/** An equality that holds in all rows where `reference` is there: its own column, and what that is compared to. */
interface Hold {
  readonly reference: FromReference;
  readonly own: string;
  /** The references that the other side names; none for a constant. */
  readonly others: readonly FromReference[];
  /** The other side's column, where it is a plain one. */
  readonly theirs: string | undefined;
}

/** Refuses a level whose FROM multiplies the rows of its people in a way that the statement chooses. */
export function requireTiedRelations(analysis: Analysis, body: SelectStmt, level: Level): void {
  const { references } = level;
  if (references.length < 2) return;
  const holds = holdsOf(level, body);
  let first: Loose | undefined;
  for (const start of references) {
    const loose = looseFrom(analysis, start, references, holds);
    if (loose === undefined) return;
    first ??= loose;
  }
  const { reference, beside } = first ?? {};
  analysis.deny(
    `role "${analysis.scope.role.name}" may not summarise ${beside?.use?.key} beside ${reference?.use?.key}, which could multiply its rows`,
    "aggregates_only",
    "Join tables of people by the person (t.customer_id = c.id) or by a key, others by a whole unique key, and each table once.",
  );
}

interface Loose {
  readonly reference: FromReference;
  readonly beside: FromReference;
}

/** What cannot be added to the joins that begin with `start`; undefined where all can. */
function looseFrom(
  analysis: Analysis,
  start: FromReference,
  references: readonly FromReference[],
  holds: readonly Hold[],
): Loose | undefined {
  const added = new Set([start]);
  for (let before = 0; before < added.size; ) {
    before = added.size;
    for (const each of references)
      if (!added.has(each) && isHeld(analysis, each, added, holds)) added.add(each);
  }
  const reference = references.find((each) => !added.has(each));
  return reference && { reference, beside: start };
}

function isHeld(
  { scope }: Analysis,
  reference: FromReference,
  added: ReadonlySet<FromReference>,
  holds: readonly Hold[],
): boolean {
  const own = holds.filter(
    (hold) => hold.reference === reference && hold.others.every((other) => added.has(other)),
  );
  const relation = reference.use?.relation;
  if (relation === undefined) return false;
  const isSingle = keysOf(scope.catalog, relation).some((key) =>
    key.every((column) => own.some((hold) => hold.own === column)),
  );
  const isOfPerson = own.some(joinsByPerson);
  const isAgain = [...added].some(({ use }) => use?.relation === relation);
  if (isAgain) return isSingle && own.some((hold) => joinsItself(hold) && joinsByPerson(hold));
  return isSingle || isOfPerson || refersTo(reference, own);
}

function joinsItself({ reference, others }: Hold): boolean {
  return others[0]?.use?.relation === reference.use?.relation;
}

/** Both columns name the person, or the thing at the beginning of the way to them. */
function joinsByPerson({ reference, own, others: [other], theirs }: Hold): boolean {
  const [mine, far] = [subjectOf(reference), other && subjectOf(other)];
  if (mine === undefined || far === undefined || mine.namespace !== far.namespace) return false;
  if (mine.column !== own) return false;
  if (far.column === theirs && isDeepStrictEqual(keysOnWay(mine), keysOnWay(far))) return true;
  const [next] = mine.hops ?? [];
  return next !== undefined && next.relation === other?.use?.relation && next.key === theirs;
}

function keysOnWay({ hops = [] }: Subject): readonly (readonly [number, string])[] {
  return hops.map(({ relation, key }) => [relation.oid, key]);
}

function subjectOf({ use }: FromReference): Subject | undefined {
  const people = use?.sight?.people;
  return people?.unknown === 0 ? people.subject : undefined;
}

/** By a whole foreign key to a table of people: its rows are those of one row there. */
function refersTo({ use }: FromReference, own: readonly Hold[]): boolean {
  if (use?.sight?.people === undefined) return false;
  return use.relation.foreignKeys.some(({ columns, references, referencedColumns }) =>
    columns.every((column, index) =>
      own.some(
        ({ own: name, others: [other], theirs }) =>
          name === column &&
          theirs === referencedColumns[index] &&
          other?.use?.relation.oid === references &&
          other.use.sight?.people !== undefined,
      ),
    ),
  );
}

/** Columns of which no two rows have the same values. */
function keysOf(catalog: Catalog, relation: Relation): readonly (readonly string[])[] {
  const { kind, primaryKey, indexes, lineage } = relation;
  if (lineage !== undefined && kind === "view") return keysOfView(catalog, relation);
  const unique = indexes.filter((index) => index.unique && !index.partial).map(({ columns }) => columns);
  return [primaryKey, ...unique].filter((key) => key.length > 0);
}

/** Those of the one table that the view shows row by row. */
function keysOfView(catalog: Catalog, { lineage }: Relation): readonly (readonly string[])[] {
  const { origins, references, functions } = lineage ?? {};
  const [from, ...more] = references?.times ?? [];
  const base = from && catalog.relationsByOid.get(from[0]);
  if (base === undefined || more.length > 0 || from?.[1] !== 1) return [];
  const mayMultiply = functions?.some((oid) => catalog.functionsByOid.get(oid)?.returnsSet !== false);
  if (mayMultiply !== false) return [];
  const named = new Map(
    [...(origins ?? [])].flatMap(([name, { relation, column }]) => {
      const copied = base.columns.find(({ number }) => number === column)?.name;
      return relation === base.oid && copied !== undefined ? [[copied, name] as const] : [];
    }),
  );
  return keysOf(catalog, base).flatMap((key) => {
    const names = key.flatMap((column) => named.get(column) ?? []);
    return names.length === key.length ? [names] : [];
  });
}

/** The equalities of a level that restrict what its FROM joins. */
function holdsOf(level: Level, { fromClause = [], whereClause }: SelectStmt): readonly Hold[] {
  const holds: Hold[] = [];
  const references = [...level.references];
  const ofItem = (item: Node): readonly FromReference[] => {
    const [type, body] = nodeOf(item);
    // In the order in which FROM names them: a level with anything but relations is refused before.
    if (type !== "JoinExpr") return references.splice(0, 1);
    const { larg, rarg, quals, usingClause, jointype } = body as JoinExpr;
    const left = larg === undefined ? [] : ofItem(larg);
    const right = rarg === undefined ? [] : ofItem(rarg);
    // Of rows without a match the condition says nothing: it holds only what is then left out.
    const isHeld = ({ reference, others }: Hold): boolean => {
      const sides = [reference, ...others];
      const inLeft = sides.some((each) => left.includes(each));
      const inRight = sides.some((each) => right.includes(each));
      switch (jointype) {
        case "JOIN_INNER":
          return true;
        case "JOIN_LEFT":
          return inRight;
        case "JOIN_RIGHT":
          return inLeft;
        default:
          return inLeft && inRight;
      }
    };
    const found = [
      ...(quals === undefined ? [] : conjuncts(quals)).flatMap((conjunct) => holdsIn(level, conjunct)),
      ...(usingClause ?? []).flatMap((name) => holdsOfName(stringOf(name), left, right)),
    ];
    holds.push(...found.filter(isHeld));
    return [...left, ...right];
  };
  for (const item of fromClause) ofItem(item);
  if (whereClause !== undefined)
    holds.push(...conjuncts(whereClause).flatMap((conjunct) => holdsIn(level, conjunct)));
  return holds;
}

function holdsIn(level: Level, node: Node): readonly Hold[] {
  const [type, body] = nodeOf(node);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).join() !== "=") return [];
  if (lexpr === undefined || rexpr === undefined) return [];
  return [[lexpr, rexpr] as const, [rexpr, lexpr] as const].flatMap(([side, far]) => {
    const mine = columnOf(level, side);
    const others = columnsIn(far).map((column) => onlyReference(level, column));
    const known = others.filter((other) => other !== undefined);
    // What the other side names otherwise (a row, a column further out) is not known to be one value.
    if (mine === undefined || known.length < others.length || known.includes(mine.reference)) return [];
    return [{ ...mine, others: known, theirs: columnOf(level, far)?.own }];
  });
}

function holdsOfName(
  name: string,
  left: readonly FromReference[],
  right: readonly FromReference[],
): readonly Hold[] {
  const [a, b] = [left, right].map((side) => side.find(({ columns }) => columns?.has(name)));
  const [own, theirs] = [a, b].map((each) => each?.columns?.get(name));
  if (a === undefined || b === undefined || own === undefined || theirs === undefined) return [];
  return [
    { reference: a, own, others: [b], theirs },
    { reference: b, own: theirs, others: [a], theirs: own },
  ];
}

function columnOf(
  level: Level,
  node: Node,
): { readonly reference: FromReference; readonly own: string } | undefined {
  const [type, column] = nodeOf(node);
  if (type !== "ColumnRef") return undefined;
  const reference = onlyReference(level, column as ColumnRef);
  const own = reference && columnName(reference, column as ColumnRef);
  return reference === undefined || own === undefined ? undefined : { reference, own };
}

function columnsIn(node: Node): readonly ColumnRef[] {
  const found: ColumnRef[] = [];
  const look = (type: string, body: object): void => {
    if (type === "ColumnRef") found.push(body as ColumnRef);
    else forEachChild(type, body, look);
  };
  visitNode(node, look);
  return found;
}
