import {
  type BudgetWindow,
  type ColumnClass,
  type Condition,
  type Limits,
  type Mask,
  type Policy,
  type RelationSet,
  type Role,
  relationSetHas,
} from "../../../policy/policy.ts";
import { type Html, html, type Value } from "../html.ts";
import type { Asked } from "../page.ts";
import { layout } from "./layout.ts";
import { observeWarning } from "./overview.ts";
import { badge, code, number, table } from "./pieces.ts";

/** The policy in force, as it was understood, database by database. */
export function policyPage({ visit, notice, operations }: Asked): Html {
  const set = operations.policies();
  const databases = operations.databases();
  return layout({
    title: "Policy in force",
    place: "/console/policy",
    visit,
    notice,
    body: html`${observeWarning(operations)}
      <p class="lead">Version <code>${set.version}</code>, of ${set.files.map((file, i) => html`${i > 0 && ", "}<code>${file}</code>`)}.</p>
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
          ? badge("bad", "nobody")
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
function roleCard(
  { name, users, from, reads, writes, sees, finds, ...role }: Role,
  uncounted: readonly string[],
): Html {
  const { only, purpose, writesOwnConditions, requireFilter, aggregatesOnly, limits, budget, calls } = role;
  return html`<li>
    <h4><bdi>${name}</bdi></h4>
    <dl>
      ${fact("Users", users.length > 0 && html`<bdi>${users.map(({ text }) => text).join(", ")}</bdi>`)}
      ${fact("From", from.length > 0 && from.map(({ text }) => text).join(", "))}
      ${fact("Reads", relations(reads))}
      ${fact("Writes", relations(writes))}
      ${fact("Sees in the clear", sees === "all" ? "all" : [...sees].map(sight))}
      ${fact("Finds by exact value", finds === "all" ? "all" : [...finds].join(", "))}
      ${fact(
        "Only rows where",
        [...only].map(([relation, { sql }]) => line([relation, ": ", code(sql)])),
      )}
      ${fact(
        "Purpose",
        [...purpose].map(([relation, { sql }]) => line([relation, ": ", code(sql)])),
      )}
      ${fact("Writes of its own conditions", [...writesOwnConditions.keys()].join(", "))}
      ${fact("Must filter", [...requireFilter].join(", "))}
      ${fact("Only groups of", aggregatesOnly !== undefined && `${aggregatesOnly.minGroup} or more${aggregatesOnly.noise > 0 ? "" : ", exact figures"}`)}
      ${fact("Calls", [...calls.keys()].join(", "))}
      ${fact("One statement", limitText(limits))}
      ${fact("Budget", budget.length === 0 ? "none" : budget.map(budgetLine))}
      ${fact("Counts nobody of", uncounted.length > 0 && badge("bad", uncounted.join(", ")))}
    </dl>
  </li>`;
}

function uncountedReads(role: Role, policy: Policy): readonly string[] {
  if (!role.budget.some(({ what }) => what === "people")) return [];
  return [...policy.tables.values()]
    .filter(({ name, subject, columns }) => {
      const dot = name.indexOf(".");
      const isRead = relationSetHas(role.reads, name.slice(0, dot), name.slice(dot + 1));
      return isRead && subject === undefined && columns.size > 0;
    })
    .map(({ name }) => name);
}

/** What a role has not is left out. */
function fact(name: string, value: string | Html | false | readonly Html[]): Html {
  const isEmpty = value === false || value === "" || (Array.isArray(value) && value.length === 0);
  return isEmpty ? html`` : html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
}

function line(parts: Value): Html {
  return html`<span class="line">${parts}</span>`;
}

function budgetLine({ limit, what, name, scope = "user" }: BudgetWindow): Html {
  return line([number(limit), " ", what, " in ", name, scope !== "user" && ` for each ${scope}`]);
}

function relations(set: RelationSet): string {
  if (set === "all") return "all";
  return [...[...set.schemas].map((schema) => `${schema}.*`), ...set.tables].join(", ");
}

function sight([kind, when]: readonly [string, "always" | Condition]): Html {
  return line(when === "always" ? kind : [kind, " when ", code(when.sql)]);
}

function limitText({ rows, bytes, changes, onExcess }: Limits): string {
  const texts = [
    rows !== undefined && `${number(rows)} rows`,
    bytes !== undefined && `${number(bytes)} bytes`,
  ];
  const given = texts.filter((text) => text !== false);
  const read = `${given.join(", ")}${given.length > 0 && onExcess === "truncate" ? ", then cut" : ""}`;
  const written = changes === undefined ? "" : `${number(changes)} rows written`;
  return [read, written].filter((text) => text !== "").join("; ") || "without limit";
}

function classRow({ name, mask, cost }: ColumnClass) {
  return [html`<bdi>${name}</bdi>`, maskText(mask), `${number(cost)} ${cost === 1 ? "person" : "people"}`];
}

function maskText(mask: Mask) {
  switch (mask.kind) {
    case "constant":
      return `always "${mask.value}"`;
    case "first":
    case "last":
      return `the ${mask.kind} ${mask.count} characters stay`;
    case "token":
      return `token ${mask.prefix}…`;
    case "round":
      return `rounded to ${mask.to}`;
    case "truncate":
      return `only the ${mask.to}`;
    case "sql":
      return code(mask.expression);
    default:
      return mask.kind;
  }
}
