import type { Suspension } from "../../../orders/suspensions.ts";
import { maySend } from "../console-roles.ts";
import { type Html, html } from "../html.ts";
import type { Visit } from "../log-in.ts";
import { formToken } from "./layout.ts";
import { table, time, userLink } from "./pieces.ts";

/** For one user, or for whom the form names. */
export function suspendForm(visit: Visit, user: string | undefined): Html {
  if (!maySend(visit.role, "/console/suspend")) return notYours(visit);
  return html`<form class="order" method="post" action="/console/suspend">
    ${formToken(visit)}
    ${
      user === undefined
        ? html`<p><label for="suspend-user">User</label>
          <input id="suspend-user" name="user" required autocomplete="off" autocapitalize="none" spellcheck="false"></p>`
        : html`<input type="hidden" name="user" value="${user}">`
    }
    <p class="why"><label for="suspend-why">Reason, for the audit log</label>
      <input id="suspend-why" name="why" required maxlength="500" autocomplete="off" aria-describedby="suspend-what"></p>
    <button class="danger" type="submit">Suspend${user !== undefined && html` <bdi>${user}</bdi>`}</button>
    <p class="quiet" id="suspend-what">Open sessions end at once, on every proxy; new ones are refused until somebody
      resumes the user.</p>
  </form>`;
}

export function resumeForm(visit: Visit, user: string): Html {
  if (!maySend(visit.role, "/console/resume")) return notYours(visit);
  return html`<form class="order" method="post" action="/console/resume">
    ${formToken(visit)}<input type="hidden" name="user" value="${user}">
    <p class="why"><label for="resume-why">Reason, for the audit log</label>
      <input id="resume-why" name="why" required maxlength="500" autocomplete="off"></p>
    <button type="submit">Resume <bdi>${user}</bdi></button>
  </form>`;
}

function notYours({ role }: Visit): Html {
  return html`<p class="quiet">Only officers suspend and resume; you are logged in as ${role}.</p>`;
}

export function suspensionTable(suspensions: readonly Suspension[], now: number): Html {
  return table(
    "Suspended users",
    [{ head: "User" }, { head: "Since" }, { head: "By" }, { head: "Reason", kind: "long" }],
    suspensions.map(({ user, at, by, why }) => [userLink(user), time(at, now), by, why]),
    "Nobody is suspended.",
  );
}
