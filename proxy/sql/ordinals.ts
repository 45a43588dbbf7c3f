import type { A_Const, DeclareCursorStmt, Node, RangeVar, ResTarget, SelectStmt, SortBy } from "libpg-query";
import { nodeOf } from "./parse/grammar.ts";
import type { RawStatement } from "./parse/parse-text.ts";
import { forEachObject } from "./parse/tree.ts";
import type { Scope } from "./scope.ts";
import { relationNamed } from "./survey.ts";

/**
 * Whether a number in ORDER BY, GROUP BY or DISTINCT ON may refer to a column that the client did not request: with
 * columns appended, it would refer to the first of them, where the server would otherwise report that there is no such
 * column.
 */
export function namesBeyond({ node }: RawStatement, scope: Scope): boolean {
  const select = selectOf(node);
  if (select === undefined) return false;
  const { sortClause = [], groupClause = [], distinctClause = [] } = select;
  const named = [...sortClause.map(sortedBy), ...groupClause, ...distinctClause].map(numberOf);
  const highest = Math.max(0, ...named);
  return highest > 0 && highest > leastColumns(select, scope);
}

function selectOf(node: Node): SelectStmt | undefined {
  const [type, body] = nodeOf(node);
  if (type === "SelectStmt") return body as SelectStmt;
  const { query } = (type === "DeclareCursorStmt" ? body : {}) as DeclareCursorStmt;
  return query && selectOf(query);
}

function sortedBy(node: Node): Node {
  const [type, body] = nodeOf(node);
  return type === "SortBy" ? ((body as SortBy).node ?? node) : node;
}

/** 0 if the node is not a number; DISTINCT without ON contains an empty object. */
function numberOf(node: Node): number {
  const [type, body] = Object.keys(node).length === 0 ? [] : nodeOf(node);
  return type === "A_Const" ? ((body as A_Const).ival?.ival ?? 0) : 0;
}

/** The minimum number of columns of the result. */
function leastColumns({ targetList = [], fromClause = [] }: SelectStmt, scope: Scope): number {
  const stars = targetList.filter(isStar).length;
  return targetList.length - stars + stars * fewestColumns(fromClause, scope);
}

function isStar(node: Node): boolean {
  const { val } = nodeOf(node)[1] as ResTarget;
  const [type, body] = val === undefined ? [] : nodeOf(val);
  return type === "ColumnRef" && JSON.stringify(body).includes('"A_Star"');
}

/** For the relations in FROM; if FROM contains anything else, none is certain. */
function fewestColumns(fromClause: readonly Node[], scope: Scope): number {
  let fewest = Number.POSITIVE_INFINITY;
  const look = (field: string, object: object): void => {
    if (field === "RangeSubselect" || field === "RangeFunction" || field === "RangeTableFunc") fewest = 0;
    else if (field === "RangeVar") {
      const { schemaname, relname = "" } = object as RangeVar;
      const relation = relationNamed({ ...(schemaname !== undefined && { schemaname }), relname }, scope);
      fewest = Math.min(fewest, relation?.columns.length ?? 0);
    } else forEachObject(object, look);
  };
  forEachObject(fromClause, look);
  return Number.isFinite(fewest) ? fewest : 0;
}
