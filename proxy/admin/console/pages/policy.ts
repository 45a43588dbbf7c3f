import { maskText } from "../../../policy/masks/all.ts";
import {
  type ColumnClass,
  type Mask,
  type Policy,
  type Role,
  relationSetHas,
} from "../../../policy/policy.ts";
import { factsOf } from "../../../policy/rules/all.ts";
import type { FactLine } from "../../../policy/rules/rule.ts";
import { type Html, html, type Value } from "../html.ts";
import type { PageRequest } from "../page.ts";
import { layout } from "./layout.ts";
import { observeWarning } from "./overview.ts";
import { badge, code, number, table } from "./pieces.ts";

/** The policy in force, as it was understood, database by database. */
export function policyPage({ visit, notice, operations }: PageRequest): Html {
  const set = operations.policies();
  const databases = operations.databases();
  return layout({
    title: "Policy in force",
    place: "/console/policy",
    visit,
    notice,
    body: html`${observeWarning(operations)}
      <p class="lead">Version <code>${set.version}</code>, of ${set.files.map((file, i) => html`${i > 0 && ", "}<code>${file}</code>`)}. <a href="/console/policy-changes">What changed, and when</a></p>
      ${databases.map((name, i) => databaseSection(name, set.forDatabase(name), i))}`,
  });
}

function databaseSection(name: string, policy: Policy, i: number): Html {
  const { mode, unclassified, unknownUsers, roles, tables, classes } = policy;
  return html`<section aria-labelledby="database-${i}">
    <h2 id="database-${i}">Database <bdi>${name}</bdi></h2>
    <dl class="facts">
      <div><dt>Mode</dt><dd>${mode === "enforce" ? badge("good", mode) : badge("warn", mode)}</dd></div>
      <div><dt>Users without a role</dt><dd>${unknownUsers === undefined ? "are refused" : html`have <bdi>${unknownUsers.name}</bdi>`}</dd></div>
      <div><dt>Columns without a class</dt><dd>${UNCLASSIFIED[unclassified]}</dd></div>
      <div><dt>Version</dt><dd>${code(policy.version)}</dd></div>
    </dl>
    <h3>Roles</h3>
    <ul class="cards">${[...roles.values()].map((role) => roleCard(role, uncountedReads(role, policy)))}</ul>
    <h3>Protected columns</h3>
    ${table(
      "Tables and their protected columns",
      [{ head: "Table" }, { head: "People are" }, { head: "Columns and their classes", kind: "long" }],
      [...tables.values()].map(({ name: relation, subject, path = [], columns }) => [
        code(relation),
        subject === undefined && columns.size > 0
          ? badge("bad", "no one")
          : [subject, ...path.map((step) => `${step.table}.${step.column}`)].filter((one) => one).join(" → "),
        [...columns].map(([column, kind]) => `${column}: ${kind}`).join(", "),
      ]),
      "No table.",
    )}
    ${table(
      "Classes of columns and their masks",
      [{ head: "Class" }, { head: "Mask" }, { head: "One counts for", kind: "number" }],
      [...classes.values()].map(classRow),
      "No class.",
    )}
  </section>`;
}

const UNCLASSIFIED = { show: "are shown", mask: "are masked", deny: "may not be read" } as const;

/** `uncounted`: tables with protected columns that it reads past its budget. */
function roleCard(role: Role, uncounted: readonly string[]): Html {
  return html`<li>
    <h4><bdi>${role.name}</bdi></h4>
    <dl>
      ${factsOf(role).map(({ label, lines }) => fact(label, lines.map(line)))}
      ${uncounted.length > 0 && fact("Counts no one of", badge("bad", uncounted.join(", ")))}
    </dl>
  </li>`;
}

function uncountedReads(role: Role, policy: Policy): readonly string[] {
  if (!role.budget.some(({ what }) => what === "people")) return [];
  return [...policy.tables.values()]
    .filter(({ name, subject, columns, documents }) => {
      const dot = name.indexOf(".");
      const isRead = relationSetHas(role.reads, name.slice(0, dot), name.slice(dot + 1));
      return isRead && subject === undefined && columns.size + documents.size > 0;
    })
    .map(({ name }) => name);
}

function fact(label: string, value: Value): Html {
  return html`<div><dt>${label}</dt><dd>${value}</dd></div>`;
}

function line(parts: FactLine): Html {
  return html`<span class="line">${parts.map((part) => (typeof part === "string" ? html`<bdi>${part}</bdi>` : code(part.sql)))}</span>`;
}

function classRow({ name, mask, cost }: ColumnClass) {
  return [html`<bdi>${name}</bdi>`, masked(mask), `${number(cost)} ${cost === 1 ? "person" : "people"}`];
}

function masked(mask: Mask): Value {
  const text = maskText(mask);
  return typeof text === "string" ? text : code(text.sql);
}
