import type { ExplainStmt } from "libpg-query";
import type { Role } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { optionNames } from "../parse/options.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Use } from "./relations.ts";

/*
 * A plan over a guarded relation, or one of people, reveals real values: its estimates come from statistics of them,
 * ANALYZE's counts from the rows themselves, and its text shows row filters. So EXPLAIN runs nothing, shows no costs,
 * and is refused if the role may not see the text itself. The explained statement has plain masks in place of
 * conditions and keys (`ColumnSight.planSql`).
 */

/** Relations whose plans would reveal what the role may not know. */
export function telltalePlans(role: Role, uses: readonly Use[]): readonly Use[] {
  return uses.filter(({ sight }) => sight?.guarded === true || (sight?.people !== undefined && isHeld(role)));
}

/** The role's knowledge about people is limited, and figures are part of it. */
function isHeld({ limits, budget, aggregatesOnly }: Role): boolean {
  const { rows, bytes } = limits;
  return rows !== undefined || bytes !== undefined || budget.length > 0 || aggregatesOnly !== undefined;
}

const HARMLESS = new Set(["costs", "format"]);

/** `telltale`: see `telltalePlans`. */
export function forbiddenPlan(
  { role }: Pick<Given, "role">,
  { options }: ExplainStmt,
  telltale: readonly Use[],
): Refusal | undefined {
  const { name, aggregatesOnly } = role;
  const [relation] = telltale;
  if (relation === undefined) return undefined;
  const secret = telltale.find(({ sight }) => sight?.secretText);
  if (secret !== undefined)
    return denied(
      role,
      `role "${name}" may not see plans over ${secret.key}`,
      "only",
      'The plan would show the policy\'s row filter. The DBA sees the statement with "sluice policy explain".',
    );
  const hasNoise = aggregatesOnly !== undefined && aggregatesOnly.noise > 0;
  const noisy = hasNoise ? telltale.find(({ sight }) => sight?.people) : undefined;
  if (noisy !== undefined)
    return denied(
      role,
      `role "${name}" may not see plans over ${noisy.key}`,
      "aggregates_only",
      "The plan would show the keys of the noise.",
    );
  // For a relation that is shown unchanged, the column names reveal nothing either.
  const isOpen = telltale.every(({ sight }) => sight?.guarded !== true);
  const other = optionNames(options).find(
    (option) => !HARMLESS.has(option) && !(isOpen && option === "verbose"),
  );
  if (other === undefined) return undefined;
  return denied(
    role,
    `role "${name}" may not use EXPLAIN's ${other.toUpperCase()} on ${relation.key}`,
    "sees",
    "Use EXPLAIN without options: its figures would reveal real values.",
  );
}

/** EXPLAIN EXECUTE of a statement that has been judged: ANALYZE would run it without charging for it. */
export function explainedExecute(
  { role }: Pick<Given, "role">,
  { options }: ExplainStmt,
): Refusal | undefined {
  if (!optionNames(options).includes("analyze")) return undefined;
  return denied(
    role,
    `role "${role.name}" may not use EXPLAIN ANALYZE with EXECUTE`,
    "sees",
    "Leave ANALYZE out, or explain the statement itself.",
  );
}
