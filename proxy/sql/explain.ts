import type { ExecuteStmt, ExplainStmt } from "libpg-query";
import type { Role } from "../policy/policy.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import type { RawStatement } from "./parse.ts";
import { closingParenthesis, statementStart, word } from "./places.ts";
import { optionNames, optionText } from "./utility.ts";
import type { Effect } from "./verdict.ts";

/** What the role may learn of people is limited, and figures are a part of it. */
function isHeld({ limits, budget, aggregatesOnly }: Role): boolean {
  const { rows, bytes } = limits;
  return rows !== undefined || bytes !== undefined || budget.length > 0 || aggregatesOnly !== undefined;
}

function isGuarded(role: Role, { sight }: RelationUse): boolean {
  return sight?.guarded === true || (sight?.people !== undefined && isHeld(role));
}

/** Whether the plan of a statement that is to be run would show more than `explainOptions` lets through. */
export function hidesPlan({ uses, scope }: Analysis): boolean {
  return uses.some((use) => isGuarded(scope.role, use));
}

/** EXPLAIN EXECUTE, whose statement has been judged: ANALYZE would run it past what is charged for. */
export function explainExecute(analysis: Analysis, { options }: ExplainStmt, { name }: ExecuteStmt): Effect {
  if (optionNames(options).includes("analyze"))
    analysis.deny(
      `role "${analysis.scope.role.name}" may not use EXPLAIN ANALYZE with EXECUTE`,
      "sees",
      "Leave ANALYZE out, or explain the statement itself.",
    );
  return { kind: "explainExecute", name: name ?? "" };
}

const FORMATS: ReadonlySet<string> = new Set(["text", "json", "xml", "yaml"]);

const HARMLESS = new Set(["costs", "format"]);

/**
 * A plan over a guarded relation, or one of people: its estimates come from statistics of the real values, ANALYZE's counts from
 * the rows themselves, and its text shows row filters. So it runs nothing, shows no costs, and is refused where the text
 * itself is not for the role. What is explained has plain masks in place of conditions and keys (`ColumnSight.planSql`).
 */
export function explainOptions(analysis: Analysis, { options }: ExplainStmt, raw: RawStatement): void {
  const { role } = analysis.scope;
  const { name } = role;
  const guarded = analysis.uses.filter((use) => isGuarded(role, use));
  const relation = guarded[0];
  if (relation === undefined) return;
  const secret = guarded.find(({ sight }) => sight?.secretText);
  if (secret !== undefined)
    analysis.deny(
      `role "${name}" may not see plans over ${secret.key}`,
      "only",
      'The plan would show the policy\'s row filter. The DBA sees the statement with "sluice policy explain".',
    );
  const noisy =
    role.aggregatesOnly && role.aggregatesOnly.noise > 0 && guarded.find(({ sight }) => sight?.people);
  if (noisy)
    analysis.deny(
      `role "${name}" may not see plans over ${noisy.key}`,
      "aggregates_only",
      "The plan would show the keys of the noise.",
    );
  const asked = optionNames(options);
  // Of a relation that is shown as it is, the columns' names tell nothing either.
  const isOpen = guarded.every(({ sight }) => sight?.guarded !== true);
  const other = asked.find((option) => !HARMLESS.has(option) && !(isOpen && option === "verbose"));
  if (other !== undefined)
    analysis.deny(
      `role "${name}" may not use EXPLAIN's ${other.toUpperCase()} on ${relation.key}`,
      "sees",
      "Use EXPLAIN without options: its figures would tell about real values.",
    );
  const { source } = analysis;
  let index = statementStart(source, raw) + 1;
  const start = source.token(index)?.start;
  // Without parentheses each option is one word: EXPLAIN ANALYZE VERBOSE.
  if (options !== undefined)
    index = word(source, index) === "(" ? closingParenthesis(source, index) + 1 : index + options.length;
  const end = source.token(index)?.start;
  if (start === undefined || end === undefined) throw new Error("EXPLAIN of nothing");
  const format = optionText(options, "format")?.toLowerCase();
  const kept = [
    ...(asked.includes("verbose") ? [", VERBOSE"] : []),
    ...(format !== undefined && FORMATS.has(format) ? [`, FORMAT ${format}`] : []),
  ];
  const change = { kind: "explain options", statement: analysis.index } as const;
  analysis.edit(start, end, `(COSTS OFF${kept.join("")}) `, change);
}
