import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import { type Place, type Policy, type Role, relationSetHas, type WrittenRole } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { Lineage } from "../sql/lineage.ts";
import { isUnrestricted } from "../sql/scope.ts";
import { isSystemSchema } from "../sql/system-relations.ts";

/** One way in which a policy can say something that has no effect, or can count nobody. */
export type Check = (checked: Checked) => readonly PolicyProblem[];

/** A table or view that a role may read, as far as it is known. */
export interface Reach {
  /** `schema.table` */
  readonly key: string;
  /** Classes of its columns. */
  readonly classes: ReadonlySet<string>;
  /** Whether a row of it counts somebody. */
  readonly counts: boolean;
  /** Name spaces of those whom a row counts; none without a database. */
  readonly people: ReadonlySet<string>;
  /** Undefined without a database. */
  readonly relation?: Relation;
}

/** A policy, and the database where it is in force if that could be asked. */
export class Checked {
  readonly policy: Policy;
  readonly catalog: Catalog | undefined;
  readonly lineage: Lineage | undefined;
  readonly #reaches = new Map<Role, readonly Reach[]>();

  constructor(policy: Policy, catalog?: Catalog) {
    this.policy = policy;
    this.catalog = catalog;
    this.lineage = catalog && new Lineage(policy, catalog);
  }

  /** Roles that somebody may have: those that others only extend are judged by these. */
  get roles(): readonly Role[] {
    const { roles, unknownUsers } = this.policy;
    const extended = new Set([...this.policy.written.roles.values()].flatMap(({ parent }) => parent ?? []));
    return [...roles.values()].filter(
      (role) => role.users.length > 0 || role === unknownUsers || !extended.has(role.name),
    );
  }

  /**
   * What a role may read. Without a database these are the tables under `tables:` alone, so only what is found in
   * them is known, and not what is missing: views have classes and people of what they are made from.
   */
  reach(role: Role): readonly Reach[] {
    const known = this.#reaches.get(role);
    if (known !== undefined) return known;
    const made = this.catalog === undefined ? this.#byEntries(role) : this.#byCatalog(role, this.catalog);
    this.#reaches.set(role, made);
    return made;
  }

  #byEntries({ reads }: Role): readonly Reach[] {
    return [...this.policy.tables.values()]
      .filter(({ name }) => {
        const dot = name.indexOf(".");
        return relationSetHas(reads, name.slice(0, dot), name.slice(dot + 1));
      })
      .map(({ name, columns, subject }) => ({
        key: name,
        classes: new Set(columns.values()),
        counts: subject !== undefined,
        people: new Set(),
      }));
  }

  #byCatalog({ reads }: Role, { relations }: Catalog): readonly Reach[] {
    const { lineage } = this;
    if (lineage === undefined) return [];
    return [...relations.values()].flatMap((relation) => {
      if (isSystemSchema(relation.schema) || relation.kind === "sequence") return [];
      if (!lineage.ancestors(relation).some(({ schema, name }) => relationSetHas(reads, schema, name)))
        return [];
      const labels = lineage.labels(relation);
      const classes = [...labels.columns.values()].flatMap((label) =>
        label.kind === "class" ? [label.name] : [...label.classes],
      );
      const key = relationKey(relation.schema, relation.name);
      const people = new Set([...labels.people.values()].map(({ namespace }) => namespace));
      return [{ key, classes: new Set(classes), counts: people.size > 0, people, relation }];
    });
  }

  /** What the files say of a role. */
  written(role: Role): WrittenRole | undefined {
    return this.policy.written.roles.get(role.name);
  }

  /**
   * Roles for which a key that this role writes holds: itself, and those that extend it without saying it again.
   * A role that others only extend may say something that has an effect in them alone.
   */
  heirs(role: Role, key: string): readonly Role[] {
    const { roles, written } = this.policy;
    const children = [...roles.values()].filter((child) => {
      const { parent, keys } = written.roles.get(child.name) ?? {};
      return parent === role.name && keys?.has(key) === false;
    });
    return [role, ...children.flatMap((child) => this.heirs(child, key))];
  }
}

/** A role in which somebody's reading is counted: by a budget of people, of whatever scope. */
export function hasPeopleBudget(role: Role): boolean {
  return role.budget.some(({ what }) => what === "people");
}

/** Statements of such a role pass unread: no person is counted, no decoy and no rule of behaviour seen. */
export function isUncounted(role: Role): boolean {
  return isUnrestricted(role) && role.watch !== true;
}

export function warning(place: Place, message: string, hint: string): PolicyProblem {
  return { severity: "warning", place, message, hint };
}

/** Names in a sentence, not too many of them. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, MOST_NAMES).join(", ");
  return names.length > MOST_NAMES ? `${shown} and ${names.length - MOST_NAMES} more` : shown;
}

const MOST_NAMES = 5;

/** `role "agent"`, `roles "agent" and "lead"`. */
export function rolesText(roles: readonly Role[]): string {
  const names = roles.map(({ name }) => `"${name}"`);
  return `${names.length === 1 ? "role" : "roles"} ${listed(names)}`;
}
