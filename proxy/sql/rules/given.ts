import type { Scope } from "../scope.ts";
import type { Sights } from "../sight.ts";

/** What rules know besides the bound statement: the role, its policy, the catalog, and how the role sees relations. */
export interface Given extends Scope {
  readonly sights: Sights;
  /** User-defined functions that casts may run anywhere in the statement: each may read other people's rows. */
  readonly castFunctions: number;
}
