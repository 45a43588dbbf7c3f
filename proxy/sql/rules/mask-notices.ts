import { notice, type Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { comparedMasks } from "./compared-masks.ts";
import { classOf, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { MAXIMUM_VALUES } from "./lookup-forms.ts";
import type { Lookup } from "./lookups.ts";

/** The notice that a statement compares with masks instead of real values. */
export function maskNotices(
  statement: BoundStatement,
  { role, sights }: Pick<Given, "role" | "sights">,
  lookups: readonly Lookup[],
): readonly Refusal[] {
  return comparedMasks(statement, sights, lookups).map(({ column, sight }) => {
    const [name, rule] = [sight.column.name, `roles.${role.name}.finds`];
    const seen = sight.kind === "masked" ? "masked" : "masked but for some rows";
    const message = `${column} is compared as role "${role.name}" sees it: ${seen}`;
    if (sight.findable)
      return notice(message, {
        hint:
          `The value itself is found by ${name} = …, by IN or = ANY with up to ${MAXIMUM_VALUES} values, by lower(${name}) = lower(…), and by LIKE and ILIKE ` +
          "without % and _: in WHERE, or ON of an inner join, of the query that reads the table, joined by AND, or by OR with conditions on columns of the same table.",
        rule,
      });
    return notice(message, {
      hint: `Add ${classOf(sight)} under "finds:" of ${placeOfRole(role)}, if it may be looked up by its exact value.`,
      rule,
    });
  });
}
