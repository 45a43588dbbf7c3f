import { type BudgetWindow, type Place, type Policy, type Role, windowsOf } from "./policy.ts";
import { type Problems, suggest } from "./problems.ts";

/*
 * An application's role with `acts_as`: its sessions are guarded, and each statement is judged by the role of the person
 * who is named, or by what holds where nobody is.
 */

/** Who is named, as far as the choice of a role depends on them. `values`: of the claim that gives roles, signed. */
export interface Named {
  readonly values: readonly string[];
}

/**
 * The role by which the statements of an account are judged. Undefined: whoever is named has none of the roles, and
 * counts as not named.
 */
export function actingRole(policy: Policy, account: Role, named: Named): Role | undefined {
  const { actsAs } = account;
  if (actsAs === undefined) return undefined;
  const name = actsAs.kind === "role" ? actsAs.role : firstOf(actsAs.roles, named.values);
  const role = name === undefined ? undefined : policy.roles.get(name);
  return role && standIn(account, role);
}

/** The role by which the account's statements are judged where nobody is named. */
export function unnamedRole(policy: Policy, account: Role): Role {
  const { unnamed } = account;
  if (typeof unnamed !== "object") return standIn(account, account);
  if ("budget" in unnamed) return standIn(account, account, unnamed.budget);
  const role = policy.roles.get(unnamed.role);
  // The policy was checked: there is one.
  return role === undefined ? standIn(account, account) : standIn(account, role);
}

/** Whose statements are judged, by which role. */
export interface Standing {
  /** Undefined: nobody is named, or whoever is has none of the account's roles. */
  readonly person: (Named & { readonly name: string }) | undefined;
  readonly role: Role;
}

/** By which role a person's statements are judged. Whoever has none of an application's roles counts as not named. */
export function standing(policy: Policy, account: Role, person: Standing["person"]): Standing {
  if (account.actsAs === undefined) return { person, role: account };
  const role = person && actingRole(policy, account, person);
  return role ? { person, role } : { person: undefined, role: unnamedRole(policy, account) };
}

/** What counts an account's own user: where it is an application's, what holds where nobody is named. */
export function accountBudget({ roles }: Pick<Policy, "roles">, account: Role): readonly BudgetWindow[] {
  const { unnamed } = account;
  if (typeof unnamed !== "object") return windowsOf(account);
  return "budget" in unnamed ? unnamed.budget : windowsOf(roles.get(unnamed.role) ?? account);
}

function firstOf(roles: ReadonlyMap<string, string>, values: readonly string[]): string | undefined {
  for (const [value, role] of roles) if (values.includes(value)) return role;
  return undefined;
}

const hidden = new WeakMap<Role, Role>();

/** The same role for a statement that its account has never run: every class is masked, and nobody is looked up by one. */
export function withoutSight(role: Role): Role {
  let known = hidden.get(role);
  if (known === undefined) {
    known = { ...role, sees: new Map(), finds: new Set() };
    hidden.set(role, known);
  }
  return known;
}

const made = new WeakMap<Role, Map<Role, Role>>();

/** The role as the account's sessions have it: guarded in any case, with the account's sources of names. */
function standIn(account: Role, role: Role, budget = role.budget): Role {
  const known = made.get(account) ?? new Map<Role, Role>();
  made.set(account, known);
  let found = known.get(role);
  if (found === undefined) {
    const { peopleBehind, signedBy } = account;
    const names = { ...(peopleBehind && { peopleBehind }), ...(signedBy && { signedBy }) };
    found = { ...role, budget, ...names, standsIn: true };
    known.set(role, found);
  }
  return found;
}

/** What roles say of other roles that judge in their place. */
export function checkActing(
  roles: ReadonlyMap<string, Role>,
  defined: Iterable<string>,
  problems: Problems,
): void {
  const names = new Set(defined);
  for (const role of roles.values()) {
    const { actsAs, unnamed } = role;
    if (actsAs === undefined) {
      if (typeof unnamed === "object" && "role" in unnamed)
        problems.error(
          unnamed.place,
          `role "${role.name}" names a role for those who are not named, and has no "acts_as"`,
          "A watched role refuses and masks nothing: use a budget, refuse, or acts_as.",
        );
      continue;
    }
    checkTargets(role, targetsOf(role), { roles, names, problems });
    if (actsAs.kind === "claim" && role.signedBy === undefined)
      problems.error(
        actsAs.place,
        `role "${role.name}" gives roles by a claim that no one signs`,
        "A client that can send SQL could take any role: use signed_by, or acts_as with one role for all people.",
      );
  }
}

/** By their names: whose rules hold for people behind this role, or where nobody is named. */
export function rolesActedAs(role: Role): readonly string[] {
  return targetsOf(role).map(({ name }) => name);
}

interface Target {
  readonly name: string;
  readonly place: Place;
}

function targetsOf({ actsAs, unnamed }: Role): readonly Target[] {
  if (actsAs === undefined) return [];
  const { place } = actsAs;
  const acting = actsAs.kind === "role" ? [actsAs.role] : actsAs.roles.values();
  const others =
    typeof unnamed === "object" && "role" in unnamed ? [{ name: unnamed.role, place: unnamed.place }] : [];
  return [...[...acting].map((name) => ({ name, place })), ...others];
}

interface RoleNames {
  readonly roles: ReadonlyMap<string, Role>;
  /** Also those that could not be made. */
  readonly names: ReadonlySet<string>;
  readonly problems: Problems;
}

function checkTargets(role: Role, targets: readonly Target[], { roles, names, problems }: RoleNames): void {
  for (const { name, place } of targets) {
    const target = roles.get(name);
    if (target === undefined) {
      if (names.has(name)) continue;
      problems.error(
        place,
        `role "${role.name}" acts as "${name}", and there is no such role`,
        suggest(name, roles.keys(), 'Define it under "roles:".'),
      );
    } else if (target.actsAs !== undefined || target.watch === true)
      problems.error(
        place,
        `role "${role.name}" acts as "${name}", which is an application's role itself`,
        "Name the role of a person, without watch and acts_as.",
      );
  }
}
