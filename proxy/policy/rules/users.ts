import { z } from "zod";
import { parseNetwork, rangesOverlap } from "../networks.ts";
import type { Role } from "../policy.ts";
import type { Problems } from "../problems.ts";
import { name } from "../schema.ts";
import { roleRule, type Source } from "./rule.ts";

export const users = roleRule("users", {
  keys: {
    users: {
      schema: z.array(name, { error: "A list of user names, as in [anna, ben]." }),
      about:
        "Database users who have this role. * and ? are wildcards; an exact name goes before a wildcard.",
      example: ["anna", "ben", "temp_*"],
    },
  },
  compile: ({ entry }) => (entry.users ?? []).map((text) => ({ text, exact: !/[*?]/.test(text) })),
  fact: { label: "Users", lines: (patterns) => patterns.map(({ text }) => [text]) },
});

/** Checks that an exact user name has only one role at each address. */
export function checkUsers(
  roles: readonly Role[],
  sources: ReadonlyMap<string, Source>,
  problems: Problems,
): void {
  const seen = new Map<string, Role[]>();
  for (const role of roles) {
    role.users.forEach((user, i) => {
      const place = sources.get(role.name)?.document.placeOf(["roles", role.name, "users", i]) ?? role.place;
      const others = seen.get(user.text) ?? [];
      const rival = others.find((other) => other === role || (user.exact && meet(role, other)));
      if (rival === role) problems.error(place, `user "${user.text}" is named twice`, "Name it once.");
      else if (rival !== undefined) {
        problems.error(
          place,
          `user "${user.text}" is in the roles "${rival.name}" and "${role.name}"`,
          'Name it in one of them, or give both roles "from:" networks that do not overlap.',
        );
      }
      seen.set(user.text, [...others, role]);
    });
  }
}

/** Whether two roles have networks with an address in common. A role without networks allows any address. */
function meet(a: Role, b: Role): boolean {
  if (a.from.length === 0 || b.from.length === 0) return true;
  return rangesOf(a).some((left) => rangesOf(b).some((right) => rangesOverlap(left, right)));
}

function rangesOf({ from }: Role) {
  return from.flatMap(({ text }) => {
    const parsed = parseNetwork(text);
    return parsed.ok ? [parsed.range] : [];
  });
}
