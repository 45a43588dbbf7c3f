import { LRUCache } from "lru-cache";
import { type AuditEvent, isMeasure, type MeasureEvent, type StatementEvent } from "../audit/event.ts";
import type { Log } from "../log.ts";
import {
  type Alert,
  type Finding,
  type HouseFinding,
  nextStep,
  type Severity,
  severityOf,
  type Today,
} from "./alert.ts";
import { dayOf } from "./profile.ts";

export interface AlertDeskOptions {
  /** None of the two may throw, and nobody waits for them. */
  readonly onAlert: (alert: Alert) => void;
  /** Of what was seen of a user: it goes on record. */
  readonly onFinding: (finding: Finding, severity: Severity) => void;
  readonly today: (database: string, user: string, role: string, time: number) => Today | undefined;
  /** Whether this proxy is the first of the fleet that tells of this. */
  readonly claim: (database: string, whose: string, told: string) => Promise<boolean>;
  readonly newId: () => string;
  readonly log: Log;
  /** Where the console is reached, and the paths of its pages. */
  readonly console?: { readonly url: string; readonly user: (user: string) => string };
}

const DAY = 86_400_000;
/** Users whose attempts are counted, and users of whom there was an alert: more than are ever told of. */
const REMEMBERED = 10_000;
const EACH = 10;
const MOST_OTHERS = 20;
/** Orders are learned again at each start: older ones are no news. */
const NEWS = 60_000;

/** Where all findings become alerts: how severe, who else, what to do next. It also finds what events alone tell. */
export class AlertDesk {
  readonly #options: AlertDeskOptions;
  /** By user, day and line of the policy: how often a limit was hit. */
  readonly #attempts = new LRUCache<string, number>({ max: REMEMBERED });
  /** By database, role and user: when there was an alert last. */
  readonly #told = new LRUCache<
    string,
    readonly [database: string, role: string, user: string, time: number]
  >({
    max: REMEMBERED,
  });

  constructor(options: AlertDeskOptions) {
    this.#options = options;
  }

  aboutUser(found: Finding): void {
    const { canary: _, least, ...finding } = found;
    const { rule, action, user, role, database, time } = finding;
    const { today, onAlert, onFinding, console } = this.#options;
    const severity = severityOf(rule, action, least);
    onFinding(found, severity);
    const read = today(database, user, role, time);
    const others = this.#othersLike(finding);
    const alert: Alert = {
      ...finding,
      severity,
      ...(read !== undefined && { today: read }),
      ...(others.length > 0 && { others }),
      next: nextStep(rule, action, user, time),
      ...(console !== undefined && { console: `${console.url}${console.user(user)}` }),
    };
    this.#told.set(JSON.stringify([database, role, user]), [database, role, user, time]);
    onAlert(alert);
  }

  aboutHouse({ least, ...finding }: HouseFinding): void {
    const { rule, user = "", time } = finding;
    const { onAlert, console } = this.#options;
    const page = user === "" ? "/console" : console?.user(user);
    onAlert({
      ...finding,
      action: "alert",
      severity: severityOf(rule, "alert", least),
      next: nextStep(rule, "alert", user, time),
      ...(console !== undefined && { console: `${console.url}${page}` }),
    });
  }

  /** Tells of the house once in the fleet; `told` names the piece of news. */
  async once(told: string, finding: Omit<HouseFinding, "id">): Promise<void> {
    const { newId } = this.#options;
    if (await this.#isFirst(finding.database ?? "", finding.user ?? "", told))
      this.aboutHouse({ id: newId(), ...finding });
  }

  /** What an event tells by itself: a limit that is hit again and again, or a fresh order. */
  observe(event: AuditEvent): void {
    if (event.kind === "statement") this.#limit(event);
    if (isMeasure(event)) this.#order(event);
  }

  #order({ kind, user, by, why, ordered, time }: MeasureEvent): void {
    // A rule that orders something sends an alert of its own.
    if (time - ordered > NEWS || /^(?:rule |canary$)/.test(by)) return;
    const least: Severity = kind === "suspension" ? "medium" : "info";
    const text = `${kind} of ${user}, ordered by ${by}: ${why}`;
    void this.once(`order ${kind} ${ordered}`, { rule: "order", time, user, text, least });
  }

  #limit(event: StatementEvent): void {
    const { sqlstate, rule = "", user, role, database, time } = event;
    const what =
      sqlstate === "53400" ? "budget" : MASS_WRITE.test(rule) && sqlstate === "54000" ? "changes" : undefined;
    if (what === undefined || event.decision === "observe") return;
    const key = JSON.stringify([database, role, user, rule, dayOf(time)]);
    const attempts = (this.#attempts.get(key) ?? 0) + 1;
    this.#attempts.set(key, attempts);
    if (attempts > 1 && attempts % EACH !== 0) return;
    const tell = () => this.#tellOfLimit(what, event, attempts);
    if (attempts > 1) tell();
    else
      void this.#isFirst(database, user, `${what} ${rule} ${dayOf(time)}`).then((first) => {
        if (first) tell();
      });
  }

  /** Where the fleet cannot be asked it is told twice rather than not at all. Never rejects. */
  #isFirst(database: string, whose: string, told: string): Promise<boolean> {
    const { claim, log } = this.#options;
    return claim(database, whose, told).catch((error: Error) => {
      log.warn({ problem: error.message }, "it is not known whether an alert was sent before");
      return true;
    });
  }

  #tellOfLimit(rule: "budget" | "changes", event: StatementEvent, attempts: number): void {
    const line = event.rule ?? "";
    const text =
      rule === "budget"
        ? attempts === 1
          ? `${line} is used up`
          : `${attempts} attempts today, past ${line}`
        : `${attempts === 1 ? "a statement" : `${attempts} statements today`} would have written ${event.rowsWritten ?? "more"} rows, past ${line}`;
    this.aboutUser({
      ...{ id: this.#options.newId(), rule, action: "alert", figure: attempts, ordinary: 0, text },
      ...placeOf(event),
      least: attempts > 1 ? "medium" : "low",
    });
  }

  #othersLike({ database, role, user, time }: Pick<Finding, "database" | "role" | "user" | "time">) {
    const others: string[] = [];
    for (const [where, what, who, when] of this.#told.values()) {
      if (where === database && what === role && who !== user && time - when < DAY) others.push(who);
      if (others.length === MOST_OTHERS) break;
    }
    return others;
  }
}

const MASS_WRITE = /\.changes$/;

/** About whom a finding is, and where they are; of a statement also its session and what it read. */
export type Place = Omit<Finding, "id" | "rule" | "action" | "figure" | "ordinary" | "text">;

/** Where and as whom a statement was run. */
export function placeOf(event: StatementEvent): Place & Required<Pick<Place, "session" | "application">> {
  const {
    time,
    user,
    account,
    role,
    database,
    client,
    session,
    application,
    reference,
    relations,
    revealed,
  } = event;
  const shown = revealed && [...new Set([...revealed.shown, ...revealed.shownWhere, ...revealed.found])];
  return {
    ...{ time, user, role, database, client, session, application },
    ...(account !== undefined && { account }),
    ...(reference !== undefined && { reference }),
    ...(relations.length > 0 && { tables: relations.slice(0, MOST_TABLES) }),
    ...(shown !== undefined && shown.length > 0 && { shown }),
  };
}

const MOST_TABLES = 20;
