import type { PolicyDocument } from "./document.ts";
import type { RoleEntry } from "./format.ts";
import type { Range } from "./networks.ts";
import type { ColumnClass, Place, Role } from "./policy.ts";
import type { Problems } from "./problems.ts";

/** One role as written. */
export interface Source {
  readonly name: string;
  readonly entry: RoleEntry;
  readonly document: PolicyDocument;
  readonly place: Place;
}

/** Beside a role: what only the checks between roles need. */
export interface Made {
  readonly role: Role;
  readonly ranges: readonly Range[];
  /** What the role reaches is not known, for a problem stands in the way. */
  readonly uncertain: boolean;
}

export interface Context {
  readonly documents: readonly PolicyDocument[];
  readonly classes: ReadonlyMap<string, ColumnClass>;
  readonly problems: Problems;
}
