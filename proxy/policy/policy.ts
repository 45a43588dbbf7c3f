/** Where a policy line stands, for messages: `policies/support.yaml:12:5`. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One database's policy, merged of all files that speak of it: immutable, checked, defaults filled in. */
export interface Policy {
  /** Hash of all files' content (hex, 12 digits): part of every verdict's key, shown in events and metrics. */
  readonly version: string;
  readonly mode: "enforce" | "observe";
  readonly unclassified: "show" | "mask" | "deny";
  /** Undefined: users without a role are refused. */
  readonly unknownUsers?: Role;
  readonly classes: ReadonlyMap<string, ColumnClass>;
  /** By `schema.table`. */
  readonly tables: ReadonlyMap<string, TablePolicy>;
  /** Decoys that no work leads to. Left out where there are none. */
  readonly canaries?: Canaries;
  /** In the order of the files. */
  readonly roles: ReadonlyMap<string, Role>;
  /** Where its keys stand in the files. */
  readonly written: Written;
}

/**
 * What the files say, before defaults and parents are filled in: a warning that a key has no effect belongs where
 * the key is written, and to the role that writes it.
 */
export interface Written {
  readonly roles: ReadonlyMap<string, WrittenRole>;
  /** By table. */
  readonly canaries: ReadonlyMap<string, Place>;
  readonly onCanary?: Place;
  readonly unknownUsers?: Place;
}

export interface WrittenRole {
  /** The role that it extends. */
  readonly parent?: string;
  /** By key, and of lists and mappings also by entry: `finds`, `finds.email`, `behaviour.dump`. */
  readonly keys: ReadonlyMap<string, Place>;
  /** Tables whose filter of the parent it drops: `only: { …: none }`. */
  readonly dropped: readonly string[];
}

/** People who do not exist: whoever reads one looks where he has no business. */
export interface Canaries {
  /** By `canaryKey`: the group that the decoy was made for, "" for none. */
  readonly groups: ReadonlyMap<string, string>;
  readonly marked: readonly MarkedCanaries[];
  readonly action: "alert" | "suspend";
}

/** Decoys that a condition on their table marks; who they are, the database says. */
export interface MarkedCanaries {
  /** `schema.table` */
  readonly table: string;
  readonly subject: string;
  readonly group: string;
  readonly condition: Condition;
}

/** The name space is that of the meter: `public.customers.id`. */
export function canaryKey(namespace: string, identity: string): string {
  return `${namespace}\0${identity}`;
}

export interface ColumnClass {
  readonly name: string;
  readonly mask: Mask;
  /** How many people one counts for whose value is read in the clear, or who is looked up by it. */
  readonly cost: number;
  readonly place: Place;
}

export type Mask =
  | { readonly kind: "null" }
  | { readonly kind: "constant"; readonly value: string }
  | { readonly kind: "initials" }
  | { readonly kind: "email" }
  | { readonly kind: "first"; readonly count: number }
  | { readonly kind: "last"; readonly count: number }
  | { readonly kind: "token"; readonly prefix: string }
  | { readonly kind: "hash" }
  | { readonly kind: "round"; readonly to: number }
  | { readonly kind: "truncate"; readonly to: "year" | "month" }
  | { readonly kind: "sql"; readonly expression: string };

export interface TablePolicy {
  /** `schema.table` */
  readonly name: string;
  /** The column whose distinct values are the people, or the first of a path to them. */
  readonly subject?: string;
  /** The tables between the subject's column and the people. */
  readonly path?: readonly SubjectStep[];
  /** Where `subject` is given. */
  readonly subjectPlace?: Place;
  /** Column name to class name. */
  readonly columns: ReadonlyMap<string, string>;
  /** The table, or a column of it, may be missing in the database: it is made later. */
  readonly allowMissing?: true;
  readonly place: Place;
}

/** `-> public.tickets.customer_id` */
export interface SubjectStep {
  /** `schema.table` */
  readonly table: string;
  readonly column: string;
}

export interface Role {
  readonly name: string;
  readonly place: Place;
  readonly users: readonly UserPattern[];
  /** Empty: from anywhere. */
  readonly from: readonly Network[];
  readonly reads: RelationSet;
  readonly writes: RelationSet;
  readonly sees: Sight;
  /** Classes that may be searched by exact value. */
  readonly finds: "all" | ReadonlySet<string>;
  /** Row filters by `schema.table`. */
  readonly only: ReadonlyMap<string, Condition>;
  /** By the table whose subject names the people: what ties one of them to the reader's work. */
  readonly purpose: ReadonlyMap<string, Condition>;
  /**
   * Columns that the role may write although one of its own conditions depends on them: `schema.table.column`, or
   * `schema.table.*` for all, and where they stand.
   */
  readonly writesOwnConditions: ReadonlyMap<string, Place>;
  readonly requireFilter: ReadonlySet<string>;
  readonly aggregatesOnly?: AggregatesOnly;
  readonly limits: Limits;
  /** Of all scopes (`budget`, `role_budget`, `address_budget`); empty for `none` and when nothing is said. */
  readonly budget: readonly BudgetWindow[];
  /** While the counters are away: the share of each budget that one instance may release. Undefined: nothing. */
  readonly graceShare?: number;
  /** Rules that are not named do their default: see `actionOf`. */
  readonly behaviour?: ReadonlyMap<BehaviourRule, BehaviourAction>;
  /** It sees, reads and writes all, and the people whom it reads are counted all the same. */
  readonly watch?: true;
  /** Of a watched role: a budget that is used up is told of, and stops nothing. */
  readonly onBudget?: "alert";
  /** Of a watched role: what names the person for whom the application reads; the first that says something does. */
  readonly peopleBehind?: readonly PersonSource[];
  /** Where nobody is named: whether anybody is shown, or within which budgets; the role's own if left out. */
  readonly unnamed?: "refuse" | { readonly budget: readonly BudgetWindow[] };
  /** Functions outside pg_catalog that the role may call, as `schema.name`, and whether it may see what they return. */
  readonly calls: ReadonlyMap<string, "hidden" | "shown">;
}

/** What may name the person behind an application's statement. */
export type PersonSource =
  /** `path`: keys of the JSON object that the setting holds. */
  | { readonly kind: "setting"; readonly name: string; readonly path?: readonly string[] }
  | { readonly kind: "comment"; readonly key: string }
  /** Its only group is the name. */
  | { readonly kind: "application_name"; readonly pattern: RegExp }
  /** The role that SET ROLE has set. */
  | { readonly kind: "role" };

/** Summaries of groups of people, and nothing else. */
export interface AggregatesOnly {
  readonly minGroup: number;
  /** Base of rounding: a summary is off by less than this many of its group's largest contributions; 0 for exact figures. */
  readonly noise: number;
}

/** `*` and `?` are wildcards; a name without them is exact. */
export interface UserPattern {
  readonly text: string;
  readonly exact: boolean;
}

/** An IPv4 or IPv6 network in CIDR form, as given. */
export interface Network {
  readonly text: string;
  contains(address: string): boolean;
}

/** `all`, or names `schema.table` and whole schemas `schema.*`. */
export type RelationSet =
  | "all"
  | { readonly tables: ReadonlySet<string>; readonly schemas: ReadonlySet<string> };

/** Classes seen in the clear; with a condition only in rows where it holds. A class that is absent is masked. */
export type Sight = "all" | ReadonlyMap<string, "always" | Condition>;

/** SQL over the columns of one table; `:user` stands for the session's user and is spliced as a quoted literal. */
export interface Condition {
  readonly sql: string;
  readonly place: Place;
}

export interface Limits {
  /** Per statement; undefined: none. */
  readonly rows?: number;
  readonly bytes?: number;
  /** Rows that one statement may write. */
  readonly changes?: number;
  readonly onExcess: "error" | "truncate";
  /** The server is told of `rows`, where that changes nothing else. */
  readonly pushed: boolean;
}

/** One sliding window of a budget: at most `limit` of `what` within any `seconds`. */
export interface BudgetWindow {
  /** As written: `1m`, `1d`. */
  readonly name: string;
  readonly seconds: number;
  readonly what: "people" | "rows" | "bytes" | "lookups" | "changes";
  readonly limit: number;
  /** The policy line, as told in refusals: `roles.agent.budget.1d`. */
  readonly rule: string;
  /** Whose reading is summed up: the user's (if left out), all users' of the role, all that one address reads. */
  readonly scope?: "user" | "role" | "address";
}

/** Whether some budget of the role is one of reading: one of changes alone counts no row that leaves. */
export function countsReads({ budget }: Role): boolean {
  return budget.some(({ what }) => what !== "changes");
}

/** Whether a statement's result may be cut off. */
export function limitsReads(role: Role): boolean {
  return role.limits.rows !== undefined || role.limits.bytes !== undefined || countsReads(role);
}

/** The line of the role's limit that a cut-off result would be past. */
export function limitKey({ limits }: Role): string {
  return limits.rows === undefined ? "budget" : "rows";
}

/** What sees that somebody reads in an unusual pattern. */
export const BEHAVIOUR_RULES = [
  "new_people",
  "dump",
  "sequence",
  "lookups",
  "hours",
  "addresses",
  "refusals",
  "purpose",
  "together",
] as const;
export type BehaviourRule = (typeof BEHAVIOUR_RULES)[number];

/** What becomes of a user whom a rule saw: somebody is told, his budgets shrink for a while, or he is cut off. */
export type BehaviourAction = "off" | "alert" | "tighten" | "suspend";

/** Whether the set names the relation. */
export function relationSetHas(set: RelationSet, schema: string, name: string): boolean {
  return set === "all" || set.schemas.has(schema) || set.tables.has(`${schema}.${name}`);
}
