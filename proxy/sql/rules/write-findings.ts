import type { Relation } from "../../catalog/catalog.ts";
import type { Role } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { ColumnSight, RelationSight } from "../sight.ts";

/** A written relation, and how the role sees it. */
export interface Target {
  readonly relation: Relation;
  /** `schema.name` */
  readonly key: string;
  readonly sight: RelationSight | undefined;
}

/** `undefined` means all columns. */
export type Columns = readonly string[] | undefined;

/**
 * The findings of the rules about writes: why a write is refused, or a masked column whose values it looks up, because
 * an error would reveal that they exist. The first refusal counts, and nothing after it.
 */
export type WriteFinding =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "lookup"; readonly sight: ColumnSight };

export function refusedBy(refusal: Refusal | undefined): readonly WriteFinding[] {
  return refusal === undefined ? [] : [{ kind: "refused", refusal }];
}

/** The number of rows that a write has, or of values that it tests; undefined: unknown before it runs. */
export type RowCount = number | undefined;

/** Each row is a separate lookup, whether it is stored, refused or skipped by ON CONFLICT. */
export function uncountedLookups({ budget, name }: Role): Refusal | undefined {
  const window = budget.find(({ what }) => what === "lookups");
  if (window === undefined) return undefined;
  return refuse(
    "42501",
    `role "${name}" has a budget of lookups, and how many this statement makes is not known before it runs`,
    {
      rule: window.rule,
      hint: "Write the rows out: INSERT … VALUES, or UPDATE … SET to a constant or a parameter.",
    },
  );
}
