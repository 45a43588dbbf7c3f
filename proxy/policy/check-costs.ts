import type { ColumnClass, Policy, Role } from "./policy.ts";
import type { PolicyProblem } from "./problems.ts";

/**
 * Finds roles that may see, or look up by, a class that costs more than a whole budget of theirs: no such row could
 * ever be released.
 */
export function checkCosts({ classes, roles }: Policy): readonly PolicyProblem[] {
  return [...roles.values()].flatMap((role) =>
    [...classes.values()].filter((each) => isOpen(each, role)).flatMap((each) => tooDear(each, role)),
  );
}

function isOpen({ name }: ColumnClass, { sees, finds }: Role): boolean {
  return sees === "all" || sees.has(name) || finds === "all" || finds.has(name);
}

/** Uses the smallest of several budgets. A budget of 0 is meant to let the role read no one, so it is not reported. */
function tooDear({ name, cost }: ColumnClass, role: Role): readonly PolicyProblem[] {
  const small = role.budget
    .filter(({ what, limit }) => what === "people" && limit > 0 && limit < cost)
    .toSorted((a, b) => a.limit - b.limit)[0];
  if (small === undefined) return [];
  return [
    {
      severity: "warning",
      place: role.place,
      message: `role "${role.name}" can never read a "${name}": each person counts for ${cost}, and ${small.rule} is ${small.limit}`,
      hint: `Lower "cost:" of the class, or raise the budget.`,
    },
  ];
}
