import type { PersonAnswer } from "../../../audit/ask-person.ts";
import type { Operations } from "../../operations.ts";
import { maySend } from "../console-roles.ts";
import { type Html, html } from "../html.ts";
import type { Visit } from "../log-in.ts";
import type { Action, PageContext, PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { formToken, layout } from "./layout.ts";
import { choice, code, number, table, time, userLink } from "./pieces.ts";

/** What the form contains. */
interface Asking {
  readonly id: string;
  readonly namespace: string;
  readonly days: number;
}

const PERIODS = [7, 30, 90, 400] as const;
const DAY = 86_400_000;
const LONGEST_ID = 200;
/** More events than an officer reads; the command line has all. */
const SHOWN = 500;

/** Who read this customer? */
export function personPage({ visit, notice, operations, now }: PageRequest): Html {
  return whole({ visit, operations, now }, { id: "", namespace: "", days: 90 }, undefined, notice);
}

/** Sent as a form, so that the id is in no address and no browser history. */
export const personAction: Action = async ({ visit, form, operations, now }) => {
  const days = PERIODS.find((one) => String(one) === form.get("days")) ?? 90;
  const id = (form.get("id") ?? "").trim().slice(0, LONGEST_ID);
  const asking = { id, namespace: form.get("table") ?? "", days };
  const answer: PersonAnswer =
    id === ""
      ? { ok: false, problem: "Enter the id of a person" }
      : await operations.questions.person({
          ...{ id, by: visit.by, period: { since: now - days * DAY, until: Number.POSITIVE_INFINITY } },
          namespace: asking.namespace === "" ? undefined : asking.namespace,
        });
  return { kind: "page", status: 200, page: whole({ visit, operations, now }, asking, answer) };
};

function whole(
  { visit, operations, now }: PageContext,
  asking: Asking,
  answer: PersonAnswer | undefined,
  notice?: string,
): Html {
  return layout({
    title: "Who read this person?",
    place: "/console/person",
    visit,
    notice,
    body: html`<p class="lead">Searches the whole audit log of this machine. The question is recorded in the log, without the id. For a whole list: <a href="/console/leak">who read a leaked list?</a></p>
      ${maySend(visit.role, "/console/person") ? form(visit, operations, asking) : html`<p class="quiet">Only officers ask about a person; you are logged in as ${visit.role}.</p>`}
      ${
        answer !== undefined &&
        html`<section class="answer" aria-labelledby="answer-heading" id="answer" tabindex="-1" data-focus>
        <h2 id="answer-heading">Answer</h2>
        ${answer.ok ? answered(answer, now) : html`<p class="problem">${answer.problem}.</p>`}
      </section>`
      }`,
  });
}

function form(visit: Visit, operations: Operations, asking: Asking): Html {
  return html`<form class="ask" method="post" action="/console/person">
    ${formToken(visit)}
    <div class="fields">
      <p><label for="id">Id</label>
        <input id="id" name="id" value="${asking.id}" required maxlength="${LONGEST_ID}" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
      <p><label for="table">People of</label>
        <select id="table" name="table">${operations.namespaces().map((name) => choice(name, name, asking.namespace))}</select></p>
      <p><label for="days">Within</label>
        <select id="days" name="days">${PERIODS.map((days) => choice(String(days), `${days} days`, String(asking.days)))}</select></p>
    </div>
    <button type="submit">Search the log</button>
  </form>`;
}

function answered({ events, notCovered, namespace }: Extract<PersonAnswer, { ok: true }>, now: number): Html {
  const users = new Set(events.map(({ user }) => user));
  return html`<p class="verdict">${
    events.length === 0
      ? "No statement that this log names people for has read them."
      : `${number(events.length)} ${events.length === 1 ? "statement" : "statements"} of ${number(users.size)} ${users.size === 1 ? "user" : "users"} read this person.`
  }</p>
    ${table(
      `Statements that read this person of ${namespace}, the newest first`,
      [
        { head: "Time" },
        { head: "User" },
        { head: "From" },
        { head: "In the clear" },
        { head: "People", kind: "number" },
        { head: "Statement", kind: "long" },
        { head: "Session" },
      ],
      events
        .toReversed()
        .slice(0, SHOWN)
        .map((event) => [
          time(event.time, now),
          userLink(event.user),
          html`${event.address} <small>${event.application}</small>`,
          event.classes === null ? "not recorded" : event.classes.join(", ") || "nothing",
          number(event.people),
          code(event.statement),
          html`<a href="${at.session(event.session)}" class="id" aria-label="Session ${event.session}">${event.session.slice(0, 8)}</a>`,
        ]),
      "Nobody.",
    )}
    ${events.length > SHOWN && html`<p class="quiet">The newest ${number(SHOWN)} are shown; "sluice audit subject" has all.</p>`}
    <h3>Not covered</h3>
    <ul>${notCovered.map((line) => html`<li>${line}</li>`)}</ul>`;
}
