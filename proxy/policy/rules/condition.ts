import type { Condition, Place } from "../policy.ts";
import { parseCondition } from "../policy-sql.ts";
import type { Context } from "./rule.ts";

/** A condition as written in a file. Returns undefined and reports a problem if it is invalid. */
export function conditionAt(sql: string, place: Place, { problems }: Context): Condition | undefined {
  const parsed = parseCondition(sql);
  if (parsed.ok) return { sql: parsed.sql, place };
  problems.error(place, `condition: ${parsed.problem}`, parsed.hint);
  return undefined;
}
