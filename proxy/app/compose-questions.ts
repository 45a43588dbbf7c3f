import type { AskedLeak, AskedPerson, LogAnswer, LogQuestions, LogSearch } from "../admin/log-questions.ts";
import { askPerson, findPerson } from "../audit/ask-person.ts";
import { auditKeys } from "../audit/audit-keys.ts";
import { TooSlow } from "../audit/engine.ts";
import type { AuditLog, QuestionEvent } from "../audit/event.ts";
import type { LeakAnswer } from "../audit/leak.ts";
import { searchLog } from "../audit/log-search.ts";
import { policyLoads } from "../audit/policy-loads.ts";
import { historyOf } from "../audit/user-history.ts";
import { deriveKeys } from "../keys/secret.ts";
import type { Log } from "../log.ts";
import type { Settings } from "../settings/settings.ts";
import { askInThread } from "./leak-desk.ts";
import { TOO_SLOW } from "./leak-task.ts";

interface Parts {
  readonly settings: Pick<Settings, "audit" | "key" | "consoleUpstream">;
  /** The compiled thread for leaked lists. */
  readonly leakThread: URL;
  readonly audit: Pick<AuditLog, "write" | "flush">;
  readonly log: Log;
  readonly now: () => number;
}

const DAY = 86_400_000;
/** A user's charts show so many days, today among them. */
const HISTORY_DAYS = 30;
/** An officer waits for a page no longer; the command line waits for as long as it takes. */
const PATIENCE = 60_000;

type Failed = { readonly ok: false; readonly problem: string };
type Event = Omit<QuestionEvent, "kind" | "time">;

/** Answers one question at a time, so that officers cannot use up the machine that serves clients. */
export function openQuestions({ settings, leakThread, audit, log, now }: Parts): LogQuestions {
  const keys = settings.key && auditKeys(deriveKeys(settings.key).audit);
  const { audit: folder } = settings;
  let isBusy = false;

  /** Does `work`, and puts the question on record before anybody sees the answer. */
  async function ask<T extends { readonly ok: boolean }>(
    event: Event | ((answer: T | Failed) => Event),
    work: () => Promise<T | Failed>,
  ): Promise<T | Failed> {
    if (isBusy) return { ok: false, problem: "another question is being answered; try again in a moment" };
    isBusy = true;
    try {
      // What was written just now is to be found, too.
      await audit.flush();
      const answer = await work();
      audit.write({
        kind: "question",
        time: now(),
        ...(typeof event === "function" ? event(answer) : event),
      });
      await audit.flush();
      return answer;
    } catch (error) {
      if (error instanceof TooSlow) return { ok: false, problem: TOO_SLOW };
      const problem = error instanceof Error ? error.message : "unknown";
      log.error({ problem }, "a question to the audit log was not answered");
      return { ok: false, problem: "the log could not be queried; the proxy's own log has the reason" };
    } finally {
      isBusy = false;
    }
  }

  async function search({
    by,
    purpose,
    person,
    ...asked
  }: LogSearch): Promise<Awaited<ReturnType<LogQuestions["search"]>>> {
    if (person !== undefined && keys === undefined) return NO_SECRET;
    const { period, user } = asked;
    const event = {
      ...{ by, question: purpose, since: period.since },
      ...(Number.isFinite(period.until) && { until: period.until }),
      ...(user !== undefined && { about: user }),
      ...(person !== undefined && { people: 1 }),
    };
    return ask(event, async () => {
      let people: readonly string[] | undefined;
      if (person !== undefined && keys !== undefined) {
        const found = await findPerson({ folder, keys, period, patience: PATIENCE, ...person });
        if (!found.ok) return found;
        people = found.hashes;
      }
      return answered(
        await searchLog({ folder, patience: PATIENCE, ...asked, ...(people !== undefined && { people }) }),
      );
    });
  }

  async function leak({ by, list, namespace, period, counted }: AskedLeak): Promise<LeakAnswer> {
    const { key, consoleUpstream: upstream } = settings;
    if (key === undefined) return NO_SECRET;
    const event = (answer: LeakAnswer): Event => ({
      ...{ by, question: "who-read", since: period.since },
      ...(Number.isFinite(period.until) && { until: period.until }),
      ...(answer.people !== undefined && { people: answer.people }),
    });
    return ask<LeakAnswer>(event, async () => {
      const auditKey = Uint8Array.from(deriveKeys(key).audit);
      const task = { ...list, folder, auditKey, namespace, period, counted, upstream, patience: PATIENCE };
      const answer = await askInThread(leakThread, task);
      if (!answer.ok && answer.why !== undefined)
        log.error({ problem: answer.why }, "a question to the audit log was not answered");
      return answer;
    });
  }

  return {
    search,
    leak,
    asksDatabase: settings.consoleUpstream !== undefined,
    async person({ by, period, ...asked }: AskedPerson) {
      if (keys === undefined) return NO_SECRET;
      return ask({ by, question: "subject", people: 1, since: period.since }, () =>
        askPerson({ folder, keys, period, patience: PATIENCE, ...asked }),
      );
    },
    history(user, by) {
      const time = now();
      const since = (Math.floor(time / DAY) - HISTORY_DAYS + 1) * DAY;
      return ask({ by, question: "history", about: user, since }, async () =>
        answered(
          await historyOf({
            ...{ folder, user, now: time, patience: PATIENCE },
            period: { since, until: Number.POSITIVE_INFINITY },
          }),
        ),
      );
    },
    policyLoads(days, by) {
      const since = now() - days * DAY;
      return ask({ by, question: "policies", since }, async () =>
        answered(await policyLoads(folder, { since, until: Number.POSITIVE_INFINITY }, PATIENCE)),
      );
    },
  };
}

const NO_SECRET = {
  ok: false,
  problem: "this proxy has no secret (--key-file), so its log cannot be asked about people",
} as const;

function answered<T>(answer: T): LogAnswer<T> {
  return { ok: true, answer };
}
