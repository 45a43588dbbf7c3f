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
      title: "Share of a budget used",
      description:
        "The highest that a user of the role has used of each window, of those who read in the last five minutes. Long at 1: they are refused again and again. Sluice: one user names users.",
      unit: "percentunit",
      width: 24,
      thresholds: [
        { from: 0.8, color: "yellow" },
        { from: 1, color: "red" },
      ],
      queries: [
        {
          expr: `max by (role, unit, window) (sluice_budget_used_ratio{${ROLE}})`,
          legend: "{{role}} {{unit}} {{window}}",
        },
      ],
    }),
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
      width: 6,
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
      title: "Masked cells",
      description:
        "Protected values that were given as their mask. A fall to nothing after a new policy, as beside it: a class went missing.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_masked_cells_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Exact look-ups",
      description:
        "Searches for a masked value that the user knows. Many in a row by one user: they try values out (rule lookups).",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_lookups_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Tokens turned back",
      description:
        "People whose values of a class were turned back, in an hour. A rise without more work: somebody reads what they do not need (reveals: of a role).",
      width: 6,
      unit: "short",
      queries: [
        {
          expr: `sum by (role, class) (increase(sluice_reveals_total{${WHERE}}[1h]))`,
          legend: "{{role}} {{class}}",
        },
      ],
    }),
    lines({
      title: "Rows for each statement",
      description:
        "On average. An agent's work is a few rows at a time; a rise is a list, an export or a dump.",
      width: 6,
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
      title: "Claims that name nobody",
      description:
        "Tokens of applications that should name a person (signed_by), by why they do not. expired: clocks, or tokens that live too shortly. signature: other keys, or a forgery. keys: the key set cannot be reached.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (reason) (rate(sluice_claims_rejected_total{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{reason}}",
        },
      ],
    }),
    lines({
      title: "Refused or cut short, by role",
      description:
        "A rise right after a mark (a policy was read): somebody lost a right that their work needs. sluice policy explain says which line.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_denials_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Refused or cut short, by reason",
      description:
        "The kind of policy line that did it. relation, column, function, write: a right is missing. rows, bytes, budget, lookups, reveals, changes: a limit. not_understood: no line could allow it (docs/refused.md). counters, audit: see the overview.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (reason) (rate(sluice_denials_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{reason}}",
        },
      ],
    }),
    lines({
      title: "Refused or cut short, by SQLSTATE",
      description:
        "53400: a budget is used up. 54000: past a limit of rows or bytes, or too long. 42501: a right is missing, or nothing proves that it is safe. 58000: the counters or the audit log are away.",
      width: 6,
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
      width: 6,
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
  title: "Unusual reading patterns",
  panels: [
    lines({
      title: "Odd behaviour, by rule",
      description:
        "In an hour, by the rule that saw it and what was done. The log names the user. Runbook: SluiceBehaviour.",
      unit: "short",
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
      queries: [
        {
          expr: `sum by (role) (increase(sluice_behaviour_alerts_total{${ROLE}}[1h]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Users cut off",
      description:
        "Suspended by somebody or by a rule, over the fleet. SHOW SUSPENDED in the admin database says who and why.",
      unit: "short",
      queries: [{ expr: `max(sluice_suspended_users{${INSTANCE}})`, legend: "users" }],
    }),
    lines({
      title: "Open cases",
      description:
        "Alerts of a user are one case, until an officer closes it in the console (page Cases), over the fleet.",
      unit: "short",
      queries: [{ expr: `max(sluice_open_cases{${INSTANCE}})`, legend: "cases" }],
    }),
    lines({
      title: "Time to answer a case",
      description:
        "From a case's first alert to an officer's first answer, on average of the cases answered in a week; 0 where none was.",
      unit: "s",
      queries: [
        {
          expr: `sum(increase(sluice_case_answer_seconds_sum{${INSTANCE}}[7d])) / clamp_min(sum(increase(sluice_case_answer_seconds_count{${INSTANCE}}[7d])), 1)`,
          legend: "mean",
        },
      ],
    }),
  ],
};

export const guard: BoardPlan = {
  name: "guard-and-budgets",
  title: "Sluice: guard and budgets",
  description:
    "How much the roles read of what they may, what was refused, and who reads in an unusual pattern.",
  variables: [INSTANCES, DATABASES, ROLES],
  rows: [budgets, sight, refusals, behaviour],
};
