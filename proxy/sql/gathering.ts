import type { ColumnRef, FuncCall, Node } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level, type RelationUse } from "./analysis.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { isSystemSchema } from "./system-relations.ts";

/*
 * json_agg and its like put many rows into one, and would walk around a limit of rows. They may all be one person's:
 * object mappers ask for a customer with his tickets in one statement. So a gathering is let through where each
 * relation that it gathers is held to one person, whom its output row counts.
 */

/** How far the analysis was when a level's FROM began. */
export interface LevelStart {
  readonly uses: number;
  readonly ctePeople: number;
  readonly calls: number;
}

export function levelStart({ uses, ctePeople, calls }: Analysis): LevelStart {
  return { uses: uses.length, ctePeople, calls };
}

/** Notes a call of a gathering aggregate. */
export function gather(analysis: Analysis, what: string, body: FuncCall, level: Level): void {
  const gathering = { what, level: isOwn(body, level) ? level : undefined };
  analysis.gatherings = [...analysis.gatherings, gathering];
}

/** A level has been visited: its gatherings of one person's rows are let through. */
export function settleGatherings(analysis: Analysis, level: Level, start: LevelStart): void {
  const own = analysis.gatherings.filter((gathering) => gathering.level === level);
  if (own.length === 0) return;
  const isHeld =
    analysis.ctePeople === start.ctePeople &&
    analysis.calls === start.calls &&
    analysis.uses.slice(start.uses).every((use) => isHarmless(use) || isPinned(analysis, use, level));
  if (isHeld) analysis.gatherings = analysis.gatherings.filter((gathering) => gathering.level !== level);
}

function isHarmless({ sight, relation }: RelationUse): boolean {
  if (sight === undefined || isSystemSchema(relation.schema)) return true;
  return sight.people === undefined && !sight.guarded;
}

/** Whether its rows are one person's for each row of what is around the level. */
function isPinned(analysis: Analysis, use: RelationUse, level: Level): boolean {
  const seen = new Set<RelationUse>();
  for (let at: RelationUse | undefined = use; at !== undefined && !seen.has(at); ) {
    seen.add(at);
    const pin = analysis.pins.get(at);
    if (pin === undefined) return false;
    if (pin === "constant" || isAround(level, pin)) return true;
    at = pin.use;
  }
  return false;
}

function isAround(level: Level, reference: FromReference): boolean {
  for (let at = level.outer; at !== undefined; at = at.outer)
    if (at.references.includes(reference)) return true;
  return false;
}

/**
 * An aggregate belongs to the innermost level whose columns its arguments name (Postgres docs, "Aggregate
 * Expressions"): it is this level's if one of them surely is.
 */
function isOwn(body: FuncCall, level: Level): boolean {
  return columnsIn(body).some((column) => namesOwn(column, level));
}

/** Whether an aggregate may belong to a level around the one it stands in, whose rows it then makes one of. */
export function mayBeOfOuter(body: FuncCall, level: Level): boolean {
  let outer = level.outer;
  while (outer !== undefined && outer.references.length === 0) outer = outer.outer;
  const columns = outer === undefined ? [] : columnsIn(body);
  return columns.length > 0 && !columns.some((column) => namesOwn(column, level));
}

/** But for what subqueries name, which may be their own. */
function columnsIn({ args = [] }: FuncCall): readonly ColumnRef[] {
  const found: ColumnRef[] = [];
  const look = (type: string, node: object): void => {
    if (type === "SubLink") return;
    if (type === "ColumnRef") found.push(node as ColumnRef);
    else forEachChild(type, node, look);
  };
  for (const argument of args) visitNode(argument, look);
  return found;
}

function namesOwn({ fields = [] }: ColumnRef, level: Level): boolean {
  if (fields.some((field) => nodeOf(field)[0] !== "String")) return false;
  const names = fields.map(stringOf);
  const [name = "", qualifier] = [names.at(-1), names.at(-2)];
  if (names.length > 2) return false;
  const isAlias = (alias: string) => level.references.some((reference) => reference.alias === alias);
  if (qualifier !== undefined) return isAlias(qualifier);
  return isAlias(name) || level.references.some(({ columns }) => columns?.has(name) === true);
}

/** The reference around a level that a column means; undefined where it may be the level's own. */
export function outerReference(level: Level, node: Node): FromReference | undefined {
  const [type, body] = nodeOf(node);
  const fields = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  if (fields.length === 0 || fields.length > 2 || fields.some((field) => nodeOf(field)[0] !== "String"))
    return undefined;
  const names = fields.map(stringOf);
  const [name = "", qualifier] = [names.at(-1), names.at(-2)];
  if (candidates({ ...level, outer: undefined }, qualifier, name).length > 0) return undefined;
  const found = candidates(level, qualifier, name);
  return found.length === 1 ? found[0] : undefined;
}
