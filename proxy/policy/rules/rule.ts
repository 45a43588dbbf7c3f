import type { z } from "zod";
import type { Catalog } from "../../catalog/catalog.ts";
import type { Places } from "../places.ts";
import type { ColumnClass, Condition, Place, Policy, Role } from "../policy.ts";
import type { PolicyProblem, Problems } from "../problems.ts";

/*
 * A rule of a role: all that the proxy knows about one property of a role, except its effect on a statement, which is
 * in sql/rules/. `all.ts` lists the rules. The following are derived from that list: what a policy file may say, what
 * roles inherit, which sessions are guarded, which verdicts are shared, metric labels, docs/policy.md and the console.
 */

/** One key of a role in a policy file. */
export interface RuleKey<Schema extends z.ZodType = z.ZodType> {
  readonly schema: Schema;
  /** What it means, and what applies if it is absent: the hover text in editors, and its line in docs/policy.md. */
  readonly about: string;
  readonly example: z.infer<Schema>;
  /** Why this key refused a statement or cut it short: a value of the metric label `reason`. */
  readonly reason?: string;
}

export type RuleKeys = Readonly<Record<string, RuleKey>>;

/** What a file may write under these keys. */
export type Entry<Keys extends RuleKeys> = {
  readonly [Key in keyof Keys]?: z.infer<Keys[Key]["schema"]> | undefined;
};

/** One role as written in a file. */
export interface Source<Said = unknown> {
  readonly name: string;
  readonly entry: Said;
  readonly document: Places;
  readonly place: Place;
}

/** What the compiler of a role may use. */
export interface Context {
  readonly documents: readonly Places[];
  readonly classes: ReadonlyMap<string, ColumnClass>;
  readonly problems: Problems;
}

/** A policy, the database to check it against, and where to report differences. */
export interface Database {
  readonly policy: Policy;
  readonly catalog: Catalog;
  readonly report: Report;
}

export type Report = (
  severity: PolicyProblem["severity"],
  place: Place,
  message: string,
  hint: string,
  /** The table that does not exist or lacks the column, and other tables that may also declare that this is allowed. */
  missing?: readonly string[],
) => void;

/** A key that has no effect, given the other keys of the role. */
export interface IdleKey {
  readonly key: string;
  isIdle(role: Role): boolean;
  readonly why: string;
  readonly hint: string;
}

/** A line of text with SQL in it. */
export type FactLine = readonly (string | { readonly sql: string })[];

/** The properties of a role that rules provide. */
export type RuleProperty = Exclude<keyof Role, "name" | "place" | "standsIn">;

export interface RoleRule<Property extends RuleProperty = RuleProperty, Keys extends RuleKeys = RuleKeys> {
  readonly property: Property;
  readonly keys: Keys;
  /** The role's value, from its file entry and from the value of the role that it extends. */
  compile(source: Source<Entry<Keys>>, base: Role[Property] | undefined, context: Context): Role[Property];
  /** The keys that require the role's statements to be analysed. A rule without this function guards nothing. */
  guardedBy?(value: Role[Property]): readonly (keyof Keys & string)[];
  /** For a rule that guards: the value that restricts nothing. */
  readonly unrestricted?: Role[Property];
  /** SQL of the policy that is spliced into statements. If it names the user, verdicts are not shared between users. */
  conditions?(value: Role[Property]): readonly Condition[];
  /**
   * `only`: the keys have no meaning without `watch`; `people`: nor with `acts_as` in its place. `also`: they may guard, and a
   * watched role may have them.
   */
  readonly watched?: "only" | "people" | "also";
  /** Checks the finished role for consistency; not called if a problem hides which tables the role reaches. */
  check?(source: Source<Entry<Keys>>, role: Role, problems: Problems): void;
  againstCatalog?(role: Role, database: Database): void;
  readonly idle?: readonly IdleKey[];
  /** What the console shows of it; no lines if there is nothing to show. */
  readonly fact?: { readonly label: string; lines(value: Role[Property]): readonly FactLine[] };
}

/** Gives a rule its exact types. */
export function roleRule<Property extends RuleProperty, const Keys extends RuleKeys>(
  property: Property,
  rule: Omit<RoleRule<Property, Keys>, "property">,
): RoleRule<Property, Keys> {
  return { property, ...rule };
}

/** Position of a role's key, or of the role if the key is absent. */
export function placeOfKey({ name, document, place }: Source, key: string): Place {
  const path = ["roles", name, key];
  return document.has(path) ? document.placeOfKey(path) : place;
}
