import type { MeasureTaken } from "../../../audit/read-by.ts";
import type { SessionSums, UserHistory } from "../../../audit/user-history.ts";
import type { Reading } from "../../operations.ts";
import { type Html, html, type Value } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { barChart, figuresTable } from "./charts.ts";
import { layout } from "./layout.ts";
import { badge, number, table, time, userLink } from "./pieces.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** A user's last 30 days: people per day and hour, and what they did, from the log on disk. */
export async function historyPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const user = (query.get("name") ?? "").slice(0, 200);
  const [answer, readings] = await Promise.all([
    operations.questions.history(user, visit.by),
    operations.readings().catch(() => []),
  ]);
  return layout({
    title: `30 days of ${user}`,
    place: "/console/readers",
    visit,
    notice,
    body: html`<p class="lead">From the audit log on this machine's disk. <a href="${at.user(user)}">What ${user} does now</a> ·
      <a href="${at.log({ user })}">Search the log for ${user}</a></p>
      ${answer.ok ? answered(answer.answer, limitsOf(readings, user), now) : html`<p class="problem">${answer.problem}.</p>`}`,
  });
}

interface Limits {
  readonly hour: number | undefined;
  readonly day: number | undefined;
}

/** What the policy allows of people within an hour and a day, where it says so. */
function limitsOf(readings: readonly Reading[], user: string): Limits {
  const windows = readings
    .filter((one) => one.user === user)
    .flatMap(({ uses = [] }) => uses)
    .filter(
      ({ window, limited }) => limited && window.what === "people" && (window.scope ?? "user") === "user",
    )
    .map(({ window }) => window);
  const least = (seconds: number) =>
    windows
      .filter((one) => one.seconds === seconds)
      .map(({ limit }) => limit)
      .toSorted((a, b) => a - b)[0];
  return { hour: least(3_600), day: least(86_400) };
}

function answered(history: UserHistory, limits: Limits, now: number): Html {
  const { roles, usual, peers, isAtLeast, isCut, unreadable, days } = history;
  const today = days.at(-1)?.people ?? 0;
  return html`<dl class="facts">
      <div><dt>Role</dt><dd>${roles.length === 0 ? "read nobody" : roles.join(", ")}</dd></div>
      <div><dt>Today</dt><dd>${people(today)}</dd></div>
      <div><dt>Usual day</dt><dd>${usual === undefined ? "none yet" : people(usual)}</dd></div>
      <div><dt>Budget of a day</dt><dd>${limits.day === undefined ? "none" : people(limits.day)}</dd></div>
      <div><dt>Peers</dt><dd>${number(peers)} ${peers === 1 ? "user" : "users"} of the same role</dd></div>
    </dl>
    ${isAtLeast && html`<p class="quiet">Not everybody could be named in the log: the figures are the least that it was.</p>`}
    ${unreadable.length > 0 && html`<p class="problem">Not read, because they are damaged: ${unreadable.slice(0, 5).join(", ")}.</p>`}
    ${dayChart(history, limits)}
    ${hourChart(history, limits, now)}
    <h2>Timeline</h2>
    ${timeline(history, now)}
    ${isCut && html`<p class="quiet">Only the newest are shown; the search has all.</p>`}`;
}

function people(count: number): string {
  return `${number(count)} ${count === 1 ? "person" : "people"}`;
}

function dayChart({ days, usual }: UserHistory, { day: limit }: Limits): Html {
  const caption = "People read per day";
  const bars = days.map(({ at: start, people: value }, i) => ({
    ...{ label: dayName(start), value, isOver: limit !== undefined && value >= limit },
    ...(i % 5 === 0 && { tick: dayName(start).slice(5) }),
  }));
  const lines = [
    ...(limit === undefined
      ? []
      : [{ name: "budget", kind: "limit" as const, values: days.map(() => limit) }]),
    ...(usual === undefined
      ? []
      : [{ name: "own usual day", kind: "usual" as const, values: days.map(() => usual) }]),
    ...(days.some(({ peersMiddle }) => peersMiddle !== undefined)
      ? [
          {
            name: "peers' middle",
            kind: "peers" as const,
            values: days.map(({ peersMiddle }) => peersMiddle),
          },
        ]
      : []),
  ];
  const rows = days
    .toReversed()
    .map(({ at: start, people: value, peersMiddle, peersMost }) => [
      dayName(start),
      number(value),
      peersMiddle === undefined ? "" : number(peersMiddle),
      peersMost === undefined ? "" : number(peersMost),
    ]);
  return html`${barChart(caption, "days", bars, lines)}
    ${figuresTable("Days as a table", ["Day", "People", "Peers' middle", "Peers' highest"], rows)}`;
}

function hourChart({ hours, days }: UserHistory, { hour: limit }: Limits, now: number): Html {
  const byHour = new Map(hours.map((one) => [one.at, one.people]));
  const first = days[0]?.at ?? now;
  const count = Math.floor((now - first) / HOUR) + 1;
  const bars = Array.from({ length: count }, (_, i) => {
    const start = first + i * HOUR;
    const value = byHour.get(start) ?? 0;
    return {
      ...{ label: hourName(start), value, isOver: limit !== undefined && value >= limit },
      ...(start % (5 * DAY) === first % (5 * DAY) && { tick: dayName(start).slice(5) }),
    };
  });
  const lines =
    limit === undefined ? [] : [{ name: "budget", kind: "limit" as const, values: bars.map(() => limit) }];
  const rows = hours.toReversed().map(({ at: start, people: value }) => [hourName(start), number(value)]);
  return html`${barChart("People read per hour", "hours", bars, lines)}
    ${figuresTable("Hours as a table", ["Hour", "People"], rows)}`;
}

function dayName(start: number): string {
  return new Date(start).toISOString().slice(0, 10);
}

function hourName(start: number): string {
  return `${new Date(start).toISOString().slice(0, 13).replace("T", " ")}:00`;
}

type TimelineRow = { readonly when: number; readonly cells: readonly Value[] };

/** Sessions in sums, and what was done about the user, in one order. */
function timeline({ sessions, measures }: UserHistory, now: number): Html {
  const entries: readonly TimelineRow[] = [
    ...sessions.map((one) => ({ when: one.last, cells: sessionCells(one, now) })),
    ...measures.map((one) => ({ when: one.time, cells: measureCells(one, now) })),
  ];
  return table(
    "Sessions, alerts and orders, the newest first",
    [
      { head: "Time" },
      { head: "What" },
      { head: "People", kind: "number" },
      { head: "Statements", kind: "number" },
      { head: "Detail", kind: "long" },
    ],
    entries.toSorted((a, b) => b.when - a.when).map(({ cells }) => cells),
    "Nothing within these days.",
  );
}

function sessionCells(one: SessionSums, now: number): readonly Value[] {
  const { session, first, last, user, account, address, application, database } = one;
  const facts = [
    `${number(one.rows)} rows`,
    one.refused > 0 ? `${number(one.refused)} refused` : "",
    one.written > 0 ? `${number(one.written)} rows written` : "",
    one.classes.length > 0 ? `in the clear: ${one.classes.join(", ")}` : "nothing in the clear",
    [address, application, database].filter((text) => text !== "").join(" "),
  ].filter((text) => text !== "");
  return [
    [time(first, now), html` – ${time(last, now)}`],
    [
      html`<a href="${at.log({ session, since: new Date(first).toISOString().slice(0, 16) })}">session <span class="id">${session.slice(0, 8)}</span></a>`,
      account !== null && html` <small>for ${userLink(user)} by ${userLink(account)}</small>`,
    ],
    number(one.people),
    number(one.statements),
    [one.refused > 0 && html`${badge("warn", "refusals")} `, facts.join(" · ")],
  ];
}

function measureCells({ time: when, kind, by, told }: MeasureTaken, now: number): readonly Value[] {
  const tone = kind === "alert" || kind === "suspension" ? "bad" : kind === "question" ? "quiet" : "warn";
  return [
    time(when, now),
    badge(tone, kind),
    "",
    "",
    [told, by !== "sluice" && html` <small>by ${by}</small>`],
  ];
}
