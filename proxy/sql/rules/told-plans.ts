import type { ExplainStmt } from "libpg-query";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { choiceDependsOn } from "../bind/dependencies.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isOn } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import type { Given } from "./given.ts";
import { hasProtected, sightOf } from "./people.ts";

/**
 * Whether a watched role's EXPLAIN tells of protected values: how many rows there were is an answer to a condition on them, and
 * estimates come from the values that ANALYZE has sampled. What is behind a name is not looked up here.
 */
export function tellsPlan({ node }: RawStatement, statement: BoundStatement, given: Given): boolean {
  const [type, body] = nodeOf(node);
  if (type !== "ExplainStmt") return false;
  const { options = [], query } = body as ExplainStmt;
  if (!isOn(options, "analyze", false) && !isOn(options, "costs", true)) return false;
  if (query !== undefined && nodeOf(query)[0] === "ExecuteStmt") return true;
  return statement.queries.some((each) => isChosen(statement, given, each));
}

function isChosen(statement: BoundStatement, { sights }: Given, query: BoundQuery): boolean {
  const { columns, relations } = choiceDependsOn(statement, query);
  return (
    hasProtected(sights, columns) ||
    [...relations].some((reference) => sightOf(sights, reference)?.isChosen === true)
  );
}
