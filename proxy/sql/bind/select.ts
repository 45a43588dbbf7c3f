import type { ColumnRef, LockingClause, Node, RangeVar, SelectStmt, SortBy } from "libpg-query";
import { type Body, nodeOf, stringOf } from "../parse/grammar.ts";
import { type Binder, NotUnderstood } from "./binder.ts";
import type { BoundQuery, BoundRelation, Clauses, Output, SetOperation, Traits } from "./bound.ts";
import { bindFrom } from "./from-clause.ts";
import { relationsIn } from "./from-parts.ts";
import { findColumn, innerScope, type Level, type NameScope, withItems } from "./name-scope.ts";
import { operatorNamed } from "./operators.ts";
import { bindOutputClause, bindTargets, isStar } from "./outputs.ts";
import { type BoundWiths, bindWiths } from "./with.ts";

/** A SELECT of any form: plain, VALUES, or a set operation (transformStmt in parser/analyze.c). */
export function bindSelect(binder: Binder, body: SelectStmt, outer: NameScope): void {
  const around = bindWiths(binder, body.withClause, innerScope(outer));
  for (const clause of body.lockingClause ?? [])
    for (const node of (nodeOf(clause)[1] as LockingClause).lockedRels ?? []) binder.meet(nodeOf(node)[1]);
  if (body.op !== undefined && body.op !== "SETOP_NONE") setOperation(binder, body, around);
  else if (body.valuesLists !== undefined) values(binder, body, around);
  else plain(binder, body, around);
}

function plain(binder: Binder, body: SelectStmt, { scope: level, withs }: BoundWiths): void {
  const from = bindFrom(binder, body.fromClause, level);
  const scope = withItems(level, from.exposed);
  const targets = bindTargets(binder, body.targetList, scope);
  binder.bind(body.whereClause, scope);
  binder.bind(body.havingClause, scope);
  const { outputs } = targets;
  bindOutputClause(binder, body.sortClause, { clause: "sort", outputs }, scope);
  bindOutputClause(binder, body.groupClause, { clause: "group", outputs }, scope);
  bindOutputClause(binder, body.distinctClause, { clause: "distinct", outputs }, scope);
  binder.bind(body.windowClause, scope);
  bindLimits(binder, body, scope);
  const relations = relationsIn(from.items);
  checkLocks(binder, body.lockingClause, relations);
  binder.add(
    {
      ...NOTHING,
      form: "select",
      node: body,
      depth: level.depth,
      withs,
      from: from.items,
      relations,
      ...targets,
      clauses: clausesOf(body),
      ...expressionsOf(body, scope),
    },
    scope,
  );
}

export const NOTHING = {
  withs: [],
  from: [],
  relations: [],
  outputs: [],
  hasUnknownOutputs: false,
  setOperation: undefined,
  write: undefined,
} as const satisfies Partial<BoundQuery>;

function bindLimits(binder: Binder, body: SelectStmt, scope: NameScope): void {
  binder.bind(body.limitOffset, scope);
  binder.bind(body.limitCount, scope);
}

/** FOR UPDATE OF names entries of FROM. */
function checkLocks(
  binder: Binder,
  clauses: readonly Node[] | undefined,
  relations: readonly BoundRelation[],
): void {
  for (const clause of clauses ?? [])
    for (const node of (nodeOf(clause)[1] as LockingClause).lockedRels ?? []) {
      const name = nodeOf(node)[1] as RangeVar;
      if (!relations.some(({ alias }) => alias === name.relname))
        binder.problem("42P01", `relation "${name.relname}" in a locking clause not found in FROM`, name);
    }
}

function clausesOf(body: SelectStmt): Clauses {
  return clauses({
    distinct: body.distinctClause,
    targets: body.targetList,
    where: body.whereClause,
    group: body.groupClause,
    having: body.havingClause,
    window: body.windowClause,
    sort: body.sortClause,
    offset: body.limitOffset,
    limit: body.limitCount,
    locking: body.lockingClause,
    values: body.valuesLists,
  });
}

/** Omits absent clauses. */
export function clauses(
  given: Readonly<Partial<Record<keyof Clauses, Node | readonly Node[] | undefined>>>,
): Clauses {
  const made: { -readonly [Name in keyof Clauses]: Clauses[Name] } = {};
  for (const name of Object.keys(given) as (keyof Clauses)[]) {
    const value = given[name];
    if (value !== undefined) made[name] = Array.isArray(value) ? value : [value];
  }
  return made;
}

/** The contents of a query's expressions, once all of them are bound. */
export function expressionsOf(
  body: Pick<SelectStmt, "distinctClause" | "groupClause" | "havingClause" | "limitOption">,
  { level }: NameScope,
): Pick<BoundQuery, "traits" | "calls" | "aggregates" | "operators" | "types"> {
  const { calls, aggregates, operators, types } = level;
  return { traits: traitsOf(body, level), calls, aggregates, operators, types };
}

function traitsOf(
  body: Pick<SelectStmt, "distinctClause" | "groupClause" | "havingClause" | "limitOption">,
  level: Level,
): Traits {
  return {
    isDistinct: body.distinctClause !== undefined,
    isGrouped: body.groupClause !== undefined,
    isAggregated: level.aggregates.length > 0 || body.havingClause !== undefined,
    isWindowed: level.windows.length > 0,
    makesRows: level.sets.length > 0,
    hasTies: body.limitOption === "LIMIT_OPTION_WITH_TIES",
  };
}

/** VALUES: column1, column2 …, as many as the first row has. */
function values(binder: Binder, body: SelectStmt, { scope, withs }: BoundWiths): void {
  const lists = (body.valuesLists ?? []).map((list) => (nodeOf(list)[1] as { items?: Node[] }).items ?? []);
  for (const list of lists) binder.bind(list, scope);
  // `VALUES (t.*)` has as many columns as t.
  const hasUnknownOutputs = lists.flat().some(isStar);
  const outputs = (hasUnknownOutputs ? [] : (lists[0] ?? [])).map(
    (_, index): Output => ({
      name: `column${index + 1}`,
      node: undefined,
      column: undefined,
      typeOid: undefined,
    }),
  );
  bindOutputClause(binder, body.sortClause, { clause: "sort", outputs }, scope);
  bindLimits(binder, body, scope);
  binder.add(
    {
      ...NOTHING,
      form: "values",
      node: body,
      depth: scope.depth,
      withs,
      outputs,
      hasUnknownOutputs,
      clauses: clausesOf(body),
      ...expressionsOf(body, scope),
    },
    scope,
  );
}

const OPERATORS: Readonly<Record<string, SetOperation["operator"]>> = {
  SETOP_UNION: "union",
  SETOP_INTERSECT: "intersect",
  SETOP_EXCEPT: "except",
};

/** UNION and similar: the first arm names the outputs (transformSetOperationStmt). */
function setOperation(binder: Binder, body: SelectStmt, { scope, withs }: BoundWiths): void {
  const operator = OPERATORS[body.op ?? ""];
  if (operator === undefined) throw new NotUnderstood(`the set operation ${body.op}`, body);
  const arms = [body.larg, body.rarg].map((arm) => armOf(binder, arm, scope));
  const outputs = outputsOfArms(arms);
  sortOfArms(binder, body.sortClause, outputs, scope);
  bindLimits(binder, body, scope);
  binder.add(
    {
      ...NOTHING,
      form: "set operation",
      node: body,
      depth: scope.depth,
      withs,
      outputs,
      hasUnknownOutputs: arms.some((arm) => arm.hasUnknownOutputs),
      setOperation: { operator, all: body.all === true, arms },
      clauses: clausesOf(body),
      ...expressionsOf(body, scope),
    },
    scope,
  );
}

function armOf(binder: Binder, arm: SelectStmt | undefined, scope: NameScope): BoundQuery {
  if (arm === undefined) throw new Error("a set operation has two arms");
  binder.visit("SelectStmt", arm, scope);
  return queryAt(binder, arm);
}

/** The query that was bound for a statement's body. */
export function queryAt(binder: Binder, body: Body): BoundQuery {
  const query = binder.queryOf.get(body);
  if (query === undefined) throw new NotUnderstood("it is no query", body);
  return query;
}

function outputsOfArms([first, second]: readonly BoundQuery[]): readonly Output[] {
  return (first?.outputs ?? []).map(({ name, typeOid }, index) => ({
    name,
    node: undefined,
    column: undefined,
    typeOid: typeOid === second?.outputs[index]?.typeOid ? typeOid : undefined,
  }));
}

/** Only an output's name or number is allowed. */
function sortOfArms(
  binder: Binder,
  nodes: readonly Node[] | undefined,
  outputs: readonly Output[],
  scope: NameScope,
): void {
  for (const node of nodes ?? []) {
    const { node: key, useOp } = nodeOf(node)[1] as SortBy;
    binder.meet(nodeOf(node)[1]);
    scope.level.operators.push(...operatorNamed(useOp));
    if (key === undefined) continue;
    const [type, body] = nodeOf(key);
    const name = type === "ColumnRef" ? bareName(body as ColumnRef) : undefined;
    const isOutput =
      type === "A_Const" || (name !== undefined && outputs.some((output) => output.name === name));
    if (isOutput || outputs.length === 0) bindOutputClause(binder, [key], { clause: "sort", outputs }, scope);
    else {
      // Other names in it are resolved too, but the server will report none of their problems.
      const said = binder.problems.length;
      binder.visit(type, body, scope);
      binder.problems.length = said;
      if (name !== undefined && findColumn(scope, name, "all").found === undefined)
        binder.problem("42703", `column "${name}" does not exist`, body);
      else binder.problem("0A000", "invalid UNION/INTERSECT/EXCEPT ORDER BY clause", body);
    }
  }
}

/** An unqualified name. */
function bareName({ fields = [] }: ColumnRef): string | undefined {
  const [field] = fields;
  return field !== undefined && fields.length === 1 && nodeOf(field)[0] === "String"
    ? stringOf(field)
    : undefined;
}
