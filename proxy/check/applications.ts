import { accountBudget } from "../policy/acting.ts";
import type { Place } from "../policy/policy.ts";
import { type Check, isUncounted, warning } from "./checked.ts";

/** An application names the people behind it, but reading without a name has no limit. */
export const unboundedUnnamed: Check = (checked) =>
  checked.roles.flatMap((role) => {
    const { policy } = checked;
    const { peopleBehind, unnamed } = role;
    if (peopleBehind === undefined || unnamed === "refuse") return [];
    const own = unnamed === undefined ? [] : accountBudget(policy, role);
    if (own.some(({ what }) => what === "people")) return [];
    const place = checked.written(role)?.keys.get("people_behind") ?? role.place;
    return [
      warning(
        place,
        `role "${role.name}" names the people behind it, but nothing limits reads without a named person`,
        "Say unnamed: { budget: { 1h: 50 } }, or unnamed: refuse. Give batch jobs a user and a role of their own.",
      ),
    ];
  });

/** Beside acts_as a role's own keys hold only where nobody is named, and not where something else holds there. */
export const idleBesideActsAs: Check = (checked) =>
  checked.roles.flatMap((role) => {
    const { actsAs, unnamed } = role;
    if (actsAs === undefined || unnamed === undefined) return [];
    const keys = checked.written(role)?.keys ?? new Map<string, Place>();
    const holds = (key: string) =>
      typeof unnamed === "object" && "budget" in unnamed ? !BUDGETS.has(key) : OF_APPLICATIONS.has(key);
    return [...keys].flatMap(([key, place]) =>
      key.includes(".") || holds(key)
        ? []
        : [
            warning(
              place,
              `"${key}" of role "${role.name}" has no effect: "acts_as" decides for named people, and "unnamed" for reads without a name`,
              "Take it out.",
            ),
          ],
    );
  });

const BUDGETS: ReadonlySet<string> = new Set(["budget", "role_budget", "address_budget"]);
const OF_APPLICATIONS: ReadonlySet<string> = new Set([
  ...["extends", "users", "from", "people_behind", "signed_by", "acts_as", "unnamed"],
]);

/** Statements that a fence cannot hold by their shape. */
export const unheldShapes: Check = ({ policy }) =>
  [...policy.fences].flatMap(([account, { unheld, place }]) =>
    unheld.map((shape) =>
      warning(
        place,
        `the fence of "${account}" cannot hold a statement by its shape: what it runs is in a literal, or left out`,
        `Take it out; it stays outside: ${shape.slice(0, 60)}`,
      ),
    ),
  );

/** A fence that holds nobody, or refuses nothing although it says so. */
export const idleFences: Check = ({ policy }) =>
  [...policy.fences].flatMap(([account, { outside, place }]) => {
    const roles = [...policy.roles.values()].filter(({ users }) =>
      users.some(({ text }) => text === account),
    );
    const own = roles.length > 0 ? roles : policy.unknownUsers === undefined ? [] : [policy.unknownUsers];
    if (own.length === 0)
      return [
        warning(
          place,
          `no role names "${account}", the account of this fence`,
          "Name it under users: of a role.",
        ),
      ];
    if (outside === "mask" && own.some(({ actsAs }) => actsAs === undefined))
      return [
        warning(
          place,
          `the fence of "${account}" masks nothing: its role has no "acts_as"`,
          "Say acts_as in the role, or refuse in the fence.",
        ),
      ];
    if (outside !== "refuse" || !own.some(isUncounted)) return [];
    return [
      warning(
        place,
        `the fence of "${account}" refuses nothing: statements of its role are not looked at before they run`,
        "Say watch: true in the role, or acts_as.",
      ),
    ];
  });
