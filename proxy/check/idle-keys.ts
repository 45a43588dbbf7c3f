import { rolesActedAs } from "../policy/acting.ts";
import type { BudgetWindow, Place, Role } from "../policy/policy.ts";
import { classesIn, relationSetHas } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { ROLE_RULES } from "../policy/rules/all.ts";
import { type Check, type Checked, warning } from "./checked.ts";

/* Keys of a role that have no effect, given its other keys. */

/** Keys that have no effect in the role that writes them, nor in the roles that inherit them. */
export const idleKeys: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) =>
    ROLE_RULES.flatMap(({ idle = [] }) => idle).flatMap((rule) => {
      const place = checked.written(role)?.keys.get(rule.key);
      if (place === undefined || !checked.heirs(role, rule.key).every((heir) => rule.isIdle(heir))) return [];
      return [noEffect(place, role, rule.key, rule.why, rule.hint)];
    }),
  );

function noEffect(place: Place, { name }: Role, key: string, why: string, hint: string): PolicyProblem {
  return warning(place, `"${key}" of role "${name}" has no effect: ${why}`, hint);
}

/** Classes under `finds:` that the role sees anyway. */
export const seenFinds: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) => {
    const { finds } = role;
    if (finds === "all") return [];
    return [...finds].flatMap((className) => {
      const place = checked.written(role)?.keys.get(`finds.${className}`);
      const isSeen = ({ sees }: Role) => sees !== "all" && sees.get(className) === "always";
      if (place === undefined || !checked.heirs(role, "finds").every(isSeen)) return [];
      const why = "what the role sees can be searched anyhow";
      return [noEffect(place, role, `finds: ${className}`, why, `Take it out of "finds:".`)];
    });
  });

/** Classes that a role names and no table it reads has. */
export const unreadClasses: Check = (checked) => {
  if (checked.catalog === undefined) return [];
  return [...checked.policy.roles.values()].flatMap((role) => {
    const { sees, finds } = role;
    const named = [
      ...(sees === "all" ? [] : [...sees.keys()].map((name) => ["sees", name] as const)),
      ...(finds === "all" ? [] : [...finds].map((name) => ["finds", name] as const)),
    ];
    return named.flatMap(([key, className]) => {
      const keys = checked.written(role)?.keys;
      const place = keys?.get(`${key}.${className}`) ?? keys?.get(key);
      const reads = (heir: Role) => checked.reach(heir).some(({ classes }) => classes.has(className));
      const reaches = (heir: Role) => checked.reach(heir).length > 0;
      const heirs = checked.heirs(role, key);
      if (place === undefined || heirs.some(reads) || !heirs.some(reaches)) return [];
      const why = "nothing that the role reads has a column of this class";
      return [
        noEffect(place, role, `${key}: ${className}`, why, "Take it out, or give a column that class."),
      ];
    });
  });
};

/** Conditions required for tables that the role may not read, and writes to such tables. */
export const unreadTables: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) => {
    const mayRead = (heir: Role, table: string) => {
      const dot = table.indexOf(".");
      return relationSetHas(heir.reads, table.slice(0, dot), table.slice(dot + 1));
    };
    const unread = (key: string, tables: Iterable<string>) =>
      [...tables].filter((table) => checked.heirs(role, key).every((heir) => !mayRead(heir, table)));
    const filtered = unread("require_filter", role.requireFilter).map((table) => {
      const why = "the role may not read the table";
      return [`require_filter.${table}`, `require_filter: ${table}`, why] as const;
    });
    const writes = role.writes === "all" ? [] : role.writes.tables;
    const written = unread("writes", writes).map((table) => {
      const why = "writing needs the right to read, which the role lacks";
      return [`writes.${table}`, `writes: ${table}`, why] as const;
    });
    return [...filtered, ...written].flatMap(([path, key, why]) => {
      const place = checked.written(role)?.keys.get(path);
      if (place === undefined) return [];
      return [noEffect(place, role, key, why, 'Add the table under "reads:", or take it out here.')];
    });
  });

/** `only: { public.tickets: none }` if the parent has no filter on the table. */
export const idleNone: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) => {
    const { parent, keys } = checked.written(role) ?? {};
    return (checked.written(role)?.dropped ?? []).flatMap((table) => {
      const place = keys?.get(`only.${table}`);
      if (place === undefined || checked.policy.roles.get(parent ?? "")?.only.has(table)) return [];
      const why = parent === undefined ? "the role extends no other" : `role "${parent}" has no filter on it`;
      return [noEffect(place, role, `only: ${table}: none`, why, "Take it out.")];
    });
  });

/** A window that is never used up first, because a longer one allows no more. */
export const idleWindows: Check = (checked) =>
  [...checked.policy.roles.values()].flatMap((role) => {
    const own = role.budget.filter(({ rule }) => rule.startsWith(`roles.${role.name}.`));
    return own.flatMap((window) => {
      const longer = own.find((other) => isTighter(other, window));
      const key = BUDGET_KEYS[window.scope ?? "user"];
      const place = checked.written(role)?.keys.get(`${key}.${window.name}`);
      if (longer === undefined || place === undefined) return [];
      const why = `${longer.limit} ${longer.what} in ${longer.name} are used up first`;
      const hint = "Make the longer window larger, or take the shorter one out.";
      return [noEffect(place, role, `${key}.${window.name}`, why, hint)];
    });
  });

const BUDGET_KEYS = { user: "budget", role: "role_budget", address: "address_budget" } as const;

function isTighter(other: BudgetWindow, { seconds, what, limit, scope }: BudgetWindow): boolean {
  return (
    other.seconds > seconds &&
    other.what === what &&
    other.scope === scope &&
    other.limit <= limit &&
    limit > 0
  );
}

/** Classes that no column has. */
export const unusedClasses: Check = ({ policy }: Checked) => {
  const used = new Set([...policy.tables.values()].flatMap((table) => [...classesIn(table)]));
  return [...policy.classes.values()]
    .filter(({ name }) => !used.has(name))
    .map(({ name, place }) =>
      warning(
        place,
        `no column has the class "${name}"`,
        'Give it to columns under "tables:", or take it out.',
      ),
    );
};

/** Masks that show the value. */
export const openMasks: Check = ({ policy }: Checked) =>
  [...policy.classes.values()].flatMap(({ name, mask, place }) => {
    if (
      mask.kind !== "sql" ||
      !/^[\s(]*value[\s)]*(::\s*(pg_catalog\.)?(text|varchar)[\s)]*)?$/i.test(mask.expression)
    )
      return [];
    const what = `the mask of class "${name}" is the value itself, so it hides nothing`;
    return [warning(place, what, "Give it a mask for those who may not see it, or let roles see the class.")];
  });

/**
 * Entries under `tables:` that say nothing. For a view such an entry has a meaning: the view may be read although it
 * shows filtered rows.
 */
export const emptyTables: Check = ({ policy, catalog }) =>
  catalog === undefined
    ? []
    : [...policy.tables.values()].flatMap(({ name, columns, documents, subject, place }) => {
        const relation = catalog.relations.get(name);
        if (columns.size + documents.size > 0 || subject !== undefined || relation === undefined) return [];
        if (relation.lineage !== undefined || policy.unclassified !== "show") return [];
        const hint = "Name the person of a row (subject:) and the classes of its columns (columns:).";
        return [warning(place, `the entry of ${name} is empty, so nothing of it is protected`, hint)];
      });

/** Roles without users, and users whom an earlier wildcard matches. */
export const rolesOfNobody: Check = (checked) => {
  const { policy } = checked;
  const problems: PolicyProblem[] = [];
  let all: Role | undefined;
  const standsIn = new Set([...policy.roles.values()].flatMap(rolesActedAs));
  for (const role of policy.roles.values()) {
    const written = checked.written(role);
    const isExtended = [...policy.written.roles.values()].some(({ parent }) => parent === role.name);
    // An empty list is explicit: the users come later.
    if (
      role.users.length === 0 &&
      !written?.keys.has("users") &&
      !isExtended &&
      !standsIn.has(role.name) &&
      role !== policy.unknownUsers
    ) {
      const what = `no user has the role "${role.name}"`;
      problems.push(warning(role.place, what, "Name its users, or write users: [] if they are named later."));
    }
    if (role.users.length === 0 && written?.keys.has("from") && role !== policy.unknownUsers && !isExtended)
      problems.push(
        noEffect(written.keys.get("from") ?? role.place, role, "from", "it has no users", "Name its users."),
      );
    if (all !== undefined) {
      for (const { text, exact } of role.users) {
        const place = written?.keys.get(`users.${text}`);
        const why = `role "${all.name}" matches all users, and comes before it`;
        if (!exact && place !== undefined)
          problems.push(noEffect(place, role, `users: ${text}`, why, `Put the role before "${all.name}".`));
      }
    }
    if (role.from.length === 0 && role.users.some(({ text }) => /^\*+$/.test(text))) all ??= role;
  }
  const place = policy.written.unknownUsers;
  if (all !== undefined && place !== undefined) {
    const what = `"unknown_users" has no effect: role "${all.name}" has all users`;
    problems.push(warning(place, what, "Take one of the two out."));
  }
  return problems;
};
