import { type FoundEvent, type Position, SEARCHED, type Searched } from "../../../audit/log-search.ts";
import type { LogSearch } from "../../log-questions.ts";
import type { Operations } from "../../operations.ts";
import { maySend } from "../console-roles.ts";
import { type Html, html } from "../html.ts";
import type { Visit } from "../log-in.ts";
import type { Action, PageContext, PageRequest } from "../page.ts";
import { formToken, layout } from "./layout.ts";
import { eventTable } from "./log-events.ts";
import { csvOf, jsonOf } from "./log-export.ts";
import { choice } from "./pieces.ts";

const PAGE = 100;
/** More than this is the command line's, or DuckDB's. */
const EXPORTED = 10_000;
const DAY = 86_400_000;
const DEFAULT_DAYS = 7;
const LONGEST = 500;

const NAMES: Readonly<Record<Searched, string>> = {
  all: "Everything",
  statements: "Statements",
  refusals: "Refused and cut off",
  alerts: "Alerts",
  orders: "Orders, cases and holds",
  sessions: "Logins and logouts",
  policies: "Policies loaded or rejected",
};

/** What stands in the form, as its fields have it. */
interface Fields {
  readonly user: string;
  readonly session: string;
  readonly statement: string;
  readonly reference: string;
  readonly kinds: Searched;
  readonly since: string;
  readonly until: string;
  /** Only in forms that are sent: no id stands in an address. */
  readonly id: string;
  readonly table: string;
}

/** Searches the audit log on disk. An address may name what is looked for, but no person. */
export async function logPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const fields = { ...fieldsOf(query, now), id: "" };
  const isAsked = ["user", "session", "statement", "reference", "kinds"].some((name) => query.get(name));
  const place = { visit, operations, now };
  return isAsked
    ? whole(place, fields, await search(place, fields, undefined), notice)
    : whole(place, fields, undefined, notice);
}

export const logAction: Action = async ({ visit, form, operations, now }) => {
  const fields = fieldsOf(form, now);
  const after = positionOf(form.get("after") ?? "");
  const place = { visit, operations, now };
  return { kind: "page", status: 200, page: whole(place, fields, await search(place, fields, after)) };
};

/** The same search as a file; more than a page of it. */
export const logExportAction: Action = async ({ visit, form, operations, now }) => {
  const fields = fieldsOf(form, now);
  const place = { visit, operations, now };
  const asked = searchOf(place, fields);
  const found =
    typeof asked === "string"
      ? ({ ok: false, problem: asked } as const)
      : await operations.questions.search({ ...asked, limit: EXPORTED, purpose: "export" });
  if (!found.ok) return { kind: "page", status: 200, page: whole(place, fields, found) };
  const { events, more, unreadable } = found.answer;
  const stamp = new Date(now).toISOString().slice(0, 16).replaceAll(/[-:]/g, "");
  return form.get("as") === "json"
    ? {
        ...{ kind: "file", name: `sluice-log-${stamp}.json`, contentType: "application/json; charset=utf-8" },
        text: jsonOf(events, { more, unreadable }),
      }
    : {
        ...{ kind: "file", name: `sluice-log-${stamp}.csv`, contentType: "text/csv; charset=utf-8" },
        text: csvOf(events, { more, unreadable }),
      };
};

type SearchAnswer = Awaited<ReturnType<Operations["questions"]["search"]>>;

async function search(
  place: PageContext,
  fields: Fields,
  after: Position | undefined,
): Promise<SearchAnswer> {
  const asked = searchOf(place, fields);
  if (typeof asked === "string") return { ok: false, problem: asked };
  return place.operations.questions.search({ ...asked, ...(after !== undefined && { after }) });
}

/** A text: what is wrong with the fields. */
function searchOf({ visit }: PageContext, fields: Fields): LogSearch | string {
  const since = timeOf(fields.since);
  const until = fields.until === "" ? Number.POSITIVE_INFINITY : timeOf(fields.until);
  if (since === undefined || until === undefined) return "A time has the form 2026-05-31T14:00";
  if (until <= since) return "The end lies before the beginning";
  const { user, session, statement, reference, id, table, kinds } = fields;
  if (id !== "" && !mayAskForPeople(visit)) return "Only officers ask about a person";
  return {
    ...{ by: visit.by, period: { since, until }, kinds, limit: PAGE, purpose: "search" },
    ...(user !== "" && { user }),
    ...(session !== "" && { session }),
    ...(statement !== "" && { statement }),
    ...(reference !== "" && { reference }),
    ...(id !== "" && { person: { id, namespace: table === "" ? undefined : table } }),
  };
}

function mayAskForPeople({ role }: Visit): boolean {
  return maySend(role, "/console/person");
}

function fieldsOf(given: URLSearchParams, now: number): Fields {
  const field = (name: string) => (given.get(name) ?? "").trim().slice(0, LONGEST);
  return {
    ...{ user: field("user"), session: field("session"), statement: field("statement") },
    ...{ reference: field("reference"), id: field("id"), table: field("table") },
    kinds: SEARCHED.find((one) => one === field("kinds")) ?? "all",
    since: field("since") || minuteOf(now - DEFAULT_DAYS * DAY),
    until: field("until"),
  };
}

/** As the fields of a browser for a time have it; UTC, as all times here. */
function minuteOf(time: number): string {
  return new Date(time).toISOString().slice(0, 16);
}

function timeOf(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?$/.test(text)) return undefined;
  const time = Date.parse(text.length === 10 ? `${text}T00:00Z` : `${text}Z`);
  return Number.isNaN(time) ? undefined : time;
}

function positionText({ time, sequence, writer }: FoundEvent): string {
  return `${time} ${sequence} ${writer}`;
}

function positionOf(text: string): Position | undefined {
  const [, time, sequence, writer = ""] = /^(\d{1,16}) (\d{1,16}) ([\w.-]{1,300})$/.exec(text) ?? [];
  return time === undefined ? undefined : { time: Number(time), sequence: Number(sequence), writer };
}

function whole(place: PageContext, fields: Fields, answer: SearchAnswer | undefined, notice?: string): Html {
  const { visit, now } = place;
  return layout({
    title: "Search the audit log",
    place: "/console/log",
    visit,
    notice,
    body: html`<p class="lead">Searches the whole audit log on this machine's disk, the newest first. Each search is recorded in
      the log, without the person's id. Times are UTC.</p>
      ${form(place, fields)}
      ${
        answer !== undefined &&
        html`<section class="answer" aria-labelledby="answer-heading" id="answer" tabindex="-1" data-focus>
        <h2 id="answer-heading">Found</h2>
        ${answer.ok ? answered(place, fields, answer.answer, now) : html`<p class="problem">${answer.problem}.</p>`}
      </section>`
      }`,
  });
}

function answered(
  { visit }: PageContext,
  fields: Fields,
  { events, more, unreadable }: Extract<SearchAnswer, { ok: true }>["answer"],
  now: number,
): Html {
  const last = events.at(-1);
  return html`${unreadable.length > 0 && html`<p class="problem">Not read, because they are damaged: ${unreadable.slice(0, 5).join(", ")}.</p>`}
    ${eventTable("Events of the log, the newest first", events, now)}
    <div class="buttons">
      ${more && last !== undefined && again("/console/log", visit, fields, "Older", { after: positionText(last) })}
      ${events.length > 0 && maySend(visit.role, "/console/log-export") && again("/console/log-export", visit, fields, "Export CSV", { as: "csv" })}
      ${events.length > 0 && maySend(visit.role, "/console/log-export") && again("/console/log-export", visit, fields, "Export JSON", { as: "json" })}
    </div>`;
}

/** The same search once more, as a button. */
function again(
  action: string,
  visit: Visit,
  fields: Fields,
  label: string,
  more: Readonly<Record<string, string>>,
): Html {
  return html`<form method="post" action="${action}">${formToken(visit)}
    ${Object.entries({ ...fields, ...more }).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
    <button type="submit">${label}</button></form>`;
}

function form({ visit, operations }: PageContext, fields: Fields): Html {
  const text = (name: keyof Fields, label: string) => html`<p><label for="${name}">${label}</label>
    <input id="${name}" name="${name}" value="${fields[name]}" maxlength="${LONGEST}" autocomplete="off" autocapitalize="none" spellcheck="false"></p>`;
  const moment = (name: "since" | "until", label: string) => html`<p><label for="${name}">${label}</label>
    <input id="${name}" name="${name}" type="datetime-local" value="${fields[name]}"></p>`;
  return html`<form class="ask" method="post" action="/console/log">
    ${formToken(visit)}
    <div class="fields">
      ${text("user", "User")}
      <p><label for="kinds">What</label>
        <select id="kinds" name="kinds">${SEARCHED.map((one) => choice(one, NAMES[one], fields.kinds))}</select></p>
      ${moment("since", "From")}
      ${moment("until", "Until")}
      ${text("statement", "Part of a statement")}
      ${text("reference", "Reference")}
      ${text("session", "Session")}
      ${
        mayAskForPeople(visit) &&
        html`${text("id", "Person's id")}
      <p><label for="table">People of</label>
        <select id="table" name="table">${operations.namespaces().map((name) => choice(name, name, fields.table))}</select></p>`
      }
    </div>
    <button type="submit">Search</button>
  </form>`;
}
