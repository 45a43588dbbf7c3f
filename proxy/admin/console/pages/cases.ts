import { OPERATOR_CHANGES, OUTCOMES, SEVERITIES } from "../../../cases/case-changes.ts";
import type { Said } from "../../../cases/case-desk.ts";
import type { Case } from "../../../cases/cases.ts";
import { maySend } from "../console-roles.ts";
import { type Html, html, type Value } from "../html.ts";
import type { Visit } from "../log-in.ts";
import type { Action, PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { formToken, layout, live } from "./layout.ts";
import { badge, choice, number, severityBadge, table, time, userLink } from "./pieces.ts";
import { problemPage } from "./problem.ts";

const SHOWN = 200;
export const LONGEST_TEXT = 2_000;

/** Alerts that somebody has to answer. */
export async function casesPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const isAll = query.get("show") === "all";
  const all = await operations.cases.list();
  const shown = all.filter(({ closedAt }) => isAll || closedAt === undefined);
  return layout({
    title: "Cases",
    place: "/console/cases",
    visit,
    notice,
    body: html`<form class="filter" method="get" action="/console/cases">
        <label for="show">Show</label>
        <select id="show" name="show">${choice("open", "Open cases", isAll ? "all" : "open")}${choice("all", "All, closed ones too", isAll ? "all" : "open")}</select>
        <button type="submit">Show</button>
      </form>
      ${live("cases", caseTable("Cases, the newest first", shown.slice(0, SHOWN), now))}
      <p class="quiet">An alert joins the open case of its user, or opens one. Orders and loads of a policy open none.</p>`,
  });
}

/** Cases as a table, each with a link to its page. */
export function caseTable(caption: string, cases: readonly Case[], now: number): Html {
  return table(
    caption,
    [
      { head: "Opened" },
      { head: "Case" },
      { head: "User" },
      { head: "State" },
      { head: "Owner" },
      { head: "Alerts", kind: "number" },
      { head: "Most severe alert", kind: "long" },
    ],
    cases.map((one) => [
      time(one.openedAt, now),
      html`<a href="${at.case(one.id)}" class="id">${one.id.slice(0, 8)}</a>`,
      whom(one),
      state(one),
      one.owner ?? html`<span class="quiet">nobody yet</span>`,
      number(one.alerts.length),
      gravest(one),
    ]),
    "No case.",
  );
}

/** One case: its alerts, what was done, and what can be done. */
export async function casePage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const id = (query.get("id") ?? "").slice(0, 100);
  const one = await operations.cases.find(id);
  if (one === undefined)
    return problemPage(visit, "There is no such case. The audit log has those of more than 400 days ago.");
  const { about, owner, openedAt, answeredAt, alerts, history } = one;
  return layout({
    title: `Case ${one.id.slice(0, 8)}`,
    place: "/console/cases",
    visit,
    notice,
    body: html`<dl class="facts">
        <div><dt>State</dt><dd>${state(one)}</dd></div>
        <div><dt>About</dt><dd>${whom(one)}</dd></div>
        <div><dt>Owner</dt><dd>${owner ?? "nobody yet"}</dd></div>
        <div><dt>Opened</dt><dd>${time(openedAt, now)}</dd></div>
        <div><dt>Answered</dt><dd>${answeredAt === undefined ? "not yet" : html`after ${lasting(answeredAt - openedAt)}`}</dd></div>
      </dl>
      ${about !== "" && nextSteps(one)}
      ${table(
        "Alerts of this case",
        [
          { head: "Time" },
          { head: "Severity" },
          { head: "Rule" },
          { head: "What", kind: "long" },
          { head: "Session" },
        ],
        alerts.map(({ time: when, severity: level, rule, text, session }) => [
          time(when, now),
          severityBadge(level),
          html`<span class="rule">${rule}</span>`,
          text,
          session !== undefined &&
            html`<a href="${at.log({ session })}" class="id">${session.slice(0, 8)}</a>`,
        ]),
        "None.",
      )}
      <h2>What was done</h2>
      ${table(
        "What operators did",
        [{ head: "Time" }, { head: "Who" }, { head: "What" }, { head: "Words", kind: "long" }],
        history.map(({ time: when, by, kind, text, outcome }) => [
          time(when, now),
          by,
          outcome === undefined ? kind : `${kind}: ${outcome}`,
          text,
        ]),
        "Nothing yet.",
      )}
      ${forms(one, visit)}`,
  });
}

/** From the alert to the notification: docs/officers-day.md. */
function nextSteps({ id, about, openedAt }: Case): Html {
  const day = new Date(openedAt).toISOString().slice(0, 10);
  return html`<ul class="steps">
    <li><a href="${at.user(about)}">Cut ${about} off, or see what they do now</a></li>
    <li><a href="${at.history(about)}">30 days: people per hour and day, timeline</a></li>
    <li><a href="${at.log({ user: about, since: `${day}T00:00` })}">All events of that day</a></li>
    <li><a href="${at.leak(id)}">Who read a leaked list of people?</a></li>
    <li>Figures and list for a notification, on the host of the log: <code>sluice audit breach --user ${about} --since ${day} --out case/</code></li>
  </ul>`;
}

function forms(one: Case, visit: Visit): Html {
  if (!maySend(visit.role, "/console/case"))
    return html`<p class="quiet">Only officers answer cases; you are logged in as ${visit.role}.</p>`;
  const isClosed = one.closedAt !== undefined;
  return html`${
    !isClosed &&
    html`<form class="order" method="post" action="/console/case">${hidden(one, visit, "owner")}
      <p class="why"><label for="owner">Owner</label>
        <input id="owner" name="text" value="${visit.by}" required maxlength="200" autocomplete="off"></p>
      <button type="submit">${one.owner === undefined ? "Take this case" : "Hand over"}</button></form>
    <form class="order" method="post" action="/console/case">${hidden(one, visit, "answer")}
      <p class="why"><label for="answer">Answer: what it was, or is being done</label>
        <input id="answer" name="text" required maxlength="${LONGEST_TEXT}" autocomplete="off"></p>
      <button type="submit">Answer</button></form>`
  }
    <form class="order" method="post" action="/console/case">${hidden(one, visit, "comment")}
      <p class="why"><label for="comment">Comment</label>
        <input id="comment" name="text" required maxlength="${LONGEST_TEXT}" autocomplete="off"></p>
      <button type="submit">Comment</button></form>
    ${
      !isClosed &&
      html`<form class="order" method="post" action="/console/case">${hidden(one, visit, "closed")}
      <p><label for="outcome">It was</label>
        <select id="outcome" name="outcome">${OUTCOMES.map((name) => choice(name, name, ""))}</select></p>
      <p class="why"><label for="closing">Why it is closed</label>
        <input id="closing" name="text" required maxlength="${LONGEST_TEXT}" autocomplete="off"></p>
      <button type="submit">Close this case</button></form>`
    }
    <p class="quiet">Each of these is an event of the audit log, under your name.</p>`;
}

function hidden({ id }: Case, visit: Visit, change: string): Html {
  return html`${formToken(visit)}<input type="hidden" name="case" value="${id}"><input type="hidden" name="change" value="${change}">`;
}

/** Owner, answer, comment, closing. */
export const caseAction: Action = async ({ visit, form, operations }) => {
  const id = (form.get("case") ?? "").slice(0, 100);
  const said = saidIn(form);
  if (said === undefined)
    return {
      kind: "page",
      status: 400,
      page: problemPage(visit, "Some words are needed. Nothing was done."),
    };
  const changed = await operations.cases.change(id, visit.by, said);
  if (!changed.ok)
    return { kind: "page", status: 409, page: problemPage(visit, `Nothing was done: ${changed.problem}.`) };
  const kept = changed.kept ? "" : " It could not be stored: this process keeps it until it ends.";
  return { kind: "done", to: at.case(id), notice: `${DONE[said.kind]}.${kept}` };
};

const DONE = {
  owner: "The case has an owner",
  answer: "The case is answered",
  comment: "The comment is there",
  closed: "The case is closed",
} as const;

function saidIn(form: URLSearchParams): Said | undefined {
  const text = (form.get("text") ?? "").replace(/\s+/g, " ").trim().slice(0, LONGEST_TEXT);
  const kind = OPERATOR_CHANGES.find((one) => one === form.get("change"));
  if (text === "" || kind === undefined) return undefined;
  if (kind !== "closed") return { kind, text };
  const outcome = OUTCOMES.find((one) => one === form.get("outcome"));
  return outcome && { kind, text, outcome };
}

function whom({ about }: Case): Value {
  return about === "" ? "Sluice itself" : userLink(about);
}

function state({ closedAt, outcome, answeredAt, owner }: Case): Html {
  if (closedAt !== undefined) return badge("good", `closed: ${outcome ?? ""}`);
  if (answeredAt !== undefined) return badge("warn", "answered");
  return owner === undefined ? badge("bad", "new") : badge("warn", "taken");
}

/** The most severe of its alerts; of several the first. */
function gravest({ alerts }: Case): Value {
  const level = SEVERITIES.findLast((one) => alerts.some((alert) => alert.severity === one));
  const alert = alerts.find((one) => one.severity === level);
  return alert && [severityBadge(alert.severity), ` ${alert.rule}: ${alert.text}`];
}

function lasting(milliseconds: number): string {
  const minutes = Math.round(milliseconds / 60_000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} days`;
}
