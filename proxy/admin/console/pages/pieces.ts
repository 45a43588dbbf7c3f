import type { AlertEvent } from "../../../audit/event.ts";
import type { WindowUse } from "../../../meter/meter.ts";
import { measureText } from "../../../policy/policy.ts";
import { bytesText } from "../../../policy/units.ts";
import { type Html, html, type Value } from "../html.ts";
import { at } from "../routes.ts";

export interface Column {
  readonly head: string;
  /** `number`: set to the right; `long`: takes what room there is. */
  readonly kind?: "number" | "long";
}

/** On a phone each row becomes a card, so roles are said: CSS that changes `display` takes them away. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Value[])[],
  empty: string,
): Html {
  if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
  return html`<table role="table">
    <caption>${caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map(
      ({ head, kind = "" }) => html`<th role="columnheader" scope="col" class="${kind}">${head}</th>`,
    )}</tr></thead>
    <tbody role="rowgroup">${rows.map(
      (cells) =>
        html`<tr role="row">${columns.map(
          ({ head, kind = "" }, i) =>
            html`<td role="cell" class="${kind}" data-label="${head}"><div>${cells[i]}</div></td>`,
        )}</tr>`,
    )}</tbody>
  </table>`;
}

/** An option of a list to choose from. */
export function choice(value: string, label: string, chosen: string): Html {
  return html`<option value="${value}"${value === chosen && html` selected`}>${label}</option>`;
}

export function number(value: number): string {
  return value.toLocaleString("en");
}

/** The day is left out where it is today's. */
export function time(at: number, now: number): Html {
  const iso = new Date(at).toISOString();
  const [day = "", clock = ""] = iso.slice(0, 19).split("T");
  const today = new Date(now).toISOString().slice(0, 10) === day;
  return html`<time datetime="${iso}" title="${iso}">${today ? clock : `${day} ${clock}`}</time>`;
}

/** A user's name, with a link to all that is known about them. */
export function userLink(user: string): Html {
  return user === "" ? html`` : html`<a href="${at.user(user)}"><bdi>${user}</bdi></a>`;
}

export function code(text: string): Html {
  return text === "" ? html`` : html`<code>${text}</code>`;
}

export type Tone = "good" | "quiet" | "warn" | "bad";

const SIGNS: Readonly<Record<Tone, string>> = { good: "✓", quiet: "·", warn: "▲", bad: "✕" };

/** A word about a state: sign and word say it, colour only helps. */
export function badge(tone: Tone, word: string): Html {
  return html`<span class="badge ${tone}"><span aria-hidden="true">${SIGNS[tone]}</span> ${word}</span>`;
}

const SEVERITY_TONES: Readonly<Record<NonNullable<AlertEvent["severity"]>, Tone>> = {
  info: "quiet",
  low: "quiet",
  medium: "warn",
  high: "bad",
  critical: "bad",
};

/** How severe an alert is: `word` names it otherwise. */
export function severityBadge(severity: NonNullable<AlertEvent["severity"]>, word: string = severity): Html {
  return badge(SEVERITY_TONES[severity], word);
}

/** A window and how much of it is used up. */
export type Use = WindowUse & { readonly limited: boolean };

export function shareOf({ window, used, limited }: Use): number {
  if (!limited) return 0;
  return window.limit === 0 ? 1 : used / window.limit;
}

/** The highest share of any window. */
export function highest(uses: readonly Use[]): number {
  return Math.max(0, ...uses.map(shareOf));
}

const NEAR = 0.8;

function levelOf(share: number): readonly [level: "low" | "near" | "full", word: string] {
  if (share >= 1) return ["full", "used up"];
  return share >= NEAR ? ["near", "nearly used up"] : ["low", ""];
}

/** Windows as bars, each with its numbers; of more than `most` those that are used up most. */
export function uses(all: readonly Use[] | undefined, most = Number.POSITIVE_INFINITY): Html {
  if (all === undefined) return badge("bad", "the counters cannot be reached");
  const limited = all.filter((one) => one.limited);
  if (limited.length === 0) return html`<span class="quiet">no budget</span>`;
  const shown =
    limited.length <= most ? limited : limited.toSorted((a, b) => shareOf(b) - shareOf(a)).slice(0, most);
  const left = limited.length - shown.length;
  return html`<ul class="uses">${shown.map(useItem)}</ul>${left > 0 && html`<small class="quiet">${left} others are used less</small>`}`;
}

function usedOf({ used, window }: Use): Html {
  if (window.what === "bytes") return html`<strong>${bytesText(used)}</strong> of ${bytesText(window.limit)}`;
  return html`<strong>${number(used)}</strong> of ${number(window.limit)} ${measureText(window)}`;
}

function useItem(use: Use): Html {
  const { window } = use;
  const share = shareOf(use);
  const [level, word] = levelOf(share);
  const whose = { user: "", role: ", all of the role", address: ", all from the address" };
  const width = Math.min(100, share * 100).toFixed(1);
  return html`<li class="use ${level}" title="${window.rule}">
    <span class="amount">${usedOf(use)}
      <span class="window">in ${window.name}${whose[window.scope ?? "user"]}</span>${word !== "" && html` <b>${word}</b>`}</span>
    <svg class="bar" aria-hidden="true" focusable="false" preserveAspectRatio="none" viewBox="0 0 100 6">
      <rect class="track" width="100" height="6"/><rect class="fill" width="${width}" height="6"/>
    </svg>
    <span class="share">${percent(share)}</span>
  </li>`;
}

function percent(share: number): string {
  return share > 0 && share < 0.01 ? "<1 %" : `${Math.floor(share * 100)} %`;
}

/** People in 30 days, which is told of everybody, whether it is limited or not. */
export function thirtyDays(all: readonly Use[] | undefined): string {
  const use = all?.find(
    ({ window }) =>
      window.what === "people" && window.seconds === 30 * 86_400 && (window.scope ?? "user") === "user",
  );
  return use === undefined ? "" : number(use.used);
}
