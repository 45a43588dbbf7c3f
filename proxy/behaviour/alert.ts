import type { BehaviourAction, BehaviourRule } from "../policy/policy.ts";

/** What may be told of: a rule of behaviour saw a user, or something happened that an officer must know. */
export type AlertRule = BehaviourRule | "canary" | "budget" | "changes" | "fence" | HouseRule;

/** Of the guard itself, and of no user's reading. */
export type HouseRule = "counters" | "audit" | "order" | "policy" | "observe";

export type Severity = "info" | "low" | "medium" | "high" | "critical";

const SEVERITIES: Readonly<Record<AlertRule, Severity>> = {
  // Nobody's work leads to a decoy.
  canary: "critical",
  // An application runs what it has always run.
  fence: "high",
  dump: "high",
  sequence: "high",
  together: "high",
  purpose: "high",
  new_people: "medium",
  lookups: "medium",
  refusals: "medium",
  changes: "medium",
  // A budget does what it is for.
  budget: "low",
  hours: "low",
  addresses: "low",
  // Nobody is counted, or nothing recorded, as it should be.
  audit: "critical",
  counters: "high",
  observe: "medium",
  order: "info",
  policy: "info",
};

const ORDER: readonly Severity[] = ["info", "low", "medium", "high", "critical"];

/** An alert that has cut a user off is never a small one. */
export function severityOf(rule: AlertRule, action: BehaviourAction, least: Severity = "info"): Severity {
  const acted: Severity = action === "suspend" ? "high" : action === "tighten" ? "medium" : "info";
  const all = [SEVERITIES[rule], acted, least].map((one) => ORDER.indexOf(one));
  return ORDER[Math.max(...all)] ?? "high";
}

/** How much a user has read today, and what is usual for them. */
export interface Today {
  readonly people: number;
  /** Of them whom they had not read in the last month. */
  readonly newPeople: number;
  /** The median of their ordinary days; undefined for a new user. */
  readonly usualNewPeople?: number;
  /** People whom the role's budget allows in a day, where it says so. */
  readonly budget?: number;
}

/** What was seen of a user. It holds no value that they read. */
export interface Finding {
  readonly id: string;
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly rule: Exclude<AlertRule, HouseRule>;
  readonly action: Exclude<BehaviourAction, "off">;
  /** Who reads: the database user, or the person for whom an application reads. */
  readonly user: string;
  /** The application's own user, where the reader is another person. */
  readonly account?: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly figure: number;
  readonly ordinary: number;
  readonly text: string;
  /** Where one statement is to blame: its session, what the client was told to be found by, tables, classes in the clear. */
  readonly session?: string;
  readonly application?: string;
  readonly reference?: string;
  readonly tables?: readonly string[];
  readonly shown?: readonly string[];
  /** Of a decoy: its hash, and the group that it was made for. */
  readonly canary?: { readonly subject: string; readonly group: string };
  /** At least so severe. */
  readonly least?: Severity;
}

/** What happened to the guard itself. */
export interface HouseFinding {
  readonly id: string;
  readonly time: number;
  readonly rule: HouseRule;
  readonly text: string;
  /** Whom an order is about, and the database. */
  readonly user?: string;
  readonly database?: string;
  readonly least?: Severity;
}

/** What to do next, and with which command. */
export interface NextStep {
  readonly what: string;
  readonly command: string;
}

/** What a receiver gets: all that is known of it here, and what to do. */
export interface Alert extends Omit<Partial<Finding>, "rule" | "canary" | "least"> {
  readonly id: string;
  readonly time: number;
  readonly rule: AlertRule;
  readonly severity: Severity;
  readonly action: Exclude<BehaviourAction, "off">;
  readonly text: string;
  readonly today?: Today;
  /** Other users of the role of whom there was an alert within a day. */
  readonly others?: readonly string[];
  readonly next: NextStep;
  /** The page of the console about it. */
  readonly console?: string;
}

/** In a few words, for a subject line. */
export function summaryOf({ user, role, database, text }: Alert): string {
  if (user === undefined) return `Sluice: ${text}`;
  const where = [role, database].filter(Boolean).join(", ");
  return `Sluice: ${user}${where === "" ? "" : ` (${where})`}: ${text}`;
}

export function nextStep(rule: AlertRule, action: BehaviourAction, user: string, time: number): NextStep {
  const who = shellWord(user);
  const day = new Date(time).toISOString().slice(0, 10);
  const read = `sluice audit read-by ${who} --since ${day}`;
  switch (rule) {
    case "canary":
      return action === "suspend"
        ? { what: "They are suspended. Check which other people they have read.", command: read }
        : {
            what: "No work leads to a decoy. Cut them off.",
            command: `sluice suspend ${who} --why 'decoy read'`,
          };
    case "counters":
      return {
        what: "Budgets start again: check who is connected, and why Redis has lost its data.",
        command: "sluice sessions",
      };
    case "audit":
      return { what: "Guarded statements are refused: give the disk room.", command: "df -h" };
    case "order":
      return { what: "See what is in force.", command: "sluice sessions" };
    case "policy":
      return { what: "See whether the policy does what its tests expect.", command: "sluice policy test" };
    case "observe":
      return { what: "Nothing is masked or refused: see what would be.", command: "sluice policy report" };
    case "budget":
    case "changes":
      return {
        what: "See what they have read; an honest day may need a grant (sluice grant).",
        command: read,
      };
    default:
      return action === "suspend"
        ? {
            what: "They are suspended. Check which people they have read; sluice resume lets them log in again.",
            command: read,
          }
        : {
            what: "Check which people they have read, and ask them; sluice suspend cuts them off.",
            command: read,
          };
  }
}

/** A name comes from a client: it must be one word in whatever shell it is pasted to. */
function shellWord(name: string): string {
  const plain = name.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, "?");
  return /^[\w.@-]+$/.test(plain) && !plain.startsWith("-") ? plain : `'${plain.replaceAll("'", "'\\''")}'`;
}
