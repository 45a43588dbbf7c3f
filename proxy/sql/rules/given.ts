import type { Catalog } from "../../catalog/catalog.ts";
import type { Sights } from "../sight.ts";

/** What rules know beside the bound statement. */
export interface Given {
  readonly sights: Sights;
  readonly catalog: Catalog;
  /** Functions of users that casts may run in the statement, wherever that is: each may read other people's rows. */
  readonly castFunctions: number;
}
