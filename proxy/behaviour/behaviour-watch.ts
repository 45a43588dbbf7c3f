import type { StatementEvent } from "../audit/event.ts";
import type { Log } from "../log.ts";
import type { Account } from "../meter/meter.ts";
import type { Measure } from "../orders/measures.ts";
import type { Suspensions } from "../orders/suspensions.ts";
import { BEHAVIOUR_RULES, type BehaviourAction, type BehaviourRule, type Role } from "../policy/policy.ts";
import type { Finding, Today } from "./alert.ts";
import { type Place, placeOf } from "./alert-desk.ts";
import { dayOf, networkOf, type Reading, tellsNothing, todayOf } from "./profile.ts";
import type { ProfileStore } from "./profile-store.ts";
import { actionFor, isNews, observe, type Sighting } from "./rules.ts";

export interface BehaviourOptions {
  readonly profiles: ProfileStore;
  /** The role in the current policy; undefined if it no longer exists. */
  readonly role: (database: string, name: string) => Role | undefined;
  readonly measures: Pick<Suspensions, "suspend" | "tighten" | "tightened">;
  /** Must not throw; it is not awaited. */
  readonly onFinding: (finding: Finding) => void;
  readonly log: Log;
  readonly newId: () => string;
}

const BY_RULE = "rule ";
const TIGHTENED_FOR = 7 * 86_400_000;
const DAY_SECONDS = 86_400;
/** Events that wait to be checked; beyond this, events are dropped instead of using more memory. */
const LONGEST_QUEUE = 10_000;

/** How long a walk through ids waits for the event of its statement, in milliseconds. */
const WAITS_FOR_EVENT = 250;

function walkKey({ database, user, role }: Pick<Place, "database" | "user" | "role">): string {
  return JSON.stringify([database, user, role]);
}

/** Checks statements after they have run: no client waits for it. */
export class Behaviour {
  readonly #options: BehaviourOptions;
  readonly #queue: (() => Promise<void>)[] = [];
  /** Walks that wait for the event of their statement. */
  readonly #walks = new Map<string, (at: Place | undefined) => void>();
  #working: Promise<void> | undefined;
  #missed = 0;

  constructor(options: BehaviourOptions) {
    this.#options = options;
  }

  /** Queues a statement; never throws. */
  observe(event: StatementEvent): void {
    const { database, user, role } = event;
    if (this.#walks.size > 0 && event.people > 0) this.#walks.get(walkKey(event))?.(placeOf(event));
    // Queued statements come first: after a refusal among them, this statement may matter.
    const isNothing =
      this.#working === undefined &&
      this.#options.profiles.knows(database, user, role, (profile) => tellsNothing(profile, event));
    if (!isNothing) this.#enqueue(() => this.#look(event));
  }

  /**
   * Queues a report that a user walks through ids. It waits a moment for the event of the statement that did it, which says from
   * which session and of which tables.
   */
  walked({ database, user, role = "", address = "" }: Account, ids: number, time: number): void {
    const key = walkKey({ database, user, role });
    if (this.#walks.has(key)) return;
    const told = (at: Place) => {
      clearTimeout(timer);
      this.#walks.delete(key);
      this.#enqueue(() => this.#tellWalk(ids, at));
    };
    const bare = { time, user, role, database, client: address };
    const timer = setTimeout(() => told(bare), WAITS_FOR_EVENT).unref();
    this.#walks.set(key, (at) => told(at ?? bare));
  }

  async #tellWalk(ids: number, at: Place): Promise<void> {
    const what = "of their last people have ids close to each other";
    const sighting: Sighting = { rule: "sequence", figure: ids, ordinary: 0, what };
    const isNew = await this.#options.profiles.update(at.database, at.user, at.role, (profile) =>
      isNews(profile, sighting, at.time),
    );
    if (isNew) await this.#act(sighting, at);
  }

  /** How much the user has read today, as far as this process knows; undefined if it knows nothing. */
  today(database: string, user: string, role: string, time: number): Today | undefined {
    let today: Today | undefined;
    this.#options.profiles.knows(database, user, role, (profile) => {
      today = todayOf(profile, time);
      return true;
    });
    const day = this.#options
      .role(database, role)
      ?.budget.find(({ what, seconds }) => what === "people" && seconds === DAY_SECONDS);
    return today && { ...today, ...(day !== undefined && { budget: day.limit }) };
  }

  /** Resolves when everything queued so far has been checked. */
  async settled(): Promise<void> {
    for (const tell of this.#walks.values()) tell(undefined);
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
    // Other work goes first: the caller is in the middle of a reply.
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
    // The reading may be kept for a while and must not hold on to the statement's text.
    const { time, client, people, subjects, lookups, decision, sqlstate, purposeless } = event;
    const reading: Reading = {
      ...{ time, client, people, subjects, lookups, decision },
      ...(sqlstate === undefined ? {} : { sqlstate }),
      ...(purposeless === undefined ? {} : { purposeless }),
    };
    const seen = await profiles.update(database, user, role, (profile) =>
      observe(profile, reading, peers, tightenedBy),
    );
    for (const sighting of seen) await this.#act(sighting, placeOf(event));
  }

  async #act(sighting: Sighting, at: Place): Promise<void> {
    const { profiles, role: roleOf, measures, onFinding, log, newId } = this.#options;
    const { time, user, role: roleName, database } = at;
    const role = roleOf(database, roleName);
    const action = role === undefined ? "alert" : actionFor(role, sighting);
    if (action === "off") return;
    // Every proxy that the user reads through may detect it: one of them reports and acts.
    const [whose, told] = newsOf(sighting, action, at);
    if (!(await profiles.claim(database, whose, told))) return;
    const { rule, figure, ordinary, what } = sighting;
    const text = `${figure} ${what}; ordinary would be ${ordinary === 0 ? "none" : `up to ${ordinary}`}`;
    log.warn({ rule, action, user, role: roleName, figure, ordinary }, "alert: unusual reading pattern");
    onFinding({ id: newId(), ...at, rule, action, figure, ordinary, text });
    const by = `${BY_RULE}${rule}`;
    if (action === "suspend") await measures.suspend(user, text, by);
    if (action === "tighten") await measures.tighten(user, text, by, time + TIGHTENED_FOR);
  }
}

/**
 * The key under which an alert is sent once, and the user or role it is about. A VPN that moved is one alert, however
 * many users connect from it, unless the action applies to each of them.
 */
function newsOf(
  { rule, again }: Sighting,
  action: BehaviourAction,
  { user, role, client, time }: Pick<Finding, "time" | "user" | "role" | "client">,
): readonly [whose: string, told: string] {
  const told = `${rule}${again ? " again" : ""} ${dayOf(time)}`;
  if (rule !== "addresses" || action !== "alert") return [user, told];
  return [`role ${role}`, `${told} ${networkOf(client)}`];
}

/**
 * The rule that tightened the user's budgets; if the rule no longer exists or an older proxy set it, the first rule.
 */
function ruleOf(measure: Measure | undefined): BehaviourRule | undefined {
  if (measure === undefined) return undefined;
  return BEHAVIOUR_RULES.find((rule) => measure.by === `${BY_RULE}${rule}`) ?? "new_people";
}
