import { type Html, html } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { at } from "../routes.ts";
import { notableTable, recentOnly } from "./alerts.ts";
import { caseTable } from "./cases.ts";
import { layout, live } from "./layout.ts";
import { badge, time } from "./pieces.ts";
import { readingsOf, readingTable } from "./readers.ts";
import { openSessions, sessionTable, unreachable } from "./sessions.ts";
import { statementTable } from "./statements.ts";
import { resumeForm, suspendForm } from "./suspending.ts";

const STATEMENTS = 50;

/** All that is known about one user, and the two orders about them. */
export async function userPage({ visit, notice, operations, query, now }: PageRequest): Promise<Html> {
  const user = query.get("name") ?? "";
  const [open, readings, cases, { items: statements, others }, { items }] = await Promise.all([
    openSessions(operations),
    readingsOf(operations),
    operations.cases.list(),
    operations.statements({ user }),
    operations.notables(),
  ]);
  const suspension = operations.suspended().find((one) => one.user === user);
  const notables = items.filter((one) => one.user === user);
  return layout({
    title: user,
    place: "/console/readers",
    visit,
    notice,
    body: html`
      <section aria-labelledby="order-heading">
        <h2 id="order-heading">${suspension === undefined ? badge("good", "May log in") : html`${badge("bad", "Suspended")}`}</h2>
        ${
          suspension === undefined
            ? suspendForm(visit, user)
            : html`<p>Since ${time(suspension.at, now)} by ${suspension.by}: <q>${suspension.why}</q></p>
              ${resumeForm(visit, user)}`
        }
      </section>
      ${
        cases.some(({ about }) => about === user) &&
        html`<h2>Cases</h2>
      ${caseTable(
        "Cases about this user, the newest first",
        cases.filter(({ about }) => about === user),
        now,
      )}`
      }
      ${live("user", [
        html`<h2>Reading</h2>`,
        readingTable(
          "What this user has read",
          readings?.filter((one) => one.user === user) ?? [],
          operations,
        ),
        html`<p><a href="${at.history(user)}">30 days: people per hour and day, beside peers; timeline</a> · <a href="${at.log({ user })}">Search the log</a></p>`,
        html`<h2>Sessions</h2>`,
        open === undefined
          ? unreachable()
          : sessionTable(
              open.filter((one) => one.user === user),
              operations,
              now,
            ),
        html`<h2>Alerts</h2>`,
        notableTable("Refusals, alerts and orders, the newest first", notables, now),
        html`<h2>Statements</h2>`,
        statementTable("The last statements, the newest first", statements.slice(0, STATEMENTS), now),
        html`<p class="quiet">Literals are taken out of statements.</p>`,
        recentOnly(others),
      ])}`,
  });
}
