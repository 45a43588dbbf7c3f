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
