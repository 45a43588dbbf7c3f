import type { StatementEvent } from "../../audit/event.ts";
import type { Log } from "../../log.ts";
import { BEHAVIOUR_RULES, type BehaviourAction, type BehaviourRule, type Role } from "../../policy/policy.ts";
import type { Measure } from "../measures.ts";
import type { Account } from "../meter.ts";
import type { Suspensions } from "../suspensions.ts";
import { dayOf, networkOf, type Reading, tellsNothing } from "./profile.ts";
import type { ProfileStore } from "./profile-store.ts";
import { actionFor, isNews, observe, type Sighting } from "./rules.ts";

/** Somebody should look at this. It names a user and holds no value that he read. */
export interface Alert {
  readonly id: string;
  /** Unix time in milliseconds. */
  readonly time: number;
  /** A rule of behaviour, or that they read a decoy, or used up a budget that only alerts. */
  readonly rule: BehaviourRule | "canary" | "budget";
  readonly action: Exclude<BehaviourAction, "off">;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly figure: number;
  readonly ordinary: number;
  readonly text: string;
}

export interface BehaviourOptions {
  readonly profiles: ProfileStore;
  /** The role as the policy in force has it; undefined: it is gone. */
  readonly role: (database: string, name: string) => Role | undefined;
  readonly measures: Pick<Suspensions, "suspend" | "tighten" | "tightened">;
  /** It must not throw, and nobody waits for it. */
  readonly onAlert: (alert: Alert) => void;
  readonly log: Log;
  readonly newId: () => string;
}

const BY_RULE = "rule ";
const TIGHTENED_FOR = 7 * 86_400_000;
/** Events that wait to be looked at; beyond it the watch falls behind rather than the memory grow. */
const LONGEST_QUEUE = 10_000;

/** Looks at statements after they have run: no client waits for it. */
export class Behaviour {
  readonly #options: BehaviourOptions;
  readonly #queue: (() => Promise<void>)[] = [];
  #working: Promise<void> | undefined;
  #missed = 0;

  constructor(options: BehaviourOptions) {
    this.#options = options;
  }

  /** Notes a statement; never throws. */
  observe(event: StatementEvent): void {
    const { database, user, role } = event;
    // What still waits comes first: a refusal before this statement makes it one that tells something.
    const isNothing =
      this.#working === undefined &&
      this.#options.profiles.knows(database, user, role, (profile) => tellsNothing(profile, event));
    if (!isNothing) this.#enqueue(() => this.#look(event));
  }

  /** Notes that somebody walks through ids. */
  walked({ database, user, role = "", address = "" }: Account, ids: number, time: number): void {
    const what = "of their last people have ids close to each other";
    const sighting: Sighting = { rule: "sequence", figure: ids, ordinary: 0, what };
    this.#enqueue(async () => {
      const isNew = await this.#options.profiles.update(database, user, role, (profile) =>
        isNews(profile, sighting, time),
      );
      if (isNew) await this.#act(sighting, { time, user, role, database, client: address });
    });
  }

  /** Resolves when all that was noted so far has been looked at. */
  async settled(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  #enqueue(work: () => Promise<void>): void {
    if (this.#queue.length >= LONGEST_QUEUE) {
      if (this.#missed++ % LONGEST_QUEUE === 0)
        this.#options.log.error("the watch on behaviour falls behind");
      return;
    }
    this.#queue.push(work);
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    // First everybody else's turn: the caller is in the middle of a reply.
    await Promise.resolve();
    for (let work = this.#queue.shift(); work !== undefined; work = this.#queue.shift()) {
      await work().catch((error: Error) =>
        this.#options.log.error({ problem: error.message }, "behaviour unseen"),
      );
    }
    this.#working = undefined;
  }

  async #look(event: StatementEvent): Promise<void> {
    const { profiles, role: roleOf, measures } = this.#options;
    const { database, user, role } = event;
    if (roleOf(database, role)?.budget.length === 0 && roleOf(database, role)?.behaviour === undefined)
      return;
    const peers = await profiles.peers(database, role, dayOf(event.time));
    const tightenedBy = ruleOf(measures.tightened(user));
    // It may be kept for a while, and shall not hold a statement's text.
    const { time, client, people, subjects, lookups, decision, sqlstate, purposeless } = event;
    const reading: Reading = {
      ...{ time, client, people, subjects, lookups, decision },
      ...(sqlstate === undefined ? {} : { sqlstate }),
      ...(purposeless === undefined ? {} : { purposeless }),
    };
    const seen = await profiles.update(database, user, role, (profile) =>
      observe(profile, reading, peers, tightenedBy),
    );
    for (const sighting of seen) await this.#act(sighting, event);
  }

  async #act(
    sighting: Sighting,
    at: Pick<Alert, "time" | "user" | "role" | "database" | "client">,
  ): Promise<void> {
    const { profiles, role: roleOf, measures, onAlert, log, newId } = this.#options;
    const { time, user, role: roleName, database, client } = at;
    const role = roleOf(database, roleName);
    const action = role === undefined ? "alert" : actionFor(role, sighting);
    if (action === "off") return;
    // Every proxy through which he reads may see it: one of them tells, and acts.
    const [whose, told] = newsOf(sighting, action, at);
    if (!(await profiles.claim(database, whose, told))) return;
    const { rule, figure, ordinary, what } = sighting;
    const text = `${figure} ${what}; ordinary would be up to ${ordinary}`;
    const alert: Alert = {
      id: newId(),
      ...{ time, rule, action, user, role: roleName, database, client, figure, ordinary, text },
    };
    log.warn({ rule, action, user, role: roleName, figure, ordinary }, "alert: unusual reading pattern");
    onAlert(alert);
    const by = `${BY_RULE}${rule}`;
    if (action === "suspend") await measures.suspend(user, text, by);
    if (action === "tighten") await measures.tighten(user, text, by, time + TIGHTENED_FOR);
  }
}

/**
 * What is told of once, and of whom. A VPN that moved is one piece of news, however many come from there, unless
 * something is done about each of them.
 */
function newsOf(
  { rule, again }: Sighting,
  action: BehaviourAction,
  { user, role, client, time }: Pick<Alert, "time" | "user" | "role" | "client">,
): readonly [whose: string, told: string] {
  const told = `${rule}${again ? " again" : ""} ${dayOf(time)}`;
  if (rule !== "addresses" || action !== "alert") return [user, told];
  return [`role ${role}`, `${told} ${networkOf(client)}`];
}

/** The rule that tightened somebody; of one that is no more, or of an older proxy, the first of them. */
function ruleOf(measure: Measure | undefined): BehaviourRule | undefined {
  if (measure === undefined) return undefined;
  return BEHAVIOUR_RULES.find((rule) => measure.by === `${BY_RULE}${rule}`) ?? "new_people";
}
