import type { BoundQuery, BoundStatement, Call } from "../bind/bound.ts";
import { dependsOnNodes } from "../bind/dependencies.ts";
import { type Body, forEachChild, visitNode } from "../parse/grammar.ts";
import { functionsMeant } from "./calls.ts";
import type { Given } from "./given.ts";
import { isProtected } from "./people.ts";
import { arePinned } from "./pinned-people.ts";

/**
 * Functions whose argument is read elsewhere, where nobody is counted: by SHOW, from a large object, in a notification. All
 * of them are undone with their transaction.
 */
const KEEPS: ReadonlySet<string> = new Set(["set_config", "lo_from_bytea", "lo_put", "lowrite", "pg_notify"]);

/**
 * Whether calls keep protected values of more people than the rows count. A call in each row that the client gets keeps no more
 * than that row shows.
 */
export function keepsElsewhere(statement: BoundStatement, given: Given): boolean {
  const { top, queries } = statement;
  if (top === undefined) return false;
  const inRows = callsInRows(statement);
  const keeps = queries.some((query) =>
    query.calls.some((call) => !inRows.has(call.node) && keepsProtected(statement, given, query, call)),
  );
  return keeps && !arePinned(statement, given, top);
}

function keepsProtected(statement: BoundStatement, given: Given, query: BoundQuery, call: Call): boolean {
  const { catalog, sights } = given;
  const { args } = call.node as { readonly args?: Parameters<typeof dependsOnNodes>[1] };
  if (call.form !== "function" || !KEEPS.has(call.name) || args === undefined) return false;
  if (!functionsMeant(catalog, call).some(({ schema }) => schema === "pg_catalog")) return false;
  const { columns } = dependsOnNodes(statement, args, query);
  return [...columns].some(
    (column) => column.relation.source.kind === "table" && isProtected(sights, column),
  );
}

/** Nodes of the calls that are made once for each row that leaves. */
function callsInRows({ kind, top }: BoundStatement): ReadonlySet<Body> {
  const found = new Set<Body>();
  if (top === undefined || !OF_ROWS.has(kind) || !isPlain(top)) return found;
  const look = (type: string, body: Body): void => {
    if (type === "FuncCall") found.add(body);
    forEachChild(type, body, look);
  };
  const { targets = [], returning = [] } = top.clauses;
  for (const node of [...(top.form === "select" ? targets : []), ...returning]) visitNode(node, look);
  return found;
}

const OF_ROWS: ReadonlySet<string> = new Set(["select", "insert", "update", "delete", "merge"]);

/**
 * DISTINCT, OFFSET, a lock that skips rows, and a sort before LIMIT compute rows that do not leave. LIMIT alone asks for no
 * more rows than it gives.
 */
function isPlain({ clauses, traits, aggregates }: BoundQuery): boolean {
  const { isDistinct, isGrouped, isAggregated, isWindowed, makesRows } = traits;
  if (isDistinct || isGrouped || isAggregated || isWindowed || makesRows || aggregates.length > 0)
    return false;
  const { offset, locking, limit, sort } = clauses;
  return offset === undefined && locking === undefined && (limit === undefined || sort === undefined);
}
