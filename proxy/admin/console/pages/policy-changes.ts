import type { PolicyLoad } from "../../../audit/policy-loads.ts";
import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { type DiffLine, diffOf } from "./diff.ts";
import { layout } from "./layout.ts";
import { time } from "./pieces.ts";

const DAYS = [7, 30, 90, 400] as const;
/** More than anybody reads at once. */
const SHOWN = 30;

/** What changed at each load of the policy. */
export async function policyChangesPage({
  visit,
  notice,
  operations,
  query,
  now,
}: PageRequest): Promise<Html> {
  const days = DAYS.find((one) => String(one) === query.get("days")) ?? 30;
  const answer = await operations.questions.policyLoads(days, visit.by);
  return layout({
    title: "Changes of the policy",
    place: "/console/policy",
    visit,
    notice,
    body: html`<form class="filter" method="get" action="/console/policy-changes">
        <label for="days">Within</label>
        <select id="days" name="days">${DAYS.map((one) => html`<option value="${one}"${one === days && html` selected`}>${one} days</option>`)}</select>
        <button type="submit">Show</button>
      </form>
      <p class="lead">Each policy that came into force, with what changed, from the audit log on this machine's disk. Comments,
        layout and decoys are left out. <a href="/console/policy">The policy in force</a></p>
      ${answer.ok ? changes(answer.answer, now) : html`<p class="problem">${answer.problem}.</p>`}`,
  });
}

function changes(loads: readonly PolicyLoad[], now: number): Html {
  if (loads.length === 0) return html`<p class="empty">No policy was loaded within these days.</p>`;
  return html`${loads.slice(0, SHOWN).map((load, i) => change(load, loads[i + 1], i, now))}
    ${loads.length > SHOWN && html`<p class="quiet">The newest ${SHOWN} are shown.</p>`}`;
}

function change(load: PolicyLoad, before: PolicyLoad | undefined, i: number, now: number): Html {
  const { version, processes } = load;
  return html`<section aria-labelledby="load-${i}">
    <h2 id="load-${i}">${time(load.time, now)} <code>${version}</code></h2>
    <p class="quiet">${processes} ${processes === 1 ? "load" : "loads"}, of processes that started or learned of it.</p>
    ${difference(load, before)}
  </section>`;
}

function difference({ says }: PolicyLoad, before: PolicyLoad | undefined): Html {
  if (says === undefined)
    return html`<p class="quiet">This version of the log does not have the policy's text.</p>`;
  if (before === undefined)
    return html`<p class="quiet">The first within these days: there is nothing to compare it with.</p>`;
  if (before.says === undefined)
    return html`<p class="quiet">What was in force before is not in the log.</p>`;
  const lines = diffOf(before.says, says);
  if (lines === undefined) return html`<p class="quiet">The two differ in more than can be shown here.</p>`;
  if (lines.length === 0) return html`<p class="quiet">They differ in comments, layout or decoys only.</p>`;
  return html`<pre class="diff" tabindex="0" aria-label="What changed"><code>${lines.map(line)}</code></pre>`;
}

const SIGNS = { same: " ", added: "+", removed: "-", gap: "…" } as const;

function line({ kind, text }: DiffLine): Html {
  const body = html`${SIGNS[kind]} ${text}\n`;
  return kind === "added" ? html`<ins>${body}</ins>` : kind === "removed" ? html`<del>${body}</del>` : body;
}
