import type { DefElem, ExplainStmt } from "libpg-query";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { choiceDependsOn } from "../bind/dependencies.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isOff } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse.ts";
import type { Given } from "./given.ts";
import { isProtected, sightOf } from "./people.ts";

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
    [...columns].some((column) => column.relation.source.kind === "table" && isProtected(sights, column)) ||
    [...relations].some((reference) => sightOf(sights, reference)?.isChosen === true)
  );
}

/** The last of several wins (ParseExplainOptionList of commands/explain_state.c). */
export function isOn(options: NonNullable<ExplainStmt["options"]>, name: string, usual: boolean): boolean {
  const option = options
    .map((each) => nodeOf(each)[1] as DefElem)
    .findLast(({ defname }) => defname === name);
  return option === undefined ? usual : !isOff(option);
}
