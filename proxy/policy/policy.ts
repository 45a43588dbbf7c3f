import type { Carried } from "../tokens/blind-index.ts";
import type { PathStep } from "../tokens/json-path.ts";
import type { TokenForm } from "../tokens/sealed.ts";

/** Position in a policy file, for messages: `policies/support.yaml:12:5`. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One database's policy, merged from all files that apply to it: immutable, checked, with defaults filled in. */
export interface Policy {
  /** Hash of all files' content (12 hex digits): part of every verdict's key, shown in events and metrics. */
  readonly version: string;
  readonly mode: "enforce" | "observe";
  readonly unclassified: "show" | "mask" | "deny";
  /** The role of users without one; if undefined they are refused. */
  readonly unknownUsers?: Role;
  readonly classes: ReadonlyMap<string, ColumnClass>;
  /** By `schema.table`. */
  readonly tables: ReadonlyMap<string, TablePolicy>;
  /** Decoys: people whom no honest work reads. Absent if there are none. */
  readonly canaries?: Canaries;
  /** In the order of the files. */
  readonly roles: ReadonlyMap<string, Role>;
  /** By accounts: the statements that they run, and from where. */
  readonly fences: ReadonlyMap<string, Fence>;
  /** Names that applications give to users, and who is meant. */
  readonly people: ReadonlyMap<string, string>;
  /** A token by which the key ring is recognised, if a class is stored as tokens. */
  readonly tokenCanary?: string;
  /** Positions of its keys in the files. */
  readonly written: Written;
}

/**
 * What the files say before defaults and parents are filled in: a warning that a key has no effect belongs to the place
 * and the role that write the key.
 */
export interface Written {
  readonly roles: ReadonlyMap<string, WrittenRole>;
  /** By table. */
  readonly canaries: ReadonlyMap<string, Place>;
  readonly onCanary?: Place;
  /** Of the first file that is of one database. */
  readonly database?: Place;
  readonly unknownUsers?: Place;
}

export interface WrittenRole {
  /** The role that this one extends. */
  readonly parent?: string;
  /** By key, and for lists and mappings also by entry: `finds`, `finds.email`, `behaviour.dump`. */
  readonly keys: ReadonlyMap<string, Place>;
  /** Tables whose inherited filter this role drops: `only: { …: none }`. */
  readonly dropped: readonly string[];
}

/** What an account has run so far: an application runs few statements, from few places. */
export interface Fence {
  /** What becomes of a statement outside: a line in the log, an alert, and with it masks or a refusal. */
  readonly outside: "observe" | "alert" | "mask" | "refuse";
  readonly places: readonly FencePlace[];
  /** By `shapeKey` of the statement without literals and comments. */
  readonly statements: ReadonlyMap<string, FenceStatement>;
  /** Shapes that let nothing through: what they run stands in a literal. */
  readonly unheld: readonly string[];
  readonly place: Place;
}

export interface FenceStatement {
  /** One run showed so many people at most. */
  readonly people: number;
  /** What its names meant, `schema.table`; undefined: that is not held. */
  readonly tables: ReadonlySet<string> | undefined;
}

export interface FencePlace {
  readonly networks: readonly Network[];
  /** Unix sockets, which have no address. */
  readonly isLocal: boolean;
  /** `application_name`. */
  readonly program: UserPattern;
}

/** People who do not exist: a user who reads one is looking where their work does not lead. */
export interface Canaries {
  /** By `canaryKey`: the group that the decoy was made for, or "" for none. */
  readonly groups: ReadonlyMap<string, string>;
  readonly marked: readonly MarkedCanaries[];
  readonly action: "alert" | "suspend";
}

/** Decoys that a condition on their table marks; the database says who they are. */
export interface MarkedCanaries {
  /** `schema.table` */
  readonly table: string;
  readonly subject: string;
  readonly group: string;
  readonly condition: Condition;
}

/** A key of decoys. The name space is that of the meter: `public.customers.id`. */
export function canaryKey(namespace: string, identity: string): string {
  return `${namespace}\0${identity}`;
}

export interface ColumnClass {
  readonly name: string;
  readonly mask: Mask;
  /** How many people a person counts as when their value is read in the clear or they are looked up by it. */
  readonly cost: number;
  /** The database holds tokens in place of its values. */
  readonly stored?: StoredClass;
  readonly place: Place;
}

/** See docs/tokens.md. */
export interface StoredClass {
  /** Equal values have equal tokens in all columns of the class, not only within a column. */
  readonly joinable: boolean;
  readonly form: TokenForm;
  /** The blind indexes that its tokens carry. */
  readonly searches: Carried;
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
  /** The column whose distinct values are the people, or the first column of a path to them. */
  readonly subject?: string;
  /** The tables between the subject column and the people. */
  readonly path?: readonly SubjectStep[];
  /** Position of `subject`. */
  readonly subjectPlace?: Place;
  /** Column name to class name. */
  readonly columns: ReadonlyMap<string, string>;
  /** By json and jsonb columns: the values in their documents that are stored as tokens. */
  readonly documents: ReadonlyMap<string, readonly SealedPath[]>;
  /** The table, or a column of it, may not exist in the database yet. */
  readonly allowMissing?: true;
  readonly place: Place;
}

/** A place in a document, and the class of the strings there. */
export interface SealedPath {
  readonly steps: readonly PathStep[];
  readonly className: string;
}

/** The classes of a table's columns and of the values inside of its documents. */
export function classesIn({ columns, documents }: Pick<TablePolicy, "columns" | "documents">): Set<string> {
  const paths = [...documents.values()].flat();
  return new Set([...columns.values(), ...paths.map(({ className }) => className)]);
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
  /** If empty, the users may connect from anywhere. */
  readonly from: readonly Network[];
  readonly reads: RelationSet;
  readonly writes: RelationSet;
  readonly sees: Sight;
  /** Classes that may be searched by exact value. */
  readonly finds: "all" | ReadonlySet<string>;
  /** Row filters by `schema.table`. */
  readonly only: ReadonlyMap<string, Condition>;
  /** By the table whose subject identifies the people: a condition that ties a person to the reader's work. */
  readonly purpose: ReadonlyMap<string, Condition>;
  /**
   * Columns that the role may write although one of its own conditions depends on them, with their positions:
   * `schema.table.column`, or `schema.table.*` for all columns.
   */
  readonly writesOwnConditions: ReadonlyMap<string, Place>;
  readonly requireFilter: ReadonlySet<string>;
  readonly aggregatesOnly?: AggregatesOnly;
  readonly limits: Limits;
  /** Windows of all scopes (`budget`, `role_budget`, `address_budget`); empty for `none` and if no budget is given. */
  readonly budget: readonly BudgetWindow[];
  /** Windows of people whose tokens of a class may be turned back; empty if their number is not limited. */
  readonly reveals: readonly BudgetWindow[];
  /** The share of each budget that one instance may release while the counters are unreachable. Undefined: nothing. */
  readonly graceShare?: number;
  /** Rules that are not named use their default: see `actionOf`. */
  readonly behaviour?: ReadonlyMap<BehaviourRule, BehaviourAction>;
  /** The role sees, reads and writes everything, and the people it reads are still counted. */
  readonly watch?: true;
  /** For a watched role: a used-up budget raises an alert and stops nothing. */
  readonly onBudget?: "alert";
  /**
   * For a watched role: the sources that may name the person for whom the application reads; the first with a value
   * wins.
   */
  readonly peopleBehind?: readonly PersonSource[];
  /** The keys that must have signed the person's name; without it, the application's own word is trusted. */
  readonly signedBy?: SignedBy;
  /** If no person is named: refuse, or apply these budgets; the role's own budgets if absent. */
  readonly unnamed?: Unnamed;
  /** By which role the statements of a person are judged; the account is guarded then. */
  readonly actsAs?: ActsAs;
  /** Made for an application's sessions, whose sources of names its statements may change: see `acting.ts`. */
  readonly standsIn?: true;
  /** Functions outside pg_catalog that the role may call, as `schema.name`, and whether it may see their results. */
  readonly calls: ReadonlyMap<string, "hidden" | "shown">;
}

export type Unnamed =
  | "refuse"
  | { readonly budget: readonly BudgetWindow[] }
  | { readonly role: string; readonly place: Place };

/** Roles by their names: one for everybody, or by what a signed claim holds. */
export type ActsAs =
  | { readonly kind: "role"; readonly role: string; readonly place: Place }
  /** By the claim's value, the first that it has. A person who has none of them is not named. */
  | {
      readonly kind: "claim";
      readonly claim: string;
      readonly roles: ReadonlyMap<string, string>;
      readonly place: Place;
    };

/** The keys that sign claims naming people (JSON Web Tokens, RFC 7519), and what the claims must contain. */
export interface SignedBy {
  /** Public keys (RFC 7517), or a secret that the application shares with the proxy. */
  readonly kind: "jwks" | "secret";
  /** A path relative to the policy's own file, or an https URL of public keys. */
  readonly at: string;
  /** Position of this key; its file is the one that relative paths start from. */
  readonly place: Place;
  /** The claim that names the person. */
  readonly claim: string;
  readonly issuer?: string;
  readonly audience?: string;
  /** The claim `nonce` must equal the value that the connection was given. */
  readonly bound: boolean;
}

/** A source that may name the person behind an application's statement. */
export type PersonSource =
  /** `path`: keys into the JSON object that the setting holds. */
  | { readonly kind: "setting"; readonly name: string; readonly path?: readonly string[] }
  | { readonly kind: "comment"; readonly key: string }
  /** The pattern's only group is the name. */
  | { readonly kind: "application_name"; readonly pattern: RegExp }
  /** The role set by SET ROLE. */
  | { readonly kind: "role" };

/** The role may read only summaries of groups of people. */
export interface AggregatesOnly {
  readonly minGroup: number;
  /**
   * Base of rounding: a summary is off by less than this many of its group's largest contributions; 0 for exact
   * figures.
   */
  readonly noise: number;
}

/** `*` and `?` are wildcards; a name without them is exact. */
export interface UserPattern {
  readonly text: string;
  readonly exact: boolean;
}

/** An IPv4 or IPv6 network in CIDR form, as written. */
export interface Network {
  readonly text: string;
  contains(address: string): boolean;
}

/** `all`, or names `schema.table` and whole schemas `schema.*`. */
export type RelationSet =
  | "all"
  | { readonly tables: ReadonlySet<string>; readonly schemas: ReadonlySet<string> };

/** Classes seen in the clear, or with a condition only in rows where it holds. An absent class is masked. */
export type Sight = "all" | ReadonlyMap<string, "always" | Condition>;

/** SQL over the columns of one table; `:user` means the session's user and is spliced in as a quoted literal. */
export interface Condition {
  readonly sql: string;
  readonly place: Place;
}

export interface Limits {
  /** Per statement; undefined for no limit. */
  readonly rows?: number;
  readonly bytes?: number;
  /** Rows that one statement may write. */
  readonly changes?: number;
  readonly onExcess: "error" | "truncate";
  /** `rows` is also added to the statement sent to the server, if that changes nothing else. */
  readonly pushed: boolean;
}

/** One sliding window of a budget: at most `limit` of `what` within any `seconds`. */
export interface BudgetWindow {
  /** As written: `1m`, `1d`. */
  readonly name: string;
  readonly seconds: number;
  readonly what: "people" | "rows" | "bytes" | "lookups" | "changes" | "reveals";
  /** Of reveals: the class whose values are turned back. */
  readonly of?: string;
  readonly limit: number;
  /** The policy line that refusals name: `roles.agent.budget.1d`. */
  readonly rule: string;
  /**
   * Whose reading is added up: one user's (if absent), that of all users of the role, or all reading from one address.
   */
  readonly scope?: "user" | "role" | "address";
}

/** Whether the role sees a class in the clear in every row. */
export function seesClass({ sees }: Pick<Role, "sees">, className: string): boolean {
  return sees === "all" || sees.get(className) === "always";
}

const joined = new WeakMap<
  readonly BudgetWindow[],
  WeakMap<readonly BudgetWindow[], readonly BudgetWindow[]>
>();

/** All windows that count what a user of the role reads: the same list for the same role. */
export function windowsOf({ budget, reveals }: Pick<Role, "budget" | "reveals">): readonly BudgetWindow[] {
  if (reveals.length === 0) return budget;
  let known = joined.get(budget);
  if (known === undefined) {
    known = new WeakMap();
    joined.set(budget, known);
  }
  let windows = known.get(reveals);
  if (windows === undefined) {
    windows = [...budget, ...reveals];
    known.set(reveals, windows);
  }
  return windows;
}

/** What a window counts, in words: `people`, `reveals of phone`. */
export function measureText({ what, of }: Pick<BudgetWindow, "what" | "of">): string {
  return of === undefined ? what : `${what} of ${of}`;
}

/** Whether the role has a budget for reading: a budget of changes alone does not count rows that leave. */
export function countsReads(role: Role): boolean {
  return windowsOf(role).some(({ what }) => what !== "changes");
}

/** Whether a statement's result may be cut off. */
export function limitsReads(role: Role): boolean {
  return role.limits.rows !== undefined || role.limits.bytes !== undefined || countsReads(role);
}

/** The key of the role's limit that a cut-off result would exceed. */
export function limitKey({ limits, budget }: Role): string {
  if (limits.rows !== undefined) return "rows";
  return budget.length > 0 ? "budget" : "reveals";
}

/** The rules that detect unusual reading patterns. */
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

/** What happens when a rule matches a user: an alert, smaller budgets for a while, or suspension. */
export type BehaviourAction = "off" | "alert" | "tighten" | "suspend";

/** Whether the set contains the relation. */
export function relationSetHas(set: RelationSet, schema: string, name: string): boolean {
  return set === "all" || set.schemas.has(schema) || set.tables.has(`${schema}.${name}`);
}
