import type { ColumnClass, Limits, Mask, Policy, RelationSet, Role, Sight } from "../../../policy/policy.ts";
import { type Html, html } from "../html.ts";
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
    ${table(
      "Roles",
      [
        { head: "Role" },
        { head: "Users", kind: "long" },
        { head: "Reads", kind: "long" },
        { head: "Writes" },
        { head: "Sees in the clear" },
        { head: "Finds" },
        { head: "Limits" },
        { head: "Budget" },
      ],
      [...roles.values()].map(roleRow),
      "No role.",
    )}
    ${table(
      "Tables with protected columns",
      [{ head: "Table" }, { head: "People are" }, { head: "Columns and their classes", kind: "long" }],
      [...tables.values()].map(({ name: relation, subject, path = [], columns }) => [
        code(relation),
        [subject, ...path.map((step) => `${step.table}.${step.column}`)].filter((one) => one).join(" → "),
        [...columns].map(([column, kind]) => `${column}: ${kind}`).join(", "),
      ]),
      "No table.",
    )}
    ${table(
      "Classes and their masks",
      [{ head: "Class" }, { head: "Mask" }, { head: "One counts for", kind: "number" }],
      [...classes.values()].map(classRow),
      "No class.",
    )}
  </section>`;
}

const UNCLASSIFIED = { show: "are shown", mask: "are masked", deny: "may not be read" } as const;

function roleRow(role: Role) {
  const { name, users, from, reads, writes, sees, finds, only, limits, budget } = role;
  return [
    [
      html`<strong><bdi>${name}</bdi></strong>`,
      from.length > 0 && html`<small>from ${from.map(({ text }) => text).join(", ")}</small>`,
    ],
    html`<bdi>${users.map(({ text }) => text).join(", ")}</bdi>`,
    [
      relations(reads),
      [...only].map(([relation, { sql }]) => html`<small>${relation} only where ${code(sql)}</small>`),
    ],
    relations(writes),
    sight(sees),
    finds === "all" ? "all" : [...finds].join(", "),
    [
      limitText(limits),
      role.aggregatesOnly !== undefined &&
        html`<small>only groups of ${role.aggregatesOnly.minGroup} or more</small>`,
    ],
    budget.length === 0
      ? "none"
      : budget.map(
          ({ limit, what, name: window, scope = "user" }) =>
            html`<span class="line">${number(limit)} ${what} in ${window}${scope !== "user" && ` a ${scope}`}</span>`,
        ),
  ];
}

function relations(set: RelationSet): string {
  return set === "all"
    ? "all"
    : [...set.schemas]
        .map((schema) => `${schema}.*`)
        .concat([...set.tables])
        .join(", ");
}

function sight(sees: Sight) {
  if (sees === "all") return "all";
  return [...sees].map(([kind, when]) =>
    when === "always"
      ? html`<span class="line">${kind}</span>`
      : html`<span class="line">${kind} <small>when ${code(when.sql)}</small></span>`,
  );
}

function limitText({ rows, bytes, onExcess }: Limits): string {
  const texts = [
    rows !== undefined && `${number(rows)} rows`,
    bytes !== undefined && `${number(bytes)} bytes`,
  ];
  const given = texts.filter((text) => text !== false);
  if (given.length === 0) return "none";
  return `${given.join(", ")}${onExcess === "truncate" ? ", then cut" : ""}`;
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
