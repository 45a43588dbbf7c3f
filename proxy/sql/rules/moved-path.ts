import type { FuncCall } from "libpg-query";
import type { Catalog } from "../../catalog/catalog.ts";
import { statementsWith } from "../../pg/statements.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { functionsNamed } from "../functions.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import { forEachObject } from "../parse/tree.ts";
import type { Statement } from "../verdict.ts";

/**
 * Names are resolved once for the whole text. So if the text changes search_path, no later statement may look a name up
 * by it. The texts that drivers send to reset a session (RESET ALL and more) do not.
 */
export function movedPath(
  statements: readonly Statement[],
  raw: readonly RawStatement[],
  catalog: Catalog,
): Refusal | undefined {
  const moves = statements.findIndex(
    ({ effect }) =>
      effect?.kind === "set" && (effect.parameter === "search_path" || effect.parameter === "all"),
  );
  if (moves < 0 || raw.slice(moves + 1).every(({ node }) => needsNoPath(node, catalog))) return undefined;
  return refuse("42501", "search_path may only be changed by the last statement of a message", {
    hint: "Send the statements one by one.",
  });
}

const WITHOUT_PATH = statementsWith("ignoresPath");

function needsNoPath(node: object, catalog: Catalog): boolean {
  const [type] = nodeOf(node);
  return WITHOUT_PATH.has(type) || (type === "SelectStmt" && callsBuiltinsAlone(node, catalog));
}

/** A query that consists only of constants and calls, each with a name that only Postgres's own functions have. */
function callsBuiltinsAlone(node: object, catalog: Catalog): boolean {
  let isSo = true;
  const look = (field: string, object: object): void => {
    if (NAMING.has(field)) isSo = false;
    if (field === "FuncCall") {
      const known = functionsNamed(catalog, object as FuncCall);
      isSo &&= known.length > 0 && known.every(({ schema }) => schema === "pg_catalog");
    }
    if (field !== "A_Const" && isSo) forEachObject(object, look);
  };
  forEachObject(node, look);
  return isSo;
}

/** Nodes and fields that name relations, types, operators and columns. */
const NAMING: ReadonlySet<string> = new Set([
  "RangeVar",
  "TypeName",
  "typeName",
  "A_Expr",
  "ColumnRef",
  "SubLink",
  "CollateClause",
]);
