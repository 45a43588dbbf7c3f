import type { BoundStatement } from "../bind/bound.ts";

/*
 * To estimate how many rows meet a condition, the planner evaluates it on sample values that ANALYZE has stored (mcv_selectivity and
 * histogram_selectivity in utils/adt/selfuncs.c). An error there reveals something about these values: `name LIKE 'Ann%\'` only fails
 * if a name begins with Ann. Bind and DECLARE plan their statement even if no row is ever fetched.
 */

/** Operators that cannot fail there, or that the planner does not evaluate (their oprrest does not run them). */
const SURE: ReadonlySet<string> = new Set("= <> < <= > >= + - * / % ^ || -> ->> #> #>>".split(" "));

/** Functions that are estimated like the operators of the same name (like_regex_support in utils/adt/like_support.c). */
const PATTERN = /(?:like|regexeq|regexne)$/;

/** Whether planning the statement can fail on a stored value. */
export function planningCanFail({ queries }: BoundStatement): boolean {
  return queries.some(
    ({ operators, calls }) =>
      operators.some(({ symbol }) => !SURE.has(symbol)) || calls.some(({ name }) => PATTERN.test(name)),
  );
}
