import type { Operations } from "../../operations.ts";
import { type Html, html, type Value } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { notableTable, recentOnly } from "./alerts.ts";
import { layout, live } from "./layout.ts";
import { badge, highest, number } from "./pieces.ts";
import { readingsOf, readingTable } from "./readers.ts";
import { openSessions, unreachable } from "./sessions.ts";
import { suspensionTable } from "./suspending.ts";

const READERS = 5;
/** Of each of them. */
const BUDGETS = 4;
/** Rows, and of how many events they are drawn together. */
const NOTABLES = 8;
const LATEST = 200;
const HOUR_MS = 3_600_000;

/** The overview for a reader with one minute. */
export async function overviewPage({ visit, notice, operations, now }: PageRequest): Promise<Html> {
  const [open, readings, cases, { items: notables, others }] = await Promise.all([
    openSessions(operations),
    readingsOf(operations),
    operations.cases.list(),
    operations.notables(),
  ]);
  const lately = notables.filter(({ time }) => time > now - HOUR_MS);
  const refused = lately.filter(({ kind }) => kind === "refused" || kind === "cut").length;
  const alerts = lately.filter(({ kind }) => kind === "alert").length;
  const suspended = operations.suspended();
  const near = readings?.filter(({ uses }) => highest(uses ?? []) >= 0.8).length;
  const active =
    readings?.filter(({ uses }) => uses === undefined || uses.some(({ used }) => used > 0)) ?? [];
  return layout({
    title: "Overview",
    place: "/console",
    visit,
    notice,
    body: live("overview", [
      observeWarning(operations),
      readings === undefined && unreachable(),
      html`<ul class="figures">
        ${figure("/console/sessions", "open sessions", open?.length)}
        ${figure("/console/readers", "near or past a budget", near, "warn")}
        ${figure("/console/alerts?kind=refusal", "refused in the last hour", refused)}
        ${figure("/console/alerts?kind=alert", "alerts in the last hour", alerts, "bad")}
        ${figure("/console/cases", "open cases", cases.filter(({ closedAt }) => closedAt === undefined).length, "bad")}
        ${figure("#suspended", "suspended", suspended.length, "bad")}
      </ul>`,
      section("readers", "Closest to their budgets", [
        active.length === 0
          ? html`<p class="empty">No counted user has read any person yet.</p>`
          : readingTable("Who has used up most of a budget", active.slice(0, READERS), operations, BUDGETS),
        html`<p><a href="/console/readers">All readers</a></p>`,
      ]),
      section("latest", "Latest", [
        notableTable("The latest refusals, alerts and orders", notables.slice(0, LATEST), now, NOTABLES),
        html`<p><a href="/console/alerts">All alerts</a></p>`,
        recentOnly(others),
      ]),
      section("suspended", "Suspended", suspensionTable(suspended, now)),
    ]),
  });
}

function section(id: string, heading: string, body: Value): Html {
  return html`<section id="${id}" aria-labelledby="${id}-heading"><h2 id="${id}-heading">${heading}</h2>${body}</section>`;
}

/** The tone is that of a number above 0. */
function figure(href: string, name: string, value: number | undefined, tone = ""): Html {
  const shown = value === undefined ? "?" : number(value);
  return html`<li><a class="figure ${value === 0 ? "" : tone}" href="${href}"><strong>${shown}</strong> <span>${name}</span></a></li>`;
}

/** The mode in which nothing is guarded must not be overlooked. */
export function observeWarning({ databases, policies }: Operations): Html {
  const observed = databases().filter((name) => policies().forDatabase(name).mode === "observe");
  if (observed.length === 0) return html``;
  return html`<p class="problem">${badge("warn", "Only observed:")} in ${observed.join(", ")} nothing is refused or
    masked. The policy says <code>mode: observe</code>.</p>`;
}
