import { randomUUID } from "node:crypto";
import { at } from "../admin/console/routes.ts";
import { auditKeys } from "../audit/audit-keys.ts";
import {
  type AlertEvent,
  type AuditLog,
  aroundLog,
  type CaseEvent,
  type MeasureEvent,
} from "../audit/event.ts";
import { readHolds } from "../audit/holds.ts";
import type { Alert, AlertRule } from "../behaviour/alert.ts";
import { AlertDesk } from "../behaviour/alert-desk.ts";
import { Behaviour } from "../behaviour/behaviour-watch.ts";
import { FenceWatch } from "../behaviour/fence.ts";
import { openFileProfiles } from "../behaviour/profile-file.ts";
import { RedisProfiles } from "../behaviour/profile-redis.ts";
import { SequenceWatch } from "../behaviour/sequence.ts";
import { SharedProfiles } from "../behaviour/shared-profiles.ts";
import { Webhook } from "../behaviour/webhook.ts";
import { type CanarySighting, canaryText } from "../canaries/canaries.ts";
import type { Change } from "../cases/case-changes.ts";
import { CaseDesk } from "../cases/case-desk.ts";
import type { Case, Held } from "../cases/cases.ts";
import { deriveKeys, type Keys } from "../keys/secret.ts";
import type { Log } from "../log.ts";
import type { BudgetSighting } from "../meter/budget-alerts.ts";
import type { CounterStore } from "../meter/meter.ts";
import { withGrace } from "../meter/store-grace.ts";
import { withGrants, withReadings, withTightening } from "../meter/store-layers.ts";
import { createMemoryStore } from "../meter/store-memory.ts";
import { createRedisStore } from "../meter/store-redis.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Measure } from "../orders/measures.ts";
import { openSuspensions, type Suspensions } from "../orders/suspensions.ts";
import type { PolicySet } from "../policy/compile.ts";
import type { Settings } from "../settings/settings.ts";
import { HouseWatch } from "./house-watch.ts";
import { type OrdersByName, ordersByName } from "./orders-by-name.ts";
import { casesFile, profilesFile, redisOf, suspensionsFile } from "./state-places.ts";

/** The parts of the guard that sessions use. */
export interface Guard {
  readonly store: CounterStore;
  readonly suspensions: Suspensions;
  readonly orders: OrdersByName;
  /** Alerts that somebody has to answer. */
  readonly cases: CaseDesk;
  /** The audit log; the rules of behaviour see its statements on the way. */
  readonly audit: AuditLog;
  /** Called when a decoy is about to be released. */
  readonly onCanary: (sighting: CanarySighting) => void;
  /** Called when a budget that only alerts is used up. */
  readonly onBudget: (sighting: BudgetSighting) => void;
  /** Tells of what happens to the guard itself. */
  readonly house: HouseWatch;
  close(): Promise<void>;
}

export interface GuardParts {
  readonly settings: Settings;
  /** The counters without layers around them. Closed with the guard. */
  readonly counters: CounterStore;
  readonly audit: AuditLog;
  readonly policies: () => PolicySet;
  readonly metrics: Pick<Metrics, "alert" | "alertDelivery" | "redis" | "caseAnswered">;
  readonly log: Log;
}

/** Adds suspensions, grace, tightening and the rules of behaviour to the counters and the audit log. */
export async function openGuard(parts: GuardParts): Promise<Guard> {
  const { settings, counters, audit, policies, metrics, log } = parts;
  const redis = redisOf(settings);
  let desk: AlertDesk | undefined;
  const suspensions = await openSuspensions({
    file: suspensionsFile(settings),
    ...(redis === undefined ? {} : { redis: { ...redis, observe: metrics.redis("control") } }),
    log,
    onLearned: (measure) => {
      const event = measureEvent(measure);
      audit.write(event);
      desk?.observe(event);
    },
  });
  const cases = new CaseDesk({
    file: casesFile(settings),
    ...(redis === undefined ? {} : { redis: { ...redis, observe: metrics.redis("cases") } }),
    held: () => heldPeriods(settings),
    ...{ log, newId: randomUUID, now: Date.now },
    onChange(change, of) {
      audit.write(caseEvent(change, of));
      if (change.kind !== "alert" && of.answeredAt === change.time)
        metrics.caseAnswered((change.time - of.openedAt) / 1000);
    },
  });
  const webhook = webhookOf(settings, log, metrics.alertDelivery);
  const profiles = await openProfiles(
    settings,
    redis && { ...redis, observe: metrics.redis("profile") },
    log,
  );
  const behaviour = new Behaviour({
    profiles,
    role: (database, name) => policies().forDatabase(database).roles.get(name),
    measures: suspensions,
    onFinding: (finding) => alerts.aboutUser(finding),
    log,
    newId: randomUUID,
  });
  const alerts = new AlertDesk({
    today: (...whose) => behaviour.today(...whose),
    claim: (...news) => profiles.claim(...news),
    onFinding: (finding, severity) => audit.write({ kind: "alert", ...finding, severity }),
    onAlert: (alert) => {
      if (isCounted(alert)) metrics.alert(alert.role ?? "", alert.rule, alert.action);
      if (OFF_RECORD.has(alert.rule)) audit.write(houseEvent(alert));
      webhook?.send(alert);
      if (!ANNOUNCEMENTS.has(alert.rule)) gather(cases, alert);
    },
    newId: randomUUID,
    log,
    ...(settings.consoleUrl !== undefined && {
      console: { url: settings.consoleUrl.replace(/\/$/, ""), user: at.user },
    }),
  });
  desk = alerts;
  const house = new HouseWatch({ alerts, audit, policies, now: Date.now });
  const fences = new FenceWatch({
    fence: (database, account) => policies().forDatabase(database).fences.get(account),
    onSighting({ event, account, outside, figure, ordinary, text }) {
      const { time, user, role, database, client, session, application } = event;
      log.warn(
        { rule: "fence", user: account, role, session, text },
        "a statement is outside of an account's fence",
      );
      if (outside === "observe") return;
      const at = { time, role, database, client, session, application };
      const what = { rule: "fence", action: "alert", figure, ordinary, text } as const;
      alerts.aboutUser({ id: randomUUID(), ...at, ...what, user, ...(user !== account && { account }) });
    },
  });
  const watch = new SequenceWatch((account, ids) => behaviour.walked(account, ids, Date.now()));
  const lenient = redis === undefined ? counters : withGrace(counters, { log });
  const orders = ordersByName(suspensions, policies);
  const granted = withGrants(lenient, (user) => orders.granted(user)?.more);
  const tightened = withTightening(granted, (user) => suspensions.tightened(user) !== undefined);
  const store = withReadings(tightened, (account, batch, rows) => watch.released(account, batch, rows));
  return {
    store,
    suspensions,
    orders,
    cases,
    audit: watched(audit, behaviour, alerts, fences),
    house,
    onCanary(sighting) {
      const { user, role, session, action, canary } = sighting;
      const text = canaryText(sighting);
      log.warn(
        { rule: "canary", action, user, role, session, group: canary.group },
        "alert: a decoy was read",
      );
      alerts.aboutUser({ ...sighting, id: randomUUID(), rule: "canary", figure: 1, ordinary: 0, text });
      // Not immediately: the session that reports it is in the middle of a message.
      if (action === "suspend") queueMicrotask(() => void suspensions.suspend(user, text, "canary"));
    },
    onBudget({ used, limit, ...sighting }) {
      const { user, role, session } = sighting;
      log.warn({ rule: "budget", action: "alert", user, role, session }, "alert: a budget is used up");
      const what = {
        rule: "budget",
        action: "alert",
        figure: used,
        ordinary: limit,
        least: "medium",
      } as const;
      alerts.aboutUser({ id: randomUUID(), ...sighting, ...what });
    },
    async close() {
      house.close();
      await behaviour.settled();
      await profiles.close();
      await webhook?.close();
      await store.close();
      await suspensions.close();
      await cases.close();
    },
  };
}

/** Stores profiles in the fleet's Redis or, without one, in the audit folder. */
async function openProfiles(
  settings: Settings,
  redis: ReturnType<typeof redisOf>,
  log: Log,
): Promise<SharedProfiles> {
  let told = "";
  const onProblem = (problem: string) => {
    // Writing is retried; the counters report when Redis is back.
    if (problem !== told) log.warn({ problem }, "what is known of users' behaviour cannot be kept");
    told = problem;
  };
  const backend =
    redis === undefined
      ? await openFileProfiles({ path: profilesFile(settings), onProblem })
      : new RedisProfiles({ ...redis, onProblem });
  return new SharedProfiles({ backend, writer: randomUUID(), log });
}

function webhookOf(settings: Settings, log: Log, onDelivery: Metrics["alertDelivery"]): Webhook | undefined {
  const { alertWebhook: url, alertKey: key, alertFormat: format, alertRoutingKey: routingKey } = settings;
  if (url === undefined) return undefined;
  return new Webhook({
    ...{ url, format, log, onDelivery },
    ...(key !== undefined && { key }),
    ...(routingKey !== undefined && { routingKey }),
  });
}

/** Prometheus rules page an operator for each one that is counted: not for orders, policies and a budget that does its work. */
function isCounted({ role, rule, severity }: Alert): boolean {
  return role !== undefined && !(rule === "budget" && severity === "low");
}

/** Of these no other event tells. */
const OFF_RECORD: ReadonlySet<AlertRule> = new Set(["counters", "observe", "audit"]);

/** They tell what operators did: nobody has to answer them. */
/** Of legal holds in force. Without the secret nothing tells who lifted one: it stays. */
async function heldPeriods({ audit, key }: Settings): Promise<readonly Held[]> {
  const keys = key && auditKeys(deriveKeys(key).audit);
  const { inForce } = await readHolds(audit, new Map(keys && [[keys.id, keys.publicKey]]));
  return inForce.map(({ period }) => period);
}

const ANNOUNCEMENTS: ReadonlySet<AlertRule> = new Set(["order", "policy"]);

function gather(
  cases: CaseDesk,
  { id, time, user = "", database = "", rule, severity, text, session }: Alert,
): void {
  cases.gather({
    ...{ id, time, about: user, database, rule, severity, text },
    ...(session !== undefined && { session }),
  });
}

function caseEvent(change: Change, { id, about }: Case): CaseEvent {
  const { time } = change;
  if (change.kind === "alert")
    return {
      kind: "case",
      time,
      by: "sluice",
      id,
      change: "opened",
      about,
      text: `${change.rule}: ${change.text}`,
    };
  const { kind, by, text, outcome } = change;
  const words = outcome === undefined ? text : `${outcome}: ${text}`;
  return { kind: "case", time, by, id, change: kind, about, text: words };
}

function houseEvent({ id, time, rule, action, severity, database = "", text }: Alert): AlertEvent {
  const nobody = { user: "sluice", role: "", client: "local" };
  return { kind: "alert", id, time, rule, action, severity, database, text, ...nobody };
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

function watched(audit: AuditLog, behaviour: Behaviour, alerts: AlertDesk, fences: FenceWatch): AuditLog {
  return aroundLog(audit, {
    write(event) {
      audit.write(event);
      if (event.kind !== "statement") return;
      behaviour.observe(event);
      alerts.observe(event);
      fences.observe(event);
    },
  });
}

/** The fleet's counters, or those of this process. */
export function openStore(
  settings: Settings,
  keys: Keys,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Log },
  onLost: (database: string) => void,
): CounterStore {
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
    onLost,
    observe: metrics.redis("charge"),
  });
}
