import { randomBytes } from "node:crypto";
import { MEASURE_KINDS, type OrderEvent } from "../audit/event.ts";
import type { CaseDesk, Changed, Said } from "../cases/case-desk.ts";
import type { Case } from "../cases/cases.ts";
import type { Catalogs } from "../catalog/catalogs.ts";
import type { RunningInfo, SessionInfo } from "../fleet/session-registry.ts";
import { scopeOf } from "../meter/budget-windows.ts";
import { accountOf, type CounterStore, type WindowUse } from "../meter/meter.ts";
import type { Reached, Suspension, Suspensions } from "../orders/suspensions.ts";
import { accountBudget } from "../policy/acting.ts";
import type { PolicySet } from "../policy/compile.ts";
import { type BudgetWindow, type Policy, type Role, windowsOf } from "../policy/policy.ts";
import { peopleToTenths } from "../policy/price-units.ts";
import { isRefusal, roleFor } from "../policy/roles.ts";
import type { NamedPool } from "../pool/pools.ts";
import { explained, personProblem } from "../session/decide/explain-statement.ts";
import type { Explanation } from "../sql/explanation.ts";
import type { Fleet, Told } from "./fleet.ts";
import type { LogQuestions } from "./log-questions.ts";
import type { Notable, Recent, SeenStatement, Wanted } from "./recent.ts";

/** How much one user has read, window by window; `uses` is undefined while the counters cannot be reached. */
export interface Reading {
  readonly user: string;
  readonly role: string;
  readonly database: string;
  readonly connected: boolean;
  /** The windows of their budget, and people in 30 days, which may have no limit (`limited`). */
  readonly uses: readonly (WindowUse & { readonly limited: boolean })[] | undefined;
}

export interface Question {
  /** With a role, "" stands for the first user whom it names. */
  readonly user: string;
  /** In place of the one that the policy gives the user. */
  readonly role?: string | undefined;
  /** For whom the user, an application, reads; "" and undefined: nobody is named. */
  readonly person?: string | undefined;
  /** What that person's claim holds which gives roles (`acts_as`); nothing if left out. */
  readonly claims?: readonly string[];
  /** IP address: networks of a role (`from`) are looked at. */
  readonly address: string;
  readonly database: string;
  readonly statement: string;
}

export type Answer =
  | { readonly ok: true; readonly explanation: Explanation }
  | { readonly ok: false; readonly problem: string; readonly hint: string };

/** What this process and others have decided lately, the newest first: bounded. The audit log has all. */
export interface Lately<T> {
  readonly items: readonly T[];
  /** How many other processes have told theirs. */
  readonly others: number;
}

/** The cases, as far as the fleet knows them. */
export interface CaseBoard {
  list(): Promise<readonly Case[]>;
  /** The case to which an alert belongs. */
  find(alert: string): Promise<Case | undefined>;
  change(id: string, by: string, said: Said): Promise<Changed>;
}

/** What operators see and do, from the web console as from psql. */
export interface Operations {
  readonly version: string;
  readonly startedAt: number;
  /** How many clients this process takes. */
  readonly maxClients: number;
  readonly recent: Recent;
  /** Databases of the configuration, the usual one first. */
  readonly databases: () => readonly string[];
  readonly policies: () => PolicySet;
  /** Where people are named, as policies and the databases' foreign keys say it. */
  readonly namespaces: () => readonly string[];
  /** Whether the sessions of all proxies are seen, or only those of this process. */
  readonly fleet: boolean;
  /** The oldest first. Rejects when the fleet's Redis cannot be read. */
  sessions(): Promise<readonly SessionInfo[]>;
  /** Pools of server connections, of this process; undefined: each client has a connection of its own. */
  readonly pools: () => readonly NamedPool[] | undefined;
  /** Alerts, refusals and orders. */
  notables(): Promise<Lately<Notable>>;
  statements(wanted: Wanted): Promise<Lately<SeenStatement>>;
  /** What sessions run now, the longest first: of the fleet so far as it answers. */
  running(): Promise<readonly RunningInfo[]>;
  readings(): Promise<readonly Reading[]>;
  suspended(): readonly Suspension[];
  /** Says what would become of a statement; nothing is run. */
  explain(question: Question): Promise<Answer>;
  /** Alerts that somebody has to answer, the newest first; `change` resolves when the word is stored. */
  readonly cases: CaseBoard;
  /** Asks the audit log on disk. */
  readonly questions: LogQuestions;
  suspend(user: string, why: string, by: string): Promise<Reached>;
  resume(user: string, why: string, by: string): Promise<Reached>;
  /** Ends one session, wherever it is; false: no process that answers has one with this id. */
  kill(session: string, by: string): Promise<boolean>;
  /** Reads policy, users and TLS files again; the version in force then. */
  reload(by: string): Promise<string>;
}

export interface OperationsParts {
  readonly version: string;
  readonly maxClients: number;
  readonly recent: Recent;
  /** The database of --upstream. */
  readonly mainDatabase: string;
  /** With --auth scram the user of the database; undefined: each user has an account of their own there. */
  readonly databaseUser: string | undefined;
  readonly policies: () => PolicySet;
  readonly catalogs: Catalogs;
  readonly namespaces: () => readonly string[];
  readonly store: Pick<CounterStore, "usage">;
  readonly suspensions: Pick<Suspensions, "list" | "suspend" | "resume">;
  readonly cases: Pick<CaseDesk, "list" | "find" | "change" | "poll">;
  /** Sessions of this process. */
  readonly here: () => readonly SessionInfo[];
  /** As in `Operations`. */
  readonly pools: () => readonly NamedPool[] | undefined;
  /** Sessions of the fleet; undefined without Redis. */
  readonly everywhere: (() => Promise<readonly SessionInfo[]>) | undefined;
  /** What those sessions run now: so many at most, the longest first. */
  readonly running: (most: number) => readonly RunningInfo[];
  readonly end: (session: string, by: string) => boolean;
  /** The other processes; undefined without Redis. */
  readonly others: Pick<Fleet, "notables" | "statements" | "running" | "end"> | undefined;
  readonly reload: () => Promise<void>;
  /** Puts an order on record. */
  readonly record: (order: OrderEvent) => void;
  readonly questions: LogQuestions;
  readonly now: () => number;
}

const ORDERS: ReadonlySet<Notable["kind"]> = new Set([...MEASURE_KINDS, "policy rejected"]);
/** Within this, all processes have learnt of an order. */
const ECHO_MS = 5_000;

/** Statements that are shown as running: more than anybody reads. */
const RUNNING = 200;

/** Users of the policy who are asked for though nobody of their name is connected. */
const NAMED_USERS = 300;

export function createOperations(parts: OperationsParts): Operations {
  const databases = () => [...new Set([parts.mainDatabase, ...parts.policies().databases])];
  const sessions = () => allSessions(parts);
  const statements = async (wanted: Wanted) =>
    lately(() => true, await parts.others?.statements(wanted), parts.recent.statements(wanted));
  return {
    version: parts.version,
    startedAt: parts.now(),
    maxClients: parts.maxClients,
    recent: parts.recent,
    databases,
    policies: parts.policies,
    namespaces: parts.namespaces,
    fleet: parts.everywhere !== undefined,
    sessions,
    pools: parts.pools,
    readings: async () => {
      const [open, { items: seen }] = await Promise.all([sessions(), statements({})]);
      const found = readers({ open, seen, databases: databases(), policies: parts.policies() });
      return Promise.all(found.map((one) => reading(one, parts)));
    },
    suspended: () => parts.suspensions.list(),
    explain: (question) => explainStatement(question, parts),
    cases: {
      async list() {
        await parts.cases.poll();
        return parts.cases.list();
      },
      async find(alert) {
        await parts.cases.poll();
        return parts.cases.find(alert);
      },
      change: (id, by, said) => parts.cases.change(id, by, said),
    },
    questions: parts.questions,
    suspend: (user, why, by) => parts.suspensions.suspend(user, why, by),
    resume: (user, why, by) => parts.suspensions.resume(user, why, by),
    notables: async () => {
      const mine = parts.recent.notables();
      return lately(withoutEchoes(mine), await parts.others?.notables(), mine);
    },
    statements,
    running: async () => {
      const mine = parts.running(RUNNING);
      const known = new Set(mine.map(({ session }) => session));
      const theirs = ((await parts.others?.running())?.items ?? []).filter(
        ({ session }) => !known.has(session),
      );
      return [...mine, ...theirs].toSorted((a, b) => b.duration - a.duration).slice(0, RUNNING);
    },
    async kill(session, by) {
      const ended = parts.end(session, by) || ((await parts.others?.end(session, by)) ?? false);
      if (ended) parts.record({ kind: "session killed", time: parts.now(), by, session });
      return ended;
    },
    async reload(by) {
      parts.record({ kind: "reload", time: parts.now(), by });
      await parts.reload();
      return parts.policies().version;
    },
  };
}

/** What is open here is known to the moment; of other proxies, what they last told. */
async function allSessions({ here, everywhere }: OperationsParts): Promise<readonly SessionInfo[]> {
  const mine = here();
  const known = new Set(mine.map(({ id }) => id));
  const others = everywhere === undefined ? [] : (await everywhere()).filter(({ id }) => !known.has(id));
  return [...mine, ...others].sort((a, b) => a.since - b.since);
}

function lately<T extends { readonly time: number }>(
  isNews: (one: T) => boolean,
  { items: theirs, processes: others }: Told<T> = { items: [], processes: 0 },
  mine: readonly T[],
): Lately<T> {
  const items = [...mine, ...theirs.filter(isNews)].sort((a, b) => b.time - a.time);
  return { items, others };
}

/** Each process tells of an order when it learns of it: the same user, kind and reason is one order. */
function withoutEchoes(mine: readonly Notable[]): (one: Notable) => boolean {
  const orderOf = ({ kind, user, text }: Notable) => JSON.stringify([kind, user, text]);
  const isOrder = ({ kind }: Notable) => ORDERS.has(kind);
  const known = new Map<string, number[]>();
  for (const one of mine.filter(isOrder))
    known.set(orderOf(one), [...(known.get(orderOf(one)) ?? []), one.time]);
  return (one) => {
    if (!isOrder(one)) return true;
    const times = known.get(orderOf(one)) ?? [];
    if (times.some((time) => Math.abs(time - one.time) < ECHO_MS)) return false;
    known.set(orderOf(one), [...times, one.time]);
    return true;
  };
}

interface CountedReader {
  readonly user: string;
  readonly database: string;
  readonly role: Role;
  readonly budget: readonly BudgetWindow[];
  readonly address: string | undefined;
}

/** Where readers are looked for. */
interface ReaderSources {
  readonly open: readonly SessionInfo[];
  readonly seen: readonly SeenStatement[];
  readonly databases: readonly string[];
  readonly policies: PolicySet;
}

/** Users who are connected, users whom the policy names and counts, and people for whom an application has read lately. */
function readers({ open, seen, databases, policies }: ReaderSources): readonly CountedReader[] {
  const found = new Map<string, CountedReader>();
  const add = (reader: CountedReader) => {
    const key = JSON.stringify([reader.database, reader.user]);
    if (!found.has(key)) found.set(key, reader);
  };
  for (const { database, user, address } of open) {
    const policy = policies.forDatabase(database);
    const role = roleFor(policy, user, address);
    if (!isRefusal(role)) add({ user, database, role, budget: accountBudget(policy, role), address });
  }
  const limit = found.size + NAMED_USERS;
  for (const database of databases) {
    const policy = policies.forDatabase(database);
    for (const role of policy.roles.values()) {
      const budget = accountBudget(policy, role);
      if (budget.length === 0) continue;
      for (const { text, exact } of role.users) {
        if (exact && found.size < limit) add({ user: text, database, role, budget, address: undefined });
      }
    }
  }
  // Whoever has a role of their own is counted by that.
  const persons = found.size + NAMED_USERS;
  for (const { database, user, account, role: name, client } of seen) {
    const role = account === undefined ? undefined : policies.forDatabase(database).roles.get(name);
    if (role !== undefined && found.size < persons)
      add({ user, database, role, budget: windowsOf(role), address: client });
  }
  return [...found.values()];
}

/** Tokens look as they would, and are nobody's. */
const SHOWN_KEY = randomBytes(32);

/** It only asks for a figure: nothing is limited by it. */
const THIRTY_DAYS: BudgetWindow = { name: "30d", seconds: 30 * 86_400, what: "people", limit: 0, rule: "" };

async function reading({ user, database, role, budget, address }: CountedReader, { store }: OperationsParts) {
  // An address that nobody comes from now has no count.
  const own = budget.filter((window) => address !== undefined || scopeOf(window) !== "address");
  const has30 = own.some(
    (window) =>
      window.what === "people" && window.seconds === THIRTY_DAYS.seconds && scopeOf(window) === "user",
  );
  const windows = has30 ? own : [...own, THIRTY_DAYS];
  const account = { ...accountOf(role, { database, user, address: address ?? "" }), windows };
  const uses = await store.usage?.(account);
  return {
    user,
    role: role.name,
    database,
    connected: address !== undefined,
    uses: uses?.map(({ window, used, fraction = 0 }) => ({
      window,
      used: peopleToTenths(used, fraction),
      limited: window !== THIRTY_DAYS,
    })),
  };
}

type AskedFor =
  | { readonly user: string; readonly role: Role }
  | { readonly problem: string; readonly hint: string };

function askedFor({ user, role: name, address, database }: Question, policy: Policy): AskedFor {
  if (name === undefined) {
    const role = roleFor(policy, user, address);
    return isRefusal(role) ? { problem: role.message, hint: role.hint ?? "" } : { user, role };
  }
  const role = policy.roles.get(name);
  if (role === undefined) return { problem: `database "${database}" has no role "${name}"`, hint: "" };
  const someone = user || role.users.find(({ exact }) => exact)?.text;
  if (someone !== undefined) return { user: someone, role };
  return {
    problem: `role "${name}" names no user`,
    hint: "Name the user whose grants in the database apply.",
  };
}

async function explainStatement(question: Question, parts: OperationsParts): Promise<Answer> {
  const { database, statement } = question;
  const policy = parts.policies().forDatabase(database);
  const who = askedFor(question, policy);
  if ("problem" in who) return { ok: false, ...who };
  const { user, role } = who;
  const { claims = [] } = question;
  if (!question.person && claims.length > 0)
    return {
      ok: false,
      problem: "a claim is that of a person",
      hint: "Name the person behind the application.",
    };
  const person = question.person ? { name: question.person, claims } : undefined;
  const nobody = personProblem({ policy, account: role, user, person });
  if (nobody !== undefined) return { ok: false, problem: nobody, hint: "" };
  try {
    const live = await parts.catalogs.of(database);
    const explanation = await explained(live, statement, {
      policy,
      account: role,
      user,
      databaseUser: parts.databaseUser ?? user,
      // Shown to operators: a key of its own, for the fleet's would stand in the text of token masks.
      maskKey: SHOWN_KEY,
      person,
    });
    return { ok: true, explanation };
  } catch {
    const hint = "Its control connection may be away; the proxy's log has details.";
    return { ok: false, problem: `the catalog of database "${database}" cannot be read`, hint };
  }
}
