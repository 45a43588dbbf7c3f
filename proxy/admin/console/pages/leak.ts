import { coverageLines } from "../../../audit/coverage-lines.ts";
import type { LeakAnswer, LeakList } from "../../../audit/leak.ts";
import { listText } from "../../../audit/subject-list.ts";
import { timeOf } from "../../../audit/time-text.ts";
import {
  CHANCE_WORDS,
  conclusion,
  headLines,
  SUSPECT_HEADS,
  suspectRow,
} from "../../../audit/who-read-words.ts";
import type { Case } from "../../../cases/cases.ts";
import type { AskedLeak } from "../../log-questions.ts";
import type { Operations } from "../../operations.ts";
import { maySend } from "../console-roles.ts";
import { type Html, html, type Value } from "../html.ts";
import type { Visit } from "../log-in.ts";
import type { Action, PageContext, PageRequest } from "../page.ts";
import type { FormBounds } from "../request.ts";
import { at } from "../routes.ts";
import { LONGEST_TEXT } from "./cases.ts";
import { formToken, layout } from "./layout.ts";
import { choice, number, table, userLink } from "./pieces.ts";

/** A list of 50,000 people has some 1.5 MB with their names and addresses. */
export const LEAK_BOUNDS: FormBounds = { longest: 3 * 1024 * 1024, takesFile: true };

const PATH = "/console/leak";
const DAY = 86_400_000;
const DEFAULT_DAYS = 90;
const LONGEST = 200;
/** More suspects than an officer reads; the command line has all. */
const SHOWN = 50;

/** What stands in the form. The list itself stands in no answer. */
interface Fields {
  readonly table: string;
  readonly column: string;
  readonly called: string;
  readonly match: string;
  readonly like: string;
  readonly needs: readonly string[];
  readonly unexplained: boolean;
  readonly since: string;
  readonly until: string;
  readonly case: string;
}

/** What came of it. */
interface Found {
  readonly asked: AskedLeak;
  readonly answer: LeakAnswer;
  /** The case that the answer was attached to. */
  readonly attached: string | undefined;
}

/** Who read the people of a leaked list? */
export async function leakPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const fields = {
    ...fieldsOf(new URLSearchParams(), now),
    case: (query.get("case") ?? "").slice(0, LONGEST),
  };
  return whole({ visit, operations, now }, fields, undefined, notice);
}

/** Sent as a form and answered at once: the list is neither in an address nor kept. */
export const leakAction: Action = async ({ visit, form, file, operations, now }) => {
  const fields = fieldsOf(form, now);
  const place = { visit, operations, now };
  const asked = askedOf(visit, fields, listOf(form.get("list") ?? "", file));
  if (typeof asked === "string") return answered(400, await whole(place, fields, asked));
  const chosen = fields.case === "" ? undefined : await operations.cases.find(fields.case);
  if (fields.case !== "" && chosen === undefined)
    return answered(400, await whole(place, fields, "There is no such case. The log was not asked"));
  const answer = await operations.questions.leak(asked);
  const attached = chosen && answer.ok ? await attach(place, chosen, asked, answer) : undefined;
  return answered(200, await whole(place, fields, { asked, answer, attached }));
};

function answered(status: number, page: Html) {
  return { kind: "page", status, page } as const;
}

/** A problem as a text that begins with a capital. */
type Given = { readonly text: string } | string;

function listOf(pasted: string, file: Buffer | undefined): Given {
  if (file !== undefined && pasted.trim() !== "") return "Give the list once: as a file, or pasted";
  const text = file === undefined ? pasted : listText(file);
  if (text === undefined || text.includes("\0")) return "The file is no text in UTF-8";
  return text.trim() === "" ? "Give a list: choose a file, or paste it" : { text };
}

/** A text: what is wrong with the fields. */
function askedOf({ by }: Visit, fields: Fields, given: Given): AskedLeak | string {
  if (typeof given === "string") return given;
  const since = fields.since === "" ? 0 : timeOf(fields.since)?.start;
  const until = fields.until === "" ? Number.POSITIVE_INFINITY : timeOf(fields.until)?.end;
  if (since === undefined || until === undefined) return "A day has the form 2026-05-31";
  if (until <= since) return "The end lies before the beginning";
  const { column, called, match, like, needs, unexplained, table: namespace } = fields;
  const list: LeakList = {
    text: given.text,
    column: column || undefined,
    called: called || undefined,
    match: match || undefined,
    like: like === "" ? undefined : like === "none" ? [] : like.split(",").map((name) => name.trim()),
  };
  return {
    ...{ by, list, period: { since, until } },
    namespace: namespace || undefined,
    counted: { needs, unexplainedOnly: unexplained },
  };
}

function fieldsOf(given: URLSearchParams, now: number): Fields {
  const field = (name: string) => (given.get(name) ?? "").trim().slice(0, LONGEST);
  const isNew = given.get("since") === null;
  return {
    ...{ table: field("table"), column: field("column"), called: field("called"), match: field("match") },
    ...{ like: field("like"), until: field("until"), case: field("case") },
    since: isNew ? new Date(now - DEFAULT_DAYS * DAY).toISOString().slice(0, 10) : field("since"),
    needs: given.getAll("needs").map((name) => name.slice(0, LONGEST)),
    unexplained: given.get("unexplained") !== null,
  };
}

/** As a comment of the case: whom it names, how sure that is, and what it does not cover. */
async function attach(
  { visit, operations }: PageContext,
  { id }: Case,
  asked: AskedLeak,
  answer: Extract<LeakAnswer, { ok: true }>,
): Promise<string | undefined> {
  const words = wordsOf(asked, answer);
  const text = [
    "Who read a leaked list?",
    ...headLines(answer.found, words).map((line) => `${line}.`),
    ...conclusion(answer.found),
    `Not covered: ${coverageLines(answer.found.notCovered).join("; ")}.`,
  ].join(" ");
  const cut = text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT - 1)}…` : text;
  const changed = await operations.cases.change(id, visit.by, { kind: "comment", text: cut });
  return changed.ok ? id : undefined;
}

function wordsOf({ list, counted }: AskedLeak, { namespace, notes }: Extract<LeakAnswer, { ok: true }>) {
  return { namespace, notes, like: list.like, counted };
}

async function whole(
  place: PageContext,
  fields: Fields,
  found: Found | string | undefined,
  notice?: string,
): Promise<Html> {
  const { visit } = place;
  return layout({
    title: "Who read a leaked list?",
    place: "/console/person",
    visit,
    notice,
    body: html`<p class="lead">Holds a list of people whose data leaked against the audit log of this machine, as
      <code>sluice audit who-read</code> does. The list is kept nowhere: the log records that you asked, and about how many people.</p>
      ${
        found !== undefined &&
        html`<section class="answer" aria-labelledby="answer-heading" id="answer" tabindex="-1" data-focus>
        <h2 id="answer-heading">Answer</h2>
        ${typeof found === "string" ? html`<p class="problem">${found}.</p>` : answerOf(found)}
      </section>`
      }
      ${maySend(visit.role, PATH) ? await form(place, fields) : html`<p class="quiet">Only officers ask about people; you are logged in as ${visit.role}.</p>`}`,
  });
}

/** What the flags of the command are called here. */
const LABELS: Readonly<Record<string, string>> = {
  subjects: "List",
  table: "People of",
  needs: "In the clear",
  match: "The list has values of",
  like: "Compared with people alike in",
  "key-file": "Secret",
};

/** The command's own words, with the field in the place of the flag. */
function problemText(problem: string): string {
  return problem.replace(/^--([a-z-]+):/, (flag, name: string) => `${LABELS[name] ?? flag.slice(0, -1)}:`);
}

function answerOf({ asked, answer, attached }: Found): Html {
  if (!answer.ok) return html`<p class="problem">${problemText(answer.problem)}.</p>`;
  const { found, header } = answer;
  const { suspects } = found;
  return html`${conclusion(found).map((line, i) => html`<p class="${i === 0 ? "verdict" : ""}">${line}</p>`)}
    ${attached !== undefined && html`<p>This answer is a comment of <a href="${at.case(attached)}">case ${attached.slice(0, 8)}</a>.</p>`}
    <ul>${[
      ...(header === undefined ? [] : [`the first line names the column "${header}"`]),
      ...headLines(found, wordsOf(asked, answer)),
    ].map((line) => html`<li>${line}</li>`)}</ul>
    ${table(
      "Users who read people of the list, the likeliest source first",
      SUSPECT_HEADS.map((head, i) => ({
        head: capital(head),
        ...(i > 0 && i < 5 && { kind: "number" as const }),
      })),
      suspects.slice(0, SHOWN).map((suspect) => {
        const [, ...rest] = suspectRow(suspect);
        return [
          userLink(suspect.user),
          ...rest.map((cell): Value => (typeof cell === "number" ? number(cell) : cell)),
        ];
      }),
      "Nobody.",
    )}
    ${suspects.length > SHOWN && html`<p class="quiet">The first ${number(SHOWN)} are shown; "sluice audit who-read" has all.</p>`}
    ${suspects.length > 0 && html`<p class="quiet">${CHANCE_WORDS}</p>`}
    <h3>Not covered</h3>
    <ul>${coverageLines(found.notCovered).map((line) => html`<li>${line}</li>`)}</ul>`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

async function form({ visit, operations, now }: PageContext, fields: Fields): Promise<Html> {
  const { asksDatabase } = operations.questions;
  const open = (await operations.cases.list()).filter(
    ({ id, closedAt }) => closedAt === undefined || id === fields.case,
  );
  const text = (
    name: "column" | "called" | "match" | "like",
    label: string,
    empty: string,
  ) => html`<p><label for="${name}">${label}</label>
    <input id="${name}" name="${name}" value="${fields[name]}" placeholder="${empty}" maxlength="${LONGEST}" autocomplete="off" autocapitalize="none" spellcheck="false"></p>`;
  const day = (name: "since" | "until", label: string) => html`<p><label for="${name}">${label}</label>
    <input id="${name}" name="${name}" type="date" value="${fields[name]}" max="${new Date(now).toISOString().slice(0, 10)}"></p>`;
  return html`<form class="ask" method="post" action="${PATH}" enctype="multipart/form-data">
    ${formToken(visit)}
    <p><label for="file">List of people: a file (CSV, up to 50,000 people)</label>
      <input id="file" name="file" type="file" accept=".csv,.tsv,.txt,text/csv,text/plain"></p>
    <label for="list">or pasted, one a line</label>
    <textarea id="list" name="list" rows="5" spellcheck="false" autocapitalize="none" autocomplete="off"></textarea>
    <div class="fields">
      <p><label for="table">People of</label>
        <select id="table" name="table">${operations.namespaces().map((name) => choice(name, name, fields.table))}</select></p>
      ${asksDatabase && text("match", "List has values of", "ids; or a column: email")}
      ${text("column", "Column of the list", "the first")}
      ${text("called", "Column: day of the call", "none")}
      ${asksDatabase && text("like", "Compare with people alike in", "region, plan (none: all)")}
      ${day("since", "Read from")}
      ${day("until", "Until, that day too")}
      <p><label for="case">Attach the answer to</label>
        <select id="case" name="case">${choice("", "no case", fields.case)}${open.map((one) => choice(one.id, `${one.id.slice(0, 8)}, ${one.about === "" ? "Sluice itself" : one.about}`, fields.case))}</select></p>
    </div>
    ${classChoice(operations, fields)}
    <button type="submit">Ask the log</button>
    ${!asksDatabase && html`<p class="quiet">For email addresses or telephone numbers, and to name a user with certainty, the console needs a login to the database (<code>--console-upstream</code>).</p>`}
  </form>`;
}

/** Which readings count. */
function classChoice(operations: Operations, { needs, unexplained }: Fields): Html {
  const box = (name: string, value: string, label: string, isOn: boolean) =>
    html`<label class="box"><input type="checkbox" name="${name}" value="${value}"${isOn && html` checked`}> ${label}</label>`;
  return html`<fieldset class="boxes"><legend>Only readings that showed one of these in the clear (none: more than masks)</legend>
    ${classesOf(operations).map((name) => box("needs", name, name, needs.includes(name)))}</fieldset>
    <p>${box("unexplained", "on", "Only readings of people without a connection to the reader", unexplained)}</p>`;
}

function classesOf({ databases, policies }: Operations): readonly string[] {
  const names = databases().flatMap((name) => [...policies().forDatabase(name).classes.keys()]);
  return [...new Set(names)].toSorted();
}
