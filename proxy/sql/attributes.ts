import type { A_Indirection, ColumnRef, Node } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level, namedReferences } from "./analysis.ts";
import { attributeCall } from "./calls.ts";
import { columnRef, ownNamed } from "./expressions.ts";
import { nodeOf, stringOf } from "./grammar.ts";

/*
 * Postgres writes a column of a row and a function of one argument alike. What is not surely a column is judged as a
 * call.
 */

/** `alias.name`, `schema.relation.name` */
export function columnOrCall(analysis: Analysis, body: ColumnRef, level: Level): void {
  columnRef(analysis, body, level);
  const { fields = [] } = body;
  const last = fields.at(-1);
  if (fields.length < 2 || last === undefined || nodeOf(last)[0] === "A_Star") return;
  const [name = "", relation = "", schema] = fields.map(stringOf).toReversed();
  const meant = [
    ...namedReferences(level, relation),
    ...(schema === undefined ? [] : ownNamed(level, schema, relation)),
  ];
  if (!haveColumn(meant, name))
    attributeCall(analysis, name, { ColumnRef: { ...body, fields: fields.slice(0, -1) } }, level);
}

/** `(value).name`, `value[1].name` */
export function indirection(analysis: Analysis, body: A_Indirection, level: Level): void {
  const { arg } = body;
  for (const [index, step] of (body.indirection ?? []).entries()) {
    if (arg === undefined || nodeOf(step)[0] !== "String") continue;
    const name = stringOf(step);
    if (index > 0 || !haveColumn(rowsMeant(arg, level), name)) attributeCall(analysis, name, arg, level);
  }
  analysis.children("A_Indirection", body, level);
}

/** The references whose whole row `(c)` or `(c.*)` surely is: a column of that name would come first. */
function rowsMeant(arg: Node, level: Level): readonly FromReference[] {
  const [type, body] = nodeOf(arg);
  const [first, ...more] = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  if (first === undefined) return [];
  const alias = stringOf(first);
  const [star, ...rest] = more;
  const isStar = star !== undefined && rest.length === 0 && nodeOf(star)[0] === "A_Star";
  if (!isStar && (star !== undefined || candidates(level, undefined, alias).length > 0)) return [];
  return namedReferences(level, alias);
}

function haveColumn(references: readonly FromReference[], name: string): boolean {
  return references.length > 0 && references.every(({ columns }) => columns?.has(name) === true);
}
