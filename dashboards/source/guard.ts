import {
  type BoardPlan,
  DATABASES,
  INSTANCE,
  INSTANCES,
  lines,
  ROLE,
  ROLES,
  type RowPlan,
  WHERE,
} from "./plan.ts";

const budgets: RowPlan = {
  title: "Budgets",
  panels: [
    lines({
      title: "People read in an hour",
      description:
        "Distinct people of each statement, added up, over all instances. A role far above its usual: SHOW BUDGETS in the admin database says whose reading it is.",
      unit: "short",
      queries: [
        {
          expr: 'sum by (role) (sluice:people:increase1h{database=~"$database", role=~"$role"})',
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Statements refused for a budget",
      description:
        "In an hour. One user again and again: suspend and ask. The whole role on a busy day: the budget is too small. Runbook: SluiceBudgetsUsedUp.",
      unit: "short",
      thresholds: [{ from: 20, color: "yellow" }],
      queries: [
        {
          expr: `sum by (role) (increase(sluice_denials_total{${WHERE}, sqlstate="53400"}[1h]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Statements cut off at a limit",
      description:
        "In an hour: more rows or bytes than rows: and bytes: of the role allow. Honest lists that end here want a LIMIT; a dump ends here as well.",
      unit: "short",
      queries: [
        {
          expr: `sum by (role) (increase(sluice_denials_total{${WHERE}, sqlstate="54000"}[1h]))`,
          legend: "{{role}}",
        },
      ],
    }),
  ],
};

const sight: RowPlan = {
  title: "What the roles see",
  panels: [
    lines({
      title: "Statements with masked columns",
      description:
        "Share of a role's statements. It falls to nothing after a new policy: look whether a class went missing.",
      unit: "percentunit",
      max: 1,
      queries: [
        {
          expr: `sum by (role) (rate(sluice_statements_total{${WHERE}, decision="mask"}[$__rate_interval])) / sum by (role) (rate(sluice_statements_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Exact look-ups",
      description:
        "Searches for a masked value that the user knows. Many in a row by one user: he tries values out (rule lookups).",
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_lookups_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Rows for each statement",
      description:
        "On average. An agent's work is a few rows at a time; a rise is a list, an export or a dump.",
      unit: "short",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_rows_total{${WHERE}}[$__rate_interval])) / sum by (role) (rate(sluice_statements_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
  ],
};

const refusals: RowPlan = {
  title: "What was refused",
  panels: [
    lines({
      title: "Refused or cut short, by role",
      description:
        "A rise right after a mark (a policy was read): somebody lost a right that his work needs. sluice policy explain says which line.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_denials_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Refused or cut short, by SQLSTATE",
      description:
        "53400: a budget is used up. 54000: past a limit of rows or bytes, or too long. 42501: a right is missing, or nothing proves that it is safe. 58000: the counters or the audit log are away.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (sqlstate) (rate(sluice_denials_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{sqlstate}}",
        },
      ],
    }),
    lines({
      title: "Log-ins that failed",
      description:
        "In an hour, by reason. suspended: somebody who was cut off tries again. no_role: the policy names no role for the user. Runbook: SluiceLoginFailures.",
      unit: "short",
      queries: [
        {
          expr: `sum by (reason) (increase(sluice_login_failures_total{${INSTANCE}}[1h]))`,
          legend: "{{reason}}",
        },
      ],
    }),
  ],
};

const behaviour: RowPlan = {
  title: "Who reads as he never does",
  panels: [
    lines({
      title: "Odd behaviour, by rule",
      description:
        "In an hour, by the rule that saw it and what was done. The log names the user. Runbook: SluiceBehaviour.",
      unit: "short",
      width: 12,
      queries: [
        {
          expr: `sum by (rule, action) (increase(sluice_behaviour_alerts_total{${ROLE}}[1h]))`,
          legend: "{{rule}} {{action}}",
        },
      ],
    }),
    lines({
      title: "Odd behaviour, by role",
      description:
        "In an hour. Many users of one role at once: their work has changed, or a program bears their names.",
      unit: "short",
      width: 12,
      queries: [
        {
          expr: `sum by (role) (increase(sluice_behaviour_alerts_total{${ROLE}}[1h]))`,
          legend: "{{role}}",
        },
      ],
    }),
  ],
};

export const guard: BoardPlan = {
  name: "guard-and-budgets",
  title: "Sluice: guard and budgets",
  description: "How much the roles read of what they may, what was refused, and who reads as he never does.",
  variables: [INSTANCES, DATABASES, ROLES],
  rows: [budgets, sight, refusals, behaviour],
};
