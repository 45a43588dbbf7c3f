import { placeholders, splice } from "./expressions.ts";
import type { Condition } from "./policy.ts";

/**
 * The condition's SQL with the session's user in place of each `:user`: one expression, to be put in
 * parentheses by the caller. The name becomes a string literal and can be nothing else, whatever is in it.
 */
export function bindUser(condition: Condition, user: string): string {
  const literal = userLiteral(user);
  return splice(
    condition.sql,
    placeholders(condition.sql).map(({ start, end }) => ({ start, end, text: literal })),
  );
}

/**
 * In parentheses, so that no neighbour can become part of the literal: two literals on two lines would be
 * joined, and a word right before a quote (`E`, `date`) would change its meaning.
 *
 * A backslash means itself only while `standard_conforming_strings` is on. The proxy pins that, and this does
 * not rely on it: with a backslash the literal is an escape string, which reads the same either way (Postgres
 * docs, "String Constants With C-Style Escapes").
 */
function userLiteral(user: string): string {
  if (user.includes("\0")) throw new Error("a user name cannot hold a zero byte");
  const quoted = user.replaceAll("'", "''");
  return user.includes("\\") ? `(E'${quoted.replaceAll("\\", "\\\\")}')` : `('${quoted}')`;
}
