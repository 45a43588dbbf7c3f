import type { Coverage } from "./coverage.ts";
import { counted, minute, printable } from "./printable.ts";

/** How many users of each kind are named. */
const SHOWN = 5;

/** What an answer does not cover; never empty. */
export function coverageLines(coverage: Coverage): readonly string[] {
  const { unnamed, cut, failed, foreign, unreadable, lost, dropped, damaged, first, last } = coverage;
  const span =
    first === undefined || last === undefined
      ? "the log has no statement of this time"
      : `whatever was read before ${minute(first)} or after ${minute(last)}, and whatever did not go through Sluice`;
  return [
    span,
    ...users(
      unnamed,
      "answers that name no person (roles that see all, summaries)",
      ({ statements, rows }) => `${counted(statements, "statement")}, ${counted(rows, "row")}`,
    ),
    ...users(cut, "people beyond those that events name", ({ people }) =>
      people === 1 ? "1 person" : `${people} people`,
    ),
    ...users(failed, "statements that failed on data, whose errors may have shown a row", ({ statements }) =>
      counted(statements, "statement"),
    ),
    ...(foreign.segments > 0
      ? [
          `${foreign.segments} of ${foreign.of} segments, written with another key (${foreign.keys.join(", ")})`,
        ]
      : []),
    ...(unreadable.length > 0
      ? [`segments that cannot be read: ${unreadable.slice(0, SHOWN).join(", ")}`]
      : []),
    ...(lost > 0 ? [`${counted(lost, "event")} that never got to disk`] : []),
    ...(dropped > 0 ? ["segments that retention has dropped"] : []),
    ...(damaged > 0 ? ["places where the log is damaged: sluice audit verify names them"] : []),
  ];
}

function users<T extends { readonly user: string }>(
  found: readonly T[],
  what: string,
  amount: (one: T) => string,
): readonly string[] {
  if (found.length === 0) return [];
  const named = found.slice(0, SHOWN).map((one) => `${printable(one.user)} (${amount(one)})`);
  const more = found.length > SHOWN ? ` and ${found.length - SHOWN} more users` : "";
  return [`${what}: ${named.join("; ")}${more}`];
}
