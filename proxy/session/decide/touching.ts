import type { Role } from "../../policy/policy.ts";
import type { Statement } from "../../sql/verdict.ts";
import { countingRole } from "../../sql/watched-text.ts";

const roles = new WeakMap<Role, Role>();

/** A role by which a text of an application is taken apart alike for all of its people. */
export function anybody(account: Role): Role {
  let role = roles.get(account);
  if (role === undefined) {
    role = { ...countingRole(account), purpose: new Map() };
    roles.set(account, role);
  }
  return role;
}

/** Whether a statement reads or writes a table, or may. */
export function touchesData({ metering, reads, writes, effect, unread }: Statement): boolean {
  if (metering !== undefined || reads.length > 0 || writes.length > 0 || unread === true) return true;
  return effect?.kind === "fetch" || effect?.kind === "execute";
}

/** Whether it may leave something behind that a commit makes last. */
export function mayStore({ kind, acts, readsMore, copies, writes, effect, unread }: Statement): boolean {
  if (!KEEPS_NOTHING.has(kind) || writes.length > 0 || effect?.kind === "execute") return true;
  return acts === true || readsMore === true || copies !== undefined || unread === true;
}

const KEEPS_NOTHING: ReadonlySet<Statement["kind"]> = new Set([
  ...(["read", "copyOut", "explain", "cursor", "session", "transaction"] as const),
]);

/** Whether a suspended person may not run it: it reads what is stored, or may store something. */
export function isForbidden(statement: Statement): boolean {
  return touchesData(statement) || mayStore(statement);
}
