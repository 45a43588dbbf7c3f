import type { AuditLog } from "../audit/event.ts";
import type { AlertDesk } from "../behaviour/alert-desk.ts";
import type { PolicySet } from "../policy/compile.ts";

export interface HouseWatchOptions {
  readonly alerts: AlertDesk;
  readonly audit: Pick<AuditLog, "ready">;
  readonly policies: () => PolicySet;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

const LOOK_EVERY = 1_000;

/** Tells of what happens to the guard itself: policies, counters, the audit log. */
export class HouseWatch {
  readonly #options: HouseWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #auditReady = true;

  constructor(options: HouseWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#lookAtAudit(), LOOK_EVERY);
    this.#timer.unref();
    this.#tellOfObserving(options.policies());
  }

  policyLoaded(policies: PolicySet): void {
    const { alerts, now } = this.#options;
    const text = `a policy was loaded: ${policies.version}`;
    void alerts.once(`policy ${policies.version}`, { rule: "policy", time: now(), text });
    this.#tellOfObserving(policies);
  }

  policyRejected(problems: number): void {
    const { alerts, now } = this.#options;
    const time = now();
    const text = `a changed policy has ${problems} ${problems === 1 ? "mistake" : "mistakes"}; the one in force stays`;
    // Each proxy reads the file itself, at about the same time.
    void alerts.once(`policy rejected ${Math.floor(time / 60_000)}`, {
      ...{ rule: "policy", time, text, least: "medium" },
    });
  }

  /** Redis has lost what was counted. */
  countersLost(database: string): void {
    const { alerts, now } = this.#options;
    const time = now();
    const text = "the counters came back empty: all budgets start again";
    void alerts.once(`counters ${Math.floor(time / 60_000)}`, { rule: "counters", time, database, text });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #tellOfObserving(policies: PolicySet): void {
    const { alerts, now } = this.#options;
    for (const database of [...policies.databases, ""]) {
      if (policies.forDatabase(database).mode !== "observe") continue;
      const where = database === "" ? "" : ` of database ${database}`;
      const text = `the policy${where} only observes: nothing is masked, nothing refused`;
      const time = now();
      void alerts.once(`observe ${Math.floor(time / 86_400_000)}`, { rule: "observe", time, database, text });
    }
  }

  #lookAtAudit(): void {
    const { alerts, audit, now } = this.#options;
    const { ready } = audit;
    if (!ready && this.#auditReady) {
      const text = "the audit log cannot be written";
      void alerts.once(`audit ${now()}`, { rule: "audit", time: now(), text });
    }
    this.#auditReady = ready;
  }
}
