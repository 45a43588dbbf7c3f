import { type Range, rangesOverlap } from "./networks.ts";
import { type Place, type Role, relationSetHas } from "./policy.ts";
import { type Problems, suggest } from "./problems.ts";
import type { Context, Made, Source } from "./role-sources.ts";

/** A filter on a table that the role has no access to is most likely a misspelt name, and would protect nothing. */
export function checkReach({ name, entry, document }: Source, role: Role, { problems }: Context): void {
  const check = (table: string, place: Place, key: string) => {
    const dot = table.indexOf(".");
    const [schema, relation] = [table.slice(0, dot), table.slice(dot + 1)];
    if (relationSetHas(role.reads, schema, relation) || relationSetHas(role.writes, schema, relation)) return;
    const known = role.reads === "all" ? [] : role.reads.tables;
    const hint = suggest(table, known, `Add it under "reads:", or take it out of "${key}:".`);
    problems.error(place, `role "${name}" may neither read nor write ${table}`, hint);
  };
  for (const table of Object.keys(entry.only ?? {}))
    check(table, document.placeOfKey(["roles", name, "only", table]), "only");
  (entry.require_filter ?? []).forEach((table, i) => {
    check(table, document.placeOf(["roles", name, "require_filter", i]), "require_filter");
  });
}

/** An exact user has one role at each address. */
export function checkUsers(
  made: readonly Made[],
  sources: ReadonlyMap<string, Source>,
  problems: Problems,
): void {
  const seen = new Map<string, Made[]>();
  for (const current of made) {
    const { role, ranges } = current;
    role.users.forEach((user, i) => {
      const place = sources.get(role.name)?.document.placeOf(["roles", role.name, "users", i]) ?? role.place;
      const others = seen.get(user.text) ?? [];
      const rival = others.find((other) => other.role === role || (user.exact && meet(ranges, other.ranges)));
      if (rival?.role === role) problems.error(place, `user "${user.text}" is named twice`, "Name it once.");
      else if (rival !== undefined) {
        problems.error(
          place,
          `user "${user.text}" is in the roles "${rival.role.name}" and "${role.name}"`,
          'Name it in one of them, or give both roles "from:" networks that do not overlap.',
        );
      }
      seen.set(user.text, [...others, current]);
    });
  }
}

/** No networks at all means from anywhere. */
function meet(a: readonly Range[], b: readonly Range[]): boolean {
  return a.length === 0 || b.length === 0 || a.some((left) => b.some((right) => rangesOverlap(left, right)));
}
