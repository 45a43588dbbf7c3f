import { maySend } from "../console-roles.ts";
import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { recentOnly } from "./alerts.ts";
import { formToken, layout, live } from "./layout.ts";
import { badge, time, userLink } from "./pieces.ts";
import { openSessions, runningTable } from "./sessions.ts";
import { statementTable } from "./statements.ts";

const DAY = 86_400_000;

/** One session: who it is, and what it ran. */
export async function sessionPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const id = query.get("id") ?? "";
  const [all, running, { items: statements, others }] = await Promise.all([
    openSessions(operations),
    operations.running(),
    operations.statements({ session: id }),
  ]);
  const open = all?.find((session) => session.id === id);
  const [last] = statements;
  const who = open ?? last;
  return layout({
    title: `Session ${id.slice(0, 8)}`,
    place: "/console/sessions",
    visit,
    notice,
    body: html`${live(
      "session",
      html`<dl class="facts">
        <div><dt>State</dt><dd>${open === undefined ? badge("quiet", "not open") : badge("good", "open")}</dd></div>
        ${who !== undefined && facts({ ...who, address: open?.address ?? last?.client ?? "" })}
        ${open !== undefined && html`<div><dt>Since</dt><dd>${time(open.since, now)}</dd></div>`}
        <div><dt>Id</dt><dd><code>${id}</code></dd></div>
      </dl>
      ${runningTable(running.filter(({ session }) => session === id))}
      ${statementTable("Statements, the newest first; literals are taken out", statements, now)}
      ${recentOnly(others)}
      <p><a href="${at.log({ session: id, since: new Date((open?.since ?? now) - DAY).toISOString().slice(0, 16) })}">This session in the audit log</a></p>`,
    )}
    ${
      open !== undefined &&
      maySend(visit.role, "/console/end") &&
      html`<form class="order" method="post" action="/console/end">
        ${formToken(visit)}<input type="hidden" name="session" value="${id}">
        <button class="danger" type="submit">End this session</button>
        <p class="quiet">Its user may log in again at once. To keep the user out, suspend ${userLink(open.user)}.</p>
      </form>`
    }`,
  });
}

interface Who {
  readonly user: string;
  readonly role: string;
  readonly database: string;
  readonly address: string;
  readonly application: string;
}

function facts({ user, role, database, address, application }: Who): Html {
  return html`<div><dt>User</dt><dd>${userLink(user)}</dd></div>
    <div><dt>Role</dt><dd><bdi>${role}</bdi></dd></div>
    <div><dt>Database</dt><dd><bdi>${database}</bdi></dd></div>
    <div><dt>Address</dt><dd>${address}</dd></div>
    <div><dt>Application</dt><dd><bdi>${application}</bdi></dd></div>`;
}
