import type { JoinExpr, Node } from "libpg-query";
import { stringOf } from "../parse/grammar.ts";
import { type Binder, NotUnderstood } from "./binder.ts";
import type { BoundColumn, BoundRelation, FromItem } from "./bound.ts";
import { type BoundFrom, type FromScope, reportConflicts } from "./from-parts.ts";
import { item, type NamespaceItem, withItems } from "./name-scope.ts";
import { operatorsOfJoin } from "./operators.ts";
import { checkAlias, makeRelation, type PlainColumn } from "./relation.ts";

type JoinType = Extract<FromItem, { kind: "join" }>["type"];

const TYPES: Readonly<Record<string, JoinType>> = {
  JOIN_INNER: "inner",
  JOIN_LEFT: "left",
  JOIN_RIGHT: "right",
  JOIN_FULL: "full",
};

/** A join (transformFromClauseItem in parser/parse_clause.c); `part` binds its sides. */
export function bindJoin(
  binder: Binder,
  body: JoinExpr,
  within: FromScope,
  part: (binder: Binder, node: Node, within: FromScope) => BoundFrom,
): BoundFrom {
  const type = TYPES[body.jointype ?? ""];
  if (type === undefined || body.larg === undefined || body.rarg === undefined)
    throw new NotUnderstood(`a join of the type ${body.jointype}`, body);
  const { scope, before, isNullable } = within;
  const left = part(binder, body.larg, { ...within, isNullable: isNullable || isLeftOut("left", type) });
  // In a right or full join, the right side can see the names of the left side but must not use them.
  const isForbidden = type === "right" || type === "full";
  const lateral = left.exposed.map((each) => ({ ...each, isForbidden }));
  const right = part(binder, body.rarg, {
    scope,
    before: [...before, ...lateral],
    isNullable: isNullable || isLeftOut("right", type),
  });
  reportConflicts(binder, left.exposed, right.exposed);
  const sides = [...left.exposed, ...right.exposed];
  const pairs = comparedColumns(binder, body, left.top, right.top);
  const on = body.quals;
  binder.bind(on, withItems(scope, sides));
  const { usingClause, isNatural } = body;
  scope.level.operators.push(...operatorsOfJoin(usingClause !== undefined || isNatural === true));
  const relation = joined(binder, body, { type, pairs, left: left.top, right: right.top, isNullable });
  return {
    item: { kind: "join", node: body, type, left: left.item, right: right.item, on, pairs, relation },
    top: relation,
    exposed: exposedBy(binder, body, { relation, sides, merged: pairs.length }),
  };
}

function isLeftOut(side: "left" | "right", type: JoinType): boolean {
  return type === "full" || (side === "right" ? type === "left" : type === "right");
}

type Pair = readonly [BoundColumn, BoundColumn];

/** USING names columns of both sides; NATURAL compares all columns with the same name on both sides. */
function comparedColumns(
  binder: Binder,
  { usingClause, isNatural }: JoinExpr,
  left: BoundRelation,
  right: BoundRelation,
): readonly Pair[] {
  const names =
    isNatural === true
      ? left.columns.flatMap(({ name }) =>
          right.columns.some((column) => column.name === name) ? [name] : [],
        )
      : (usingClause ?? []).map(stringOf);
  if (new Set(names).size < names.length && isNatural !== true)
    binder.problem("42701", "a column name appears more than once in USING clause", left.node);
  return names.flatMap((name): readonly Pair[] => {
    const [one, other] = [sideColumn(binder, left, name), sideColumn(binder, right, name)];
    return one === undefined || other === undefined ? [] : [[one, other]];
  });
}

function sideColumn(binder: Binder, side: BoundRelation, name: string): BoundColumn | undefined {
  const [column, second] = side.columns.filter((each) => each.name === name);
  if (second !== undefined)
    binder.problem("42702", `common column name "${name}" appears more than once`, side.node);
  if (column === undefined && !side.hasUnknownColumns)
    binder.problem("42703", `column "${name}" specified in USING clause does not exist`, side.node);
  return column;
}

interface Joined {
  readonly type: JoinType;
  readonly pairs: readonly Pair[];
  readonly left: BoundRelation;
  readonly right: BoundRelation;
  readonly isNullable: boolean;
}

/** The merged columns come first, then the remaining columns of both sides. */
function joined(
  binder: Binder,
  body: JoinExpr,
  { type, pairs, left, right, isNullable }: Joined,
): BoundRelation {
  const merged = new Set(pairs.flat());
  const columns = [
    ...pairs.map((pair) => mergedColumn(pair, type)),
    ...[left, right].flatMap((side) => side.columns.filter((column) => !merged.has(column)).map(passedOn)),
  ];
  const hasUnknownColumns = left.hasUnknownColumns || right.hasUnknownColumns;
  if (!hasUnknownColumns) checkAlias(binder, body.alias, columns.length, body);
  return makeRelation({
    source: { kind: "join", sides: [left, right] },
    node: body,
    alias: body.alias,
    ownName: "",
    columns,
    hasUnknownColumns,
    isNullable: isNullable || type === "full",
  });
}

function passedOn(column: BoundColumn): PlainColumn {
  const { name, typeOid } = column;
  return { name, typeOid, source: { kind: "merged", columns: [column], plain: column } };
}

/** In a full join it may be either value; columns of different types get a common type (buildMergedJoinVar). */
function mergedColumn([left, right]: Pair, type: JoinType): PlainColumn {
  const isOneType = left.typeOid !== undefined && left.typeOid === right.typeOid;
  const plain = type === "full" || !isOneType ? undefined : type === "right" ? right : left;
  return {
    name: left.name,
    typeOid: isOneType ? left.typeOid : undefined,
    source: { kind: "merged", columns: [left, right], plain },
  };
}

interface Exposed {
  readonly relation: BoundRelation;
  readonly sides: readonly NamespaceItem[];
  /** The number of columns that USING merged. */
  readonly merged: number;
}

/** An alias hides everything inside. Without one the sides keep their names, but the columns are the join's. */
function exposedBy(
  binder: Binder,
  body: JoinExpr,
  { relation, sides, merged }: Exposed,
): readonly NamespaceItem[] {
  const own = item(relation);
  if (body.alias !== undefined) return [own];
  const inside = sides.map((each) => ({ ...each, showsColumns: false }));
  if (body.join_using_alias === undefined) return [...inside, own];
  const named = item(
    makeRelation({
      source: { kind: "join", sides: [relation] },
      node: body,
      alias: { aliasname: body.join_using_alias.aliasname ?? "" },
      ownName: "",
      columns: relation.columns.slice(0, merged).map(passedOn),
      isNullable: relation.isNullable,
    }),
  );
  reportConflicts(binder, sides, [named]);
  return [...inside, { ...named, showsColumns: false }, own];
}
