import { bindStatement } from "../../../proxy/sql/bind/bind-statement.ts";
import type { BoundRelation, BoundStatement } from "../../../proxy/sql/bind/bound.ts";
import { parseText } from "../../../proxy/sql/parse/parse-text.ts";
import type { Given } from "../../../proxy/sql/rules/given.ts";
import { sightsOf } from "../../../proxy/sql/sight.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import type { Judged } from "../judged.ts";

/** The input of a rule: one bound statement, and how a user's role sees its relations. */
export interface RuleInput extends Given {
  readonly statement: BoundStatement;
}

export function ruleInput(judged: Judged, user: SupportUser, sql: string): RuleInput {
  const scope = judged.scope(user);
  const { catalog, searchPath } = scope;
  const sights = sightsOf(scope);
  const parsed = parseText(sql);
  const [statement] = parsed.ok ? parsed.statements : [];
  if (statement === undefined) throw new Error(`not a statement: ${sql}`);
  const environment = { catalog, searchPath, absent: sights.absent.bind(sights) };
  const result = bindStatement(statement.node, environment);
  if (!result.ok) throw new Error(`${result.message}: ${sql}`);
  return { ...scope, statement: result.statement, sights, castFunctions: 0 };
}

/** The reference of that name, in any query. */
export function referenceNamed({ queries }: BoundStatement, alias: string): BoundRelation {
  const found = queries.flatMap(({ relations }) => relations).find((relation) => relation.alias === alias);
  if (found === undefined) throw new Error(`no reference ${alias}`);
  return found;
}
