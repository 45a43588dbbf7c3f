import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import {
  classesIn,
  type Place,
  type Policy,
  type Role,
  relationSetHas,
  type WrittenRole,
} from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { Lineage } from "../sql/lineage.ts";
import { isUnrestricted } from "../sql/scope.ts";
import { isSystemSchema } from "../sql/system-relations.ts";

/** Finds one kind of key without effect, or of reading that counts no one. */
export type Check = (checked: Checked) => readonly PolicyProblem[];

/** A table or view that a role may read, as far as is known. */
export interface Reach {
  /** `schema.table` */
  readonly key: string;
  /** Classes of its columns. */
  readonly classes: ReadonlySet<string>;
  /** Whether its rows count people. */
  readonly counts: boolean;
  /** Name spaces of the people that a row counts; empty without a database. */
  readonly people: ReadonlySet<string>;
  /** Undefined without a database. */
  readonly relation?: Relation;
}

/** A policy, and the database that it applies to, if it was available. */
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

  /** Roles that users may have. Roles that are only extended by others are judged through those. */
  get roles(): readonly Role[] {
    const { roles, unknownUsers } = this.policy;
    const extended = new Set([...this.policy.written.roles.values()].flatMap(({ parent }) => parent ?? []));
    return [...roles.values()].filter(
      (role) => role.users.length > 0 || role === unknownUsers || !extended.has(role.name),
    );
  }

  /**
   * What a role may read. Without a database these are only the tables under `tables:`, so what they contain is known,
   * but not what is missing: views have the classes and people of the tables they are built from.
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
      .map((table) => ({
        key: table.name,
        classes: classesIn(table),
        counts: table.subject !== undefined,
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

  /** The role as written in the files. */
  written(role: Role): WrittenRole | undefined {
    return this.policy.written.roles.get(role.name);
  }

  /**
   * The roles in which a key written by this role applies: the role itself, and roles that extend it without repeating
   * the key. A role that is only extended may have keys that take effect only there.
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

/** Whether the role's reading is counted: by a budget of people of any scope. */
export function hasPeopleBudget(role: Role): boolean {
  return role.budget.some(({ what }) => what === "people");
}

/** Statements of such a role pass unread: no person is counted, and no decoy or unusual pattern is detected. */
export function isUncounted(role: Role): boolean {
  return isUnrestricted(role) && role.watch !== true;
}

export function warning(place: Place, message: string, hint: string): PolicyProblem {
  return { severity: "warning", place, message, hint };
}

/** A limited number of names, for a sentence. */
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
