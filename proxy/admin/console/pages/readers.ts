import type { Operations, Reading } from "../../operations.ts";
import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { layout, live } from "./layout.ts";
import { badge, highest, table, thirtyDays, userLink, uses } from "./pieces.ts";
import { unreachable } from "./sessions.ts";
import { suspendForm } from "./suspending.ts";

/** How many people each user has read, against their budget and over 30 days. */
export async function readersPage({ visit, notice, operations }: PageRequest): Promise<Html> {
  const readings = await readingsOf(operations);
  return layout({
    title: "Readers",
    place: "/console/readers",
    visit,
    notice,
    body: html`<p class="lead">Users who are connected, and users whom the policy names and counts. Those who have used most of a
        budget come first. ${
          operations.fleet
            ? "Counted over all proxies."
            : "Counted by this process only, since it started: without --redis no other process shares its counters."
        } Parts of a person are the price of searches and errors that tell something about people without showing one.</p>
      ${live("readers", readings === undefined ? unreachable() : readingTable("What each user has read", readings, operations))}
      <section aria-labelledby="suspend-heading">
        <h2 id="suspend-heading">Suspend a user</h2>
        ${suspendForm(visit, undefined)}
      </section>`,
  });
}

/** Whoever has used most of a budget first. Undefined while the fleet's Redis cannot be read. */
export async function readingsOf(operations: Operations): Promise<readonly Reading[] | undefined> {
  const readings = await operations.readings().catch(() => undefined);
  return readings?.toSorted((a, b) => highest(b.uses ?? []) - highest(a.uses ?? []) || people(b) - people(a));
}

function people({ uses: all = [] }: Reading): number {
  return Math.max(0, ...all.filter(({ window }) => window.what === "people").map(({ used }) => used));
}

/** `most`: of how many budgets of each user. */
export function readingTable(
  caption: string,
  readings: readonly Reading[],
  operations: Operations,
  most?: number,
): Html {
  const suspended = new Set(operations.suspended().map(({ user }) => user));
  return table(
    caption,
    [
      { head: "User" },
      { head: "Role" },
      { head: "Budget", kind: "long" },
      { head: "People in 30 days", kind: "number" },
      { head: "Database" },
    ],
    readings.map(({ user, role, database, connected, uses: all }) => [
      [
        userLink(user),
        html` ${suspended.has(user) ? badge("bad", "suspended") : connected ? badge("good", "connected") : ""}`,
      ],
      html`<bdi>${role}</bdi>`,
      uses(all, most),
      thirtyDays(all),
      html`<bdi>${database}</bdi>`,
    ]),
    "No one is connected, and no role of the policy has a budget.",
  );
}
