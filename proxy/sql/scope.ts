import type { Catalog } from "../catalog/catalog.ts";
import type { Policy, Role } from "../policy/policy.ts";
import { isGuarded } from "../policy/rules/all.ts";

/** Everything that a verdict depends on besides the statement's bytes. Interned: equal scopes are the same object. */
export interface Scope {
  readonly policy: Policy;
  readonly role: Role;
  /**
   * The session's user as the policy knows them: `:user` in conditions. Undefined if the role has no such condition:
   * its users then share their verdicts.
   */
  readonly user: string | undefined;
  readonly catalog: Catalog;
  /** Effective schemas in order, without the implicit pg_catalog and temporary schema. */
  readonly searchPath: readonly string[];
  /** Columns that the database user may not read, as `schema.table.column`. */
  readonly unreadable: ReadonlySet<string>;
  /** Key of `token` masks; undefined if the policy has none. */
  readonly maskKey: Buffer | undefined;
}

/** Sees, reads and writes everything, without limit, filter or budget: statements pass unchanged. */
export function isUnrestricted(role: Role): boolean {
  // Called for each statement; a role never changes.
  let known = unrestricted.get(role);
  if (known === undefined) {
    known = !isGuarded(role);
    unrestricted.set(role, known);
  }
  return known;
}

const unrestricted = new WeakMap<Role, boolean>();
