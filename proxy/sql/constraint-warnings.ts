import { type Catalog, type Constraint, type Relation, relationKey } from "../catalog/catalog.ts";
import { type Policy, type Role, relationSetHas } from "../policy/policy.ts";
import { type PolicyProblem, sortProblems } from "../policy/problems.ts";
import { type ColumnLabel, Lineage } from "./lineage.ts";

/**
 * Warns about constraints that link a column that a role sees to one that it does not see. Sluice refuses statements of
 * the role that could test such a constraint, or counts them as lookups.
 */
export function checkConstraints(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  const lineage = new Lineage(policy, catalog);
  const problems = [...catalog.relations.values()].flatMap((relation): readonly PolicyProblem[] => {
    if (relation.constraints.length === 0) return [];
    const { columns } = lineage.labels(relation);
    // A partition or a child may have no entry of its own.
    const entry = lineage.ancestors(relation).flatMap((member) => policy.tables.get(keyOf(member)) ?? [])[0];
    if (entry === undefined) return [];
    return relation.constraints.flatMap((constraint): readonly PolicyProblem[] => {
      const role = [...policy.roles.values()].find(
        (each) =>
          lineage.ancestors(relation).some(({ schema, name }) => relationSetHas(each.writes, schema, name)) &&
          ties(each, constraint, columns),
      );
      if (role === undefined) return [];
      const hidden = constraint.columns.filter((name) => isHidden(role, columns.get(name)));
      const seen = constraint.columns.filter((name) => !hidden.includes(name));
      const isEquality = hidden.every((name) => constraint.compared.includes(name));
      return [
        {
          severity: "warning",
          place: entry.place,
          message: `${constraint.kind} "${constraint.name}" of ${keyOf(relation)} ties ${seen.join(", ")} to ${hidden.join(", ")}, which role "${role.name}" sees masked`,
          hint: `An error would show ${hidden.join(", ")}: a role that sees it masked may not change ${seen.join(", ")}${isEquality ? ', unless "finds:" has its class: it then counts as a lookup' : ""}.`,
        },
      ];
    });
  });
  return sortProblems(problems);
}

function keyOf({ schema, name }: Relation): string {
  return relationKey(schema, name);
}

/** The constraint has both columns that the role sees and columns that it does not see. */
function ties(role: Role, constraint: Constraint, labels: ReadonlyMap<string, ColumnLabel>): boolean {
  const hidden = constraint.columns.filter((column) => isHidden(role, labels.get(column)));
  return hidden.length > 0 && hidden.length < constraint.columns.length;
}

function isHidden({ sees }: Role, label: ColumnLabel | undefined): boolean {
  if (label === undefined || sees === "all") return false;
  const classes = label.kind === "class" ? [label.name] : [...label.classes];
  return classes.some((name) => sees.get(name) !== "always");
}
