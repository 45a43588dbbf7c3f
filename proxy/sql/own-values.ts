import type { CopyStmt, InsertStmt, SelectStmt } from "libpg-query";
import { type Body, nodeOf } from "./parse/grammar.ts";
import { someObject } from "./parse/tree.ts";

/**
 * Whether all that a statement handles are values that the client has sent: INSERT … VALUES without a query in it, COPY …
 * FROM STDIN. An error of such a statement quotes nothing that was stored.
 */
export function hasOwnValues(type: string, body: Body): boolean {
  if (type === "CopyStmt") {
    const { is_from, filename, is_program } = body as CopyStmt;
    return is_from === true && filename === undefined && is_program !== true;
  }
  if (type !== "InsertStmt") return false;
  const { withClause, onConflictClause, selectStmt } = body as InsertStmt;
  if (withClause !== undefined || onConflictClause?.action === "ONCONFLICT_UPDATE") return false;
  if (selectStmt === undefined) return true;
  const [, select] = nodeOf(selectStmt);
  const { valuesLists, withClause: inner } = select as SelectStmt;
  return (
    valuesLists !== undefined && inner === undefined && !someObject(select, (field) => field === "SubLink")
  );
}
