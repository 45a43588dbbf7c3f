import type { LiveCatalog } from "../../catalog/live.ts";
import type { Scope } from "../../sql/scope.ts";
import { effectiveSchemas } from "./search-path.ts";

export interface ScopeRequest extends Pick<Scope, "policy" | "role" | "maskKey"> {
  readonly user: string;
  /** The database user of their sessions. */
  readonly databaseUser: string;
}

/** The scope of a new session's first statement, for those who ask what would become of one. */
export async function firstScope(live: LiveCatalog, asked: ScopeRequest): Promise<Scope> {
  const { policy, role, user, databaseUser, maskKey } = asked;
  const path = (await live.searchPathOf(databaseUser)) ?? '"$user", public';
  return {
    policy,
    role,
    user,
    catalog: live.current,
    searchPath: effectiveSchemas(path, databaseUser, live.current),
    unreadable: await live.unreadableBy(databaseUser),
    maskKey,
  };
}
