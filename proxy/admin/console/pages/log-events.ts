import { MEASURE_KINDS } from "../../../audit/event.ts";
import type { FoundEvent } from "../../../audit/log-search.ts";
import { type Html, html, type Value } from "../html.ts";
import { at } from "../routes.ts";
import { type Group, inARow } from "./grouped-rows.ts";
import { badge, code, number, type Tone, table, time, userLink } from "./pieces.ts";

const DECISIONS: Readonly<Record<string, readonly [Tone, string]>> = {
  allow: ["quiet", "passed"],
  mask: ["good", "masked"],
  refuse: ["bad", "refused"],
  cut: ["bad", "cut off"],
  observe: ["warn", "only observed"],
};
const TONES: Readonly<Record<string, Tone>> = {
  alert: "bad",
  suspension: "bad",
  "login refused": "warn",
  tightening: "warn",
  "policy rejected": "bad",
  resumption: "good",
  relaxation: "good",
};

/** Who did these is an operator, and no user of the database. */
const BY_OPERATORS: ReadonlySet<string> = new Set([
  ...["question", ...MEASURE_KINDS, "session killed"],
  ...["reload", "hold placed", "hold lifted", "people forgotten", "case"],
]);

/** Events of the log on disk; those that say the same one after the other are one row. */
export function eventTable(caption: string, events: readonly FoundEvent[], now: number): Html {
  return table(
    caption,
    [
      { head: "Time" },
      { head: "What" },
      { head: "User" },
      { head: "Detail", kind: "long" },
      { head: "People", kind: "number" },
      { head: "Rows", kind: "number" },
      { head: "Session" },
    ],
    inARow(events, sameWords).map((group) => row(group, now)),
    "Nothing in this log matches.",
  );
}

function sameWords(event: FoundEvent): string {
  const { kind, user, account, session, statement, decision, sqlstate, rule, about, told, database } = event;
  return JSON.stringify([
    kind,
    user,
    account,
    session,
    statement,
    decision,
    sqlstate,
    rule,
    about,
    told,
    database,
  ]);
}

function row({ newest, oldest, count }: Group<FoundEvent>, now: number): readonly Value[] {
  const { user, account, role, session, people, rows } = newest;
  return [
    [time(newest.time, now), count > 1 && html`<small>since ${time(oldest.time, now)}</small>`],
    what(newest, count),
    [
      BY_OPERATORS.has(newest.kind) ? user : userLink(user),
      account !== null && html` <small>by ${userLink(account)}</small>`,
      role !== "" && html` <small><bdi>${role}</bdi></small>`,
    ],
    detail(newest),
    people === null ? "" : number(people),
    rows === null ? "" : number(rows),
    session !== "" &&
      html`<a href="${at.log({ session })}" class="id" aria-label="The log of session ${session}">${session.slice(0, 8)}</a>`,
  ];
}

function what({ kind, decision, sqlstate, rule, times }: FoundEvent, count: number): Html {
  const [tone, word] =
    decision === null
      ? ([TONES[kind] ?? "quiet", kind] as const)
      : (DECISIONS[decision] ?? ["quiet", decision]);
  const often = count * times;
  const notes = [kind === "rows" ? "a piece" : "", sqlstate, rule].filter((text) => text);
  return html`${badge(tone, word)}${often > 1 && html` <b class="times">×${number(often)}</b>`}${notes.length > 0 && html` <small>${notes.join(" · ")}</small>`}`;
}

function detail(event: FoundEvent): Html {
  const { statement, told, about, masked, classes, reference, address, application, user } = event;
  const notes = [
    classes !== null && classes.length > 0 ? `in the clear: ${classes.join(", ")}` : "",
    masked.length > 0 ? `masked: ${masked.join(", ")}` : "",
    reference === null ? "" : `reference ${reference}`,
    [address, application].filter((text) => text !== "").join(" "),
  ].filter((text) => text !== "");
  return html`${about !== null && about !== user && html`about ${userLink(about)} `}${told}${code(statement)}${notes.length > 0 && html`<small>${notes.join(" · ")}</small>`}`;
}
