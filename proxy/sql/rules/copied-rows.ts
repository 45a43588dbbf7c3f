import type { Role } from "../../policy/policy.ts";

/**
 * `truncate`: the number of rows that COPY should return: the allowed ones plus one, which shows that there were more.
 */
export function rowsCopied({ limits: { rows, onExcess } }: Role): number | undefined {
  return onExcess === "truncate" && rows !== undefined ? rows + 1 : undefined;
}
