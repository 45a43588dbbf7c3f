import { quoteLiteral } from "../pg/quote.ts";
import type { Condition } from "./policy.ts";
import { placeholders, splice } from "./policy-sql.ts";

/**
 * Returns the condition's SQL with the session's user in place of each `:user`: one expression, which the caller puts
 * in parentheses. The user's name becomes a string literal and nothing else, whatever it contains.
 */
export function bindUser(condition: Condition, user: string): string {
  const literal = userLiteral(user);
  return splice(
    condition.sql,
    placeholders(condition.sql).map(({ start, end }) => ({ start, end, text: literal })),
  );
}

/**
 * The literal is in parentheses so that nothing beside it can become part of it: Postgres joins two literals on two
 * lines, and a word right before a quote (`E`, `date`) would change its meaning.
 *
 * A backslash is literal only while `standard_conforming_strings` is on. The proxy pins that setting, but this function
 * does not rely on it: a name with a backslash becomes an escape string, which reads the same either way (Postgres
 * docs, "String Constants With C-Style Escapes").
 */
function userLiteral(user: string): string {
  if (user.includes("\0")) throw new Error("a user name cannot hold a zero byte");
  return `(${quoteLiteral(user)})`;
}
