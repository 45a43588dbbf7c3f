import { type Refusal, refuseSession } from "../wire/refusal.ts";
import { matches } from "./patterns.ts";
import type { Policy, Role } from "./policy.ts";

/**
 * The role of a user at an address: exact names come before wildcards, then the order of the files decides. A user whom
 * a role names, but not at this address, is refused and not treated as unknown.
 */
export function roleFor(policy: Policy, user: string, address: string): Role | Refusal {
  const named: Role[] = [];
  for (const wanted of [true, false]) {
    for (const role of policy.roles.values()) {
      if (!role.users.some(({ text, exact }) => exact === wanted && matches(text, user))) continue;
      if (role.from.length === 0 || role.from.some((network) => network.contains(address))) return role;
      named.push(role);
    }
  }
  const [nearest] = named;
  if (nearest !== undefined) {
    const networks = nearest.from.map(({ text }) => text).join(", ");
    return refuseSession("28000", `user "${user}" may not connect from ${address}`, {
      hint: `Role "${nearest.name}" is for ${networks} (${nearest.place.file}:${nearest.place.line}).`,
      rule: `roles.${nearest.name}.from`,
    });
  }
  if (policy.unknownUsers !== undefined) return unknownAt(policy.unknownUsers, user, address);
  return refuseSession("28000", `no role for user "${user}"`, {
    hint: 'Name the user under "users:" of a role, or set "unknown_users:" to one, in the policy.',
    rule: "unknown_users",
  });
}

/** Whether `roleFor` returned a refusal. */
export function isRefusal(result: Role | Refusal): result is Refusal {
  return "sqlstate" in result;
}

function unknownAt(role: Role, user: string, address: string): Role | Refusal {
  if (role.from.length === 0 || role.from.some((network) => network.contains(address))) return role;
  return refuseSession("28000", `user "${user}" may not connect from ${address}`, {
    hint: `Unknown users have the role "${role.name}" (${role.place.file}:${role.place.line}).`,
    rule: `roles.${role.name}.from`,
  });
}
