import { randomUUID } from "node:crypto";
import { type AuditLog, aroundLog, type MeasureEvent } from "../audit/event.ts";
import { openFileProfiles } from "../guard/behaviour/profile-file.ts";
import { RedisProfiles } from "../guard/behaviour/profile-redis.ts";
import { SequenceWatch } from "../guard/behaviour/sequence.ts";
import { SharedProfiles } from "../guard/behaviour/shared-profiles.ts";
import { type Alert, Behaviour } from "../guard/behaviour/watch.ts";
import { Webhook } from "../guard/behaviour/webhook.ts";
import type { BudgetSighting } from "../guard/budget-alerts.ts";
import { type CanarySighting, canaryText } from "../guard/canaries.ts";
import type { Measure } from "../guard/measures.ts";
import type { CounterStore } from "../guard/meter.ts";
import { withGrace } from "../guard/store-grace.ts";
import { withGrants, withReadings, withTightening } from "../guard/store-layers.ts";
import { createMemoryStore } from "../guard/store-memory.ts";
import { createRedisStore } from "../guard/store-redis.ts";
import { openSuspensions, type Suspensions } from "../guard/suspensions.ts";
import type { Keys } from "../keys.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { PolicySet } from "../policy/load.ts";
import type { Settings } from "../settings.ts";
import { profilesFile, redisOf, suspensionsFile } from "./control-arguments.ts";

/** What sessions meet of the guard. */
export interface Guard {
  readonly store: CounterStore;
  readonly suspensions: Suspensions;
  /** The audit log, whose statements the rules of behaviour look at on their way. */
  readonly audit: AuditLog;
  /** A decoy is about to be given out. */
  readonly onCanary: (sighting: CanarySighting) => void;
  /** A budget that only alerts is used up. */
  readonly onBudget: (sighting: BudgetSighting) => void;
  close(): Promise<void>;
}

export interface GuardParts {
  readonly settings: Settings;
  /** The counters, bare. It is closed with the guard. */
  readonly counters: CounterStore;
  readonly audit: AuditLog;
  readonly policies: () => PolicySet;
  readonly metrics: Pick<Metrics, "alert" | "redis">;
  readonly log: Log;
}

/** Puts suspensions, grace, tightening and the rules of behaviour around the counters and the audit log. */
export async function openGuard(parts: GuardParts): Promise<Guard> {
  const { settings, counters, audit, policies, metrics, log } = parts;
  const redis = redisOf(settings);
  const suspensions = await openSuspensions({
    file: suspensionsFile(settings),
    ...(redis === undefined ? {} : { redis: { ...redis, observe: metrics.redis("control") } }),
    log,
    onLearned: (measure) => audit.write(measureEvent(measure)),
  });
  const webhook = webhookOf(settings, log);
  const tell = (alert: Alert) => {
    metrics.alert(alert.role, alert.rule, alert.action);
    webhook?.send(alert);
  };
  const profiles = await openProfiles(
    settings,
    redis && { ...redis, observe: metrics.redis("profile") },
    log,
  );
  const behaviour = new Behaviour({
    profiles,
    role: (database, name) => policies().forDatabase(database).roles.get(name),
    measures: suspensions,
    onAlert: (alert) => {
      audit.write({ kind: "alert", ...alert });
      tell(alert);
    },
    log,
    newId: randomUUID,
  });
  const watch = new SequenceWatch((account, ids) => behaviour.walked(account, ids, Date.now()));
  const lenient = redis === undefined ? counters : withGrace(counters, { log });
  const granted = withGrants(lenient, (user) => suspensions.granted(user)?.more);
  const tightened = withTightening(granted, (user) => suspensions.tightened(user) !== undefined);
  const store = withReadings(tightened, (account, batch, rows) => watch.released(account, batch, rows));
  return {
    store,
    suspensions,
    audit: watched(audit, behaviour),
    onCanary(sighting) {
      const { time, user, role, database, client, session, application, action, canary } = sighting;
      const text = canaryText(sighting);
      const at = { time, user, role, database, client };
      const alert: Alert = { id: randomUUID(), rule: "canary", action, ...at, figure: 1, ordinary: 0, text };
      audit.write({ kind: "alert", ...alert, session, application, canary });
      log.warn(
        { rule: "canary", action, user, role, session, group: canary.group },
        "alert: a decoy was read",
      );
      tell(alert);
      // Not now: the session that tells of it is in the middle of a message.
      if (action === "suspend") queueMicrotask(() => void suspensions.suspend(user, text, "canary"));
    },
    onBudget({ time, user, role, database, client, session, application, used, limit, text }) {
      const at = { time, user, role, database, client };
      const what = { action: "alert", figure: used, ordinary: limit, text } as const;
      const alert: Alert = { id: randomUUID(), rule: "budget", ...at, ...what };
      audit.write({ kind: "alert", ...alert, session, application });
      log.warn({ rule: "budget", action: "alert", user, role, session }, "alert: a budget is used up");
      tell(alert);
    },
    async close() {
      await behaviour.settled();
      await profiles.close();
      await webhook?.close();
      await store.close();
      await suspensions.close();
    },
  };
}

/** In the fleet's Redis or, without one, in the audit folder. */
async function openProfiles(
  settings: Settings,
  redis: ReturnType<typeof redisOf>,
  log: Log,
): Promise<SharedProfiles> {
  let told = "";
  const onProblem = (problem: string) => {
    // It is tried again and again; the counters tell when Redis is back.
    if (problem !== told) log.warn({ problem }, "what is known of users' behaviour cannot be kept");
    told = problem;
  };
  const backend =
    redis === undefined
      ? await openFileProfiles({ path: profilesFile(settings), onProblem })
      : new RedisProfiles({ ...redis, onProblem });
  return new SharedProfiles({ backend, writer: randomUUID(), log });
}

function webhookOf({ alertWebhook: url, alertKey: key }: Settings, log: Log): Webhook | undefined {
  return url === undefined || key === undefined ? undefined : new Webhook({ url, key, log });
}

function measureEvent({ kind, inForce, user, by, why, at, until }: Measure): MeasureEvent {
  const kinds = {
    suspended: inForce ? "suspension" : "resumption",
    granted: inForce ? "grant" : "revocation",
    tightened: inForce ? "tightening" : "relaxation",
  } as const;
  const end = until === undefined ? {} : { until };
  return { kind: kinds[kind], time: Date.now(), user, by, why, ordered: at, ...end };
}

function watched(audit: AuditLog, behaviour: Behaviour): AuditLog {
  return aroundLog(audit, {
    write(event) {
      audit.write(event);
      if (event.kind === "statement") behaviour.observe(event);
    },
  });
}

/** The fleet's counters, or this process's own. */
export function openStore(settings: Settings, keys: Keys, metrics: Metrics, log: Log): CounterStore {
  const onUsed = metrics.budgetUsed;
  metrics.countersReady(settings.redis === undefined);
  if (settings.redis === undefined) return createMemoryStore({ onUsed });
  return createRedisStore({
    url: settings.redis,
    key: keys.counters,
    log,
    commandTimeout: settings.commandTimeout,
    onReady: (ready) => metrics.countersReady(ready),
    onUsed,
    observe: metrics.redis("charge"),
  });
}
