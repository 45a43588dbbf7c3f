import { isRefusal, type Notable } from "../../recent.ts";
import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { grouped } from "./grouped-rows.ts";
import { layout, live } from "./layout.ts";
import { badge, code, number, severityBadge, type Tone, table, time, userLink } from "./pieces.ts";

const TONES: Readonly<Record<Notable["kind"], Tone>> = {
  alert: "bad",
  refused: "warn",
  cut: "warn",
  "login refused": "warn",
  suspension: "bad",
  resumption: "good",
  tightening: "warn",
  relaxation: "good",
  grant: "quiet",
  revocation: "quiet",
  "policy rejected": "bad",
};

const CHOICES = [
  ["", "Everything"],
  ["alert", "Alerts of rules and decoys"],
  ["refusal", "Refused and cut off"],
  ["order", "Suspended, resumed and other orders"],
] as const;

/** More than anybody reads. */
const SHOWN = 500;

/** Refusals and alerts as they come. */
export async function alertsPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const chosen = query.get("kind") ?? "";
  const { items, others } = await operations.notables();
  const shown = items.filter((one) => chosen === "" || groupOf(one) === chosen);
  return layout({
    title: "Alerts",
    place: "/console/alerts",
    visit,
    notice,
    body: html`<form class="filter" method="get" action="/console/alerts">
        <label for="kind">Show</label>
        <select id="kind" name="kind">${CHOICES.map(
          ([value, name]) =>
            html`<option value="${value}"${value === chosen && html` selected`}>${name}</option>`,
        )}</select>
        <button type="submit">Show</button>
      </form>
      ${live("alerts", [
        notableTable("Refusals, alerts and orders, the newest first", shown, now),
        html`<p><a href="/console/log?kinds=refusals">Older refusals</a> · <a href="/console/log?kinds=alerts">Older alerts</a></p>`,
        recentOnly(others),
      ])}`,
  });
}

/**
 * What says the same of the same user is one row, where its newest stands: a loop of refusals must not hide the alert before
 * it. The newest one's time lets the script say how many have come.
 */
export function notableTable(caption: string, notables: readonly Notable[], now: number, most = SHOWN): Html {
  const [newest] = notables;
  return html`<div data-newest="${newest?.time ?? 0}">${table(
    caption,
    [
      { head: "Time" },
      { head: "What" },
      { head: "User" },
      { head: "Detail", kind: "long" },
      { head: "Rule" },
      { head: "From" },
    ],
    grouped(notables, sameWords)
      .slice(0, most)
      .map(({ newest: one, oldest, count }) => {
        const { kind, user, role, client, database, sqlstate, rule, text, severity } = one;
        return [
          [time(one.time, now), count > 1 && html`<small>since ${time(oldest.time, now)}</small>`],
          [
            severity === undefined ? badge(TONES[kind], kind) : severityBadge(severity, `${severity} alert`),
            count > 1 && html` <b class="times">×${number(count)}</b>`,
            sqlstate !== "" && html`<small>${sqlstate}</small>`,
          ],
          [userLink(user), role !== "" && html`<small><bdi>${role}</bdi></small>`],
          [isRefusal(kind) ? code(text) : text, leadsTo(one)],
          rule === "" ? "" : html`<span class="rule">${rule}</span>`,
          [client, database !== "" && html`<small><bdi>${database}</bdi></small>`],
        ];
      }),
    "No refusals and no alerts.",
  )}</div>`;
}

/** From an alert to what somebody can do about it, and to what led to it. */
function leadsTo({ alert, session }: Notable): Html {
  if (alert === undefined) return html``;
  return html` <small><a href="${at.case(alert)}">Its case</a>${session !== undefined && html` · <a href="${at.log({ session })}">all of its session</a>`}</small>`;
}

function sameWords({ kind, user, role, client, database, sqlstate, rule, text, session }: Notable): string {
  return JSON.stringify([kind, user, role, client, database, sqlstate, rule, text, session]);
}

/** Whose memory it is from: each process has the last of its own. */
export function recentOnly(others: number): Html {
  const whose =
    others === 0
      ? "this process since it began"
      : `this process and ${others} ${others === 1 ? "other" : "others"} of the fleet, since each began`;
  return html`<p class="quiet">The last of ${whose}. The audit log has all.</p>`;
}

function groupOf({ kind }: Notable): (typeof CHOICES)[number][0] {
  if (kind === "alert") return "alert";
  return isRefusal(kind) ? "refusal" : "order";
}
