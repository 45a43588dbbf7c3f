import type { Operations } from "../admin/operations.ts";
import { askPerson } from "../audit/ask-person.ts";
import type { AuditLog } from "../audit/event.ts";
import { auditKeys } from "../audit/keys.ts";
import { deriveKeys } from "../keys/keys.ts";
import type { Log } from "../log.ts";
import type { Settings } from "../settings/settings.ts";

interface Parts {
  readonly settings: Pick<Settings, "audit" | "key">;
  readonly audit: Pick<AuditLog, "write" | "flush">;
  readonly log: Log;
  readonly now: () => number;
}

/** Answers one question at a time, so that officers cannot use up the machine that serves clients. */
export function openQuestions({ settings, audit, log, now }: Parts): Operations["askPerson"] {
  const keys = settings.key && auditKeys(deriveKeys(settings.key).audit);
  let isBusy = false;
  return async ({ by, period, ...asked }) => {
    if (keys === undefined)
      return { ok: false, problem: "this proxy has no secret (--key-file), so its log cannot be asked" };
    if (isBusy) return { ok: false, problem: "another question is being answered; try again in a moment" };
    isBusy = true;
    try {
      const answer = await askPerson({ folder: settings.audit, keys, period, ...asked });
      // On disk before anybody sees the answer.
      audit.write({ kind: "question", time: now(), by, question: "subject", people: 1, since: period.since });
      await audit.flush();
      return answer;
    } catch (error) {
      const problem = error instanceof Error ? error.message : "unknown";
      log.error({ problem }, "a question to the audit log was not answered");
      return { ok: false, problem: "the log could not be asked; the proxy's own log says why" };
    } finally {
      isBusy = false;
    }
  };
}
