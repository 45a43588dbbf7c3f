import type { Reached } from "../../orders/suspensions.ts";
import type { Action, FormResult } from "./page.ts";
import { logAction, logExportAction } from "./pages/audit-log.ts";
import { caseAction } from "./pages/cases.ts";
import { explainAction } from "./pages/explain.ts";
import { LEAK_BOUNDS, leakAction } from "./pages/leak.ts";
import { personAction } from "./pages/person.ts";
import { problemPage } from "./pages/problem.ts";
import type { FormBounds } from "./request.ts";
import { at } from "./routes.ts";

const LONGEST_REASON = 500;
/** Postgres cuts names at 63 bytes (docs, "Identifiers and Key Words"); of a longer one there is nobody. */
const LONGEST_NAME = 63;

const suspend: Action = async ({ visit, form, operations }) => {
  const { user, why } = orderOf(form);
  if (user === "" || why === "") {
    const problem = "Suspending needs a user and a reason. Nothing was done.";
    return { kind: "page", status: 400, page: problemPage(visit, problem) };
  }
  const reached = await operations.suspend(user, why, visit.by);
  return done(user, `${user} is suspended: open sessions end, new ones are refused.${caveat(reached)}`);
};

const resume: Action = async ({ visit, form, operations }) => {
  const { user, why } = orderOf(form);
  if (user === "" || why === "") {
    const problem = "Resuming needs a user and a reason. Nothing was done.";
    return { kind: "page", status: 400, page: problemPage(visit, problem) };
  }
  const reached = await operations.resume(user, why, visit.by);
  return done(user, `${user} may log in again.${caveat(reached)}`);
};

const end: Action = async ({ visit, form, operations }) => {
  const session = form.get("session") ?? "";
  const notice = (await operations.kill(session, visit.by))
    ? "The session is ended. Its user may log in again."
    : "No process has such a session. If its proxy does not answer, suspend its user.";
  return { kind: "done", to: at.session(session), notice };
};

/** By path. */
export const ACTIONS: ReadonlyMap<string, Action> = new Map<string, Action>([
  ["/console/suspend", suspend],
  ["/console/resume", resume],
  ["/console/end", end],
  ["/console/explain", explainAction],
  ["/console/person", personAction],
  ["/console/leak", leakAction],
  ["/console/case", caseAction],
  ["/console/log", logAction],
  ["/console/log-export", logExportAction],
]);

/** What a form of this path may be, where it may be more than others. */
export function boundsOf(path: string): FormBounds | undefined {
  return path === "/console/leak" ? LEAK_BOUNDS : undefined;
}

function orderOf(form: URLSearchParams) {
  const why = (form.get("why") ?? "").replace(/\s+/g, " ").trim().slice(0, LONGEST_REASON);
  const user = form.get("user") ?? "";
  return { user: Buffer.byteLength(user) > LONGEST_NAME ? "" : user, why };
}

function done(user: string, notice: string): FormResult {
  return { kind: "done", to: at.user(user), notice };
}

function caveat({ file, redis }: Reached): string {
  return file || redis ? "" : " It could not be written down: it holds in this process only, until it ends.";
}
