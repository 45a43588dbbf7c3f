import { bindStatement } from "../../../proxy/sql/bind/bind.ts";
import type { BoundRelation, BoundStatement } from "../../../proxy/sql/bind/bound.ts";
import { parseText } from "../../../proxy/sql/parse.ts";
import type { Given } from "../../../proxy/sql/rules/given.ts";
import { sightsOf } from "../../../proxy/sql/sight.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import type { Judged } from "../judged.ts";

/** What a rule is given: one bound statement, and how a user's role sees its relations. */
export interface RuleInput extends Given {
  readonly statement: BoundStatement;
}

export function ruleInput(judged: Judged, user: SupportUser, sql: string): RuleInput {
  const { catalog, searchPath, ...scope } = judged.scope(user);
  const sights = sightsOf({ ...scope, catalog, searchPath });
  const parsed = parseText(sql);
  const [statement] = parsed.ok ? parsed.statements : [];
  if (statement === undefined) throw new Error(`not a statement: ${sql}`);
  const environment = { catalog, searchPath, absent: sights.absent.bind(sights) };
  const result = bindStatement(statement.node, environment);
  if (!result.ok) throw new Error(`${result.message}: ${sql}`);
  return { statement: result.statement, sights, catalog, castFunctions: 0 };
}

/** The reference of that name, in whichever query. */
export function referenceNamed({ queries }: BoundStatement, alias: string): BoundRelation {
  const found = queries.flatMap(({ relations }) => relations).find((relation) => relation.alias === alias);
  if (found === undefined) throw new Error(`no reference ${alias}`);
  return found;
}
