import { BEHAVIOUR_RULES, type BehaviourRule, type Place, type Role } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { type Check, type Checked, isUncounted, type Reach, rolesText, warning } from "./checked.ts";

/*
 * Keys that should detect a thief and cannot: rules of behaviour, purposes and decoys for roles whose statements pass
 * unread, or that lack what the rule needs.
 */

const TO_COUNT =
  "Give it a budget, or rows: or bytes:, so that its statements are read; or take the key out.";

/** `behaviour:` and `purpose:` of a role that sees, reads and writes everything without a limit. */
export const watchOfUncounted: Check = (checked) =>
  checked.roles.filter(isUncounted).flatMap((role) =>
    (["behaviour", "purpose"] as const).flatMap((key) => {
      const isSaid = key === "purpose" ? role.purpose.size > 0 : isWatched(role);
      if (!isSaid) return [];
      const what = `role "${role.name}" sees, reads and writes everything without a limit, so no one is counted: its "${key}" has no effect`;
      return [warning(placeOf(checked, role, key), what, TO_COUNT)];
    }),
  );

function isWatched({ behaviour }: Role): boolean {
  return behaviour !== undefined && [...behaviour.values()].some((action) => action !== "off");
}

/** Position of the key in the role that writes it: this role or one that it extends. */
function placeOf({ policy }: Checked, role: Role, key: string): Place {
  const seen = new Set<string>();
  for (let name: string | undefined = role.name; name !== undefined && !seen.has(name); ) {
    seen.add(name);
    const written = policy.written.roles.get(name);
    const place = written?.keys.get(key);
    if (place !== undefined) return place;
    name = written?.parent;
  }
  return role.place;
}

/** Rules of behaviour that lack what they need. */
export const idleRules: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) =>
    [...(checked.written(role)?.keys ?? [])].flatMap(([key, place]) => {
      const rule = BEHAVIOUR_RULES.find((name) => key === `behaviour.${name}`);
      const action = rule === undefined ? undefined : role.behaviour?.get(rule);
      if (rule === undefined || action === undefined || action === "off") return [];
      const heirs = checked.heirs(role, key).filter((heir) => !isUncounted(heir));
      const lacks = heirs.map((heir) => lackOf(rule, heir));
      const [first] = lacks;
      if (first !== undefined && !lacks.includes(undefined)) return [idleRule(place, role, rule, first)];
      if (action !== "tighten" || heirs.some(({ budget }) => budget.length > 0) || heirs.length === 0)
        return [];
      const what = `role "${role.name}" has no budget that "${rule}: tighten" could halve`;
      return [warning(place, what, "Give it a budget, or write alert or suspend.")];
    }),
  );

interface Lack {
  readonly what: string;
  readonly hint: string;
}

function idleRule(place: Place, { name }: Role, rule: BehaviourRule, { what, hint }: Lack): PolicyProblem {
  return warning(place, `the rule "${rule}" of role "${name}" has no effect: ${what}`, hint);
}

function lackOf(rule: BehaviourRule, role: Role): Lack | undefined {
  const { rows, bytes } = role.limits;
  switch (rule) {
    case "purpose":
      return role.purpose.size > 0
        ? undefined
        : {
            what: "the role has no purpose",
            hint: 'Write under "purpose:" what connects a person to its work.',
          };
    case "dump":
      return role.budget.length > 0 ||
        rows !== undefined ||
        bytes !== undefined ||
        role.requireFilter.size > 0
        ? undefined
        : {
            what: "nothing limits its statements",
            hint: "Give the role rows:, bytes:, a budget or require_filter:.",
          };
    default:
      return undefined;
  }
}

/** A purpose that no rule uses: without a budget, a rule is off unless the policy turns it on. */
export const idlePurposes: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) => {
    const place = checked.written(role)?.keys.get("purpose");
    if (place === undefined) return [];
    const heirs = checked.heirs(role, "purpose").filter((heir) => !isUncounted(heir));
    const isSeen = heirs.some(({ behaviour, budget }) => {
      const action = behaviour?.get("purpose") ?? (budget.length > 0 ? "alert" : "off");
      return action !== "off";
    });
    if (heirs.length === 0 || isSeen) return [];
    const hint = "Write behaviour: { purpose: alert }, tighten or suspend.";
    return [warning(place, `role "${role.name}" has a purpose, and its rule "purpose" is off`, hint)];
  });

/** A purpose for a table that has no people of its own; with a database, more precise checks replace this one. */
export const purposesOfNobody: Check = ({ policy, catalog }) =>
  catalog !== undefined
    ? []
    : [...policy.roles.values()].flatMap((role) =>
        [...role.purpose].flatMap(([table, { place }]) => {
          const entry = policy.tables.get(table);
          if (entry?.subject !== undefined && entry.path === undefined) return [];
          const hint = `Name the table of the people, whose subject is its key, as in ${table}: { subject: id } under "tables:".`;
          return [warning(place, `"purpose" names ${table}, which has no people of its own`, hint)];
        }),
      );

/** Decoys whose readers would not be detected. */
export const idleCanaries: Check = (checked) => {
  const { policy, lineage, catalog } = checked;
  return [...policy.written.canaries].flatMap(([table, place]) => {
    const relation = catalog?.relations.get(table);
    const own = `${table}.${policy.tables.get(table)?.subject}`;
    const space = (relation && lineage?.labels(relation).subject?.namespace) ?? own;
    if (space !== own) {
      const hint = `Name them under ${space.slice(0, space.lastIndexOf("."))}.`;
      return [warning(place, `decoys of ${table} are never seen: its people are counted as ${space}`, hint)];
    }
    // Without a database it is unknown whether a ticket belongs to a customer: any role that counts people may see a
    // decoy.
    const meets = ({ key, counts, people }: Reach) =>
      catalog === undefined ? counts : key === table || people.has(space);
    const readers = checked.roles.filter((role) => checked.reach(role).some(meets));
    if (readers.some((role) => !isUncounted(role)) || (catalog === undefined && readers.length === 0))
      return [];
    const who =
      readers.length === 0
        ? "no role reads them"
        : `only ${rolesText(readers)} read${readers.length === 1 ? "s" : ""} them, in which no one is counted`;
    const hint = "Take them out, or let a role with a budget or a limit read the table.";
    return [warning(place, `decoys of ${table} are never seen: ${who}`, hint)];
  });
};

/** An action for reading a decoy, without decoys. */
export const idleOnCanary: Check = ({ policy }) =>
  policy.written.onCanary === undefined || policy.canaries !== undefined
    ? []
    : [
        warning(
          policy.written.onCanary,
          '"on_canary" has no effect: there are no decoys',
          'Name some under "canaries:", or take it out.',
        ),
      ];
