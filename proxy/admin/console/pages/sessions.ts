import type { RunningInfo, SessionInfo } from "../../../fleet/session-registry.ts";
import type { Operations } from "../../operations.ts";
import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { layout, live } from "./layout.ts";
import { badge, code, number, table, time, userLink } from "./pieces.ts";

/** Who is connected. */
export async function sessionsPage({ visit, notice, operations, now }: PageRequest): Promise<Html> {
  const [open, running] = await Promise.all([openSessions(operations), operations.running()]);
  return layout({
    title: "Sessions",
    place: "/console/sessions",
    visit,
    notice,
    body: live(
      "sessions",
      html`<p class="lead">${summary(open)} ${reach(operations)}</p>
      ${runningTable(running)}
      ${open === undefined ? unreachable() : sessionTable(open, operations, now)}`,
    ),
  });
}

/** What runs at this moment, without literals. */
export function runningTable(running: readonly RunningInfo[]): Html {
  return table(
    "Statements that run now, the longest first",
    [
      { head: "For" },
      { head: "User" },
      { head: "Statement", kind: "long" },
      { head: "Database" },
      { head: "Session" },
    ],
    running.map(({ session, user, role, database, statement, duration }) => [
      `${(duration / 1000).toFixed(1)} s`,
      [userLink(user), html` <small><bdi>${role}</bdi></small>`],
      statement === "" ? html`<span class="quiet">not SQL that could be read</span>` : code(statement),
      html`<bdi>${database}</bdi>`,
      html`<a href="${at.session(session)}" class="id" aria-label="Session ${session}">${session.slice(0, 8)}</a>`,
    ]),
    "No statement runs at this moment.",
  );
}

/** Undefined while the fleet's Redis cannot be read. */
export function openSessions(operations: Operations): Promise<readonly SessionInfo[] | undefined> {
  return operations.sessions().catch(() => undefined);
}

export function unreachable(): Html {
  return html`<p class="problem">The fleet's sessions cannot be read: Redis may be away. Suspending works, and holds
    in this process at least.</p>`;
}

export function sessionTable(open: readonly SessionInfo[], operations: Operations, now: number): Html {
  const suspended = new Set(operations.suspended().map(({ user }) => user));
  return table(
    "Open sessions, the oldest first",
    [
      { head: "User" },
      { head: "Role" },
      { head: "Database" },
      { head: "Address" },
      { head: "Application", kind: "long" },
      { head: "Since" },
      { head: "Session" },
    ],
    open.map(({ id, user, role, database, address, application, since }) => [
      [userLink(user), suspended.has(user) && html` ${badge("bad", "suspended")}`],
      html`<bdi>${role}</bdi>`,
      html`<bdi>${database}</bdi>`,
      address,
      html`<bdi>${application}</bdi>`,
      time(since, now),
      html`<a href="${at.session(id)}" class="id" aria-label="Statements of session ${id}">${id.slice(0, 8)}</a>`,
    ]),
    "Nobody is connected.",
  );
}

function summary(open: readonly SessionInfo[] | undefined): string {
  if (open === undefined) return "";
  const users = new Set(open.map(({ user }) => user)).size;
  return `${number(open.length)} ${open.length === 1 ? "session" : "sessions"} of ${number(users)} ${users === 1 ? "user" : "users"}.`;
}

function reach({ fleet }: Operations): string {
  return fleet
    ? "Of all proxies and workers; those of others are updated every two seconds."
    : "Of this process only: without --redis it knows no other.";
}
