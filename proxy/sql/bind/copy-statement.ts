import type { CopyStmt } from "libpg-query";
import { stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { BoundColumn, BoundRelation, Output } from "./bound.ts";
import { innerScope, item, type NameScope, withItems } from "./name-scope.ts";
import { tableReference } from "./relation.ts";
import { clauses, expressionsOf, NOTHING } from "./select.ts";

/** COPY of a relation, in either direction; COPY of a query is treated as that query. */
export function bindCopy(binder: Binder, body: CopyStmt, outer: NameScope): void {
  binder.bind(body.query, outer);
  if (body.relation === undefined) return;
  const isFrom = body.is_from === true;
  const relation = tableReference(binder, body.relation, { isNullable: false, isTarget: isFrom });
  const scope = withItems(innerScope(outer), [item(relation)]);
  binder.bind(body.whereClause, scope);
  const columns = columnsOf(binder, body, relation);
  binder.add(
    {
      ...NOTHING,
      form: isFrom ? "insert" : "copy",
      node: body,
      depth: scope.depth,
      from: isFrom ? [] : [{ kind: "relation", relation }],
      relations: [relation],
      outputs: isFrom ? [] : columns.map(outputOf),
      hasUnknownOutputs: !isFrom && relation.hasUnknownColumns,
      write: isFrom ? { target: relation, assigned: columns, source: undefined } : undefined,
      clauses: clauses({ where: body.whereClause }),
      ...expressionsOf({}, scope),
    },
    scope,
  );
}

/** The listed columns, or all of them. */
function columnsOf(binder: Binder, { attlist }: CopyStmt, relation: BoundRelation): readonly BoundColumn[] {
  if (attlist === undefined) return relation.columns;
  return attlist.flatMap((node) => {
    const column = relation.columns.find(({ name }) => name === stringOf(node));
    if (column === undefined && !relation.hasUnknownColumns)
      binder.problem(
        "42703",
        `column "${stringOf(node)}" of relation "${relation.alias}" does not exist`,
        node,
      );
    return column ?? [];
  });
}

function outputOf(column: BoundColumn): Output {
  return { name: column.name, node: undefined, column, typeOid: column.typeOid };
}
