import { type BoardPlan, INSTANCE, INSTANCES, lines, ROLES, type RowPlan } from "./plan.ts";

const USER = `user=~"$user", role=~"$role", ${INSTANCE}`;
/** Only the roles of the users that are chosen. */
const THEIR_ROLES = `and on (role) group by (role) (sluice_budget_user_used_ratio{${USER}})`;

const WHERE_TO_LOOK = `Metrics name users only with \`--metrics-users 20\`: those who have used most of their budgets. Names in a
monitoring system are personal data, so the default is none, and these panels are empty.

What a person did is not in metrics at all:

| question | answer |
| --- | --- |
| How near are they to each of their budgets? | \`SHOW BUDGETS anna\` in the admin database; their page in the console |
| What do they run now? | \`SHOW CLIENTS\`, \`SHOW STATEMENTS\`; the console |
| Whose records have they read? | \`sluice audit read-by anna\` |
| They must stop at once | \`sluice suspend anna --why "…"\`; \`sluice resume anna\` |
`;

const budgets: RowPlan = {
  title: "Budgets",
  panels: [
    {
      kind: "bargauge",
      title: "Nearest to the end of a budget",
      description:
        "The share used of the budget that is nearest its end, of users who read in the last five minutes. At 1 they are refused: ask what for before you raise it.",
      unit: "percentunit",
      max: 1,
      width: 12,
      height: 12,
      thresholds: [
        { from: 0.8, color: "yellow" },
        { from: 1, color: "red" },
      ],
      queries: [
        {
          expr: `sort_desc(max by (user, role) (sluice_budget_user_used_ratio{${USER}}))`,
          legend: "{{user}} ({{role}})",
        },
      ],
    },
    {
      kind: "text",
      title: "One user",
      description: "Where all else about a user is found, and how metrics come to name users.",
      markdown: WHERE_TO_LOOK,
      width: 12,
      height: 12,
    },
    lines({
      title: "Share of a budget used",
      description:
        "The same over time. A line that climbs all day at one pace is a program; work goes up and down. A gap: they did not read, or others are nearer the end.",
      unit: "percentunit",
      width: 24,
      thresholds: [
        { from: 0.8, color: "yellow" },
        { from: 1, color: "red" },
      ],
      queries: [
        {
          expr: `max by (user, role) (sluice_budget_user_used_ratio{${USER}})`,
          legend: "{{user}} ({{role}})",
        },
      ],
    }),
  ],
};

const colleagues: RowPlan = {
  title: "All users of the same roles",
  panels: [
    lines({
      title: "Highest share of each budget",
      description:
        "Of the role's users. One at 1 and the others low: it is them. All of them high: it is the day, or the budget.",
      unit: "percentunit",
      thresholds: [
        { from: 0.8, color: "yellow" },
        { from: 1, color: "red" },
      ],
      queries: [
        {
          expr: `max by (role, unit, window) (sluice_budget_used_ratio{${INSTANCE}}) ${THEIR_ROLES}`,
          legend: "{{role}} {{unit}} {{window}}",
        },
      ],
    }),
    lines({
      title: "Refused or cut short, by reason",
      description:
        "Of the role's users. relation, column: somebody looks where they never worked. budget, lookups: they read more than the rest.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (role, reason) (rate(sluice_denials_total{${INSTANCE}}[$__rate_interval])) ${THEIR_ROLES}`,
          legend: "{{role}} {{reason}}",
        },
      ],
    }),
    lines({
      title: "Odd behaviour",
      description: "Of the role's users, in an hour, by rule. The log names them. Runbook: SluiceBehaviour.",
      unit: "short",
      queries: [
        {
          expr: `sum by (role, rule) (increase(sluice_behaviour_alerts_total{${INSTANCE}}[1h])) ${THEIR_ROLES}`,
          legend: "{{role}} {{rule}}",
        },
      ],
    }),
  ],
};

export const user: BoardPlan = {
  name: "user",
  title: "Sluice: one user",
  description:
    "How near users are to the end of their budgets, beside the others of their roles; needs --metrics-users.",
  variables: [INSTANCES, ROLES, { name: "user", metric: "sluice_budget_user_used_ratio" }],
  rows: [budgets, colleagues],
};
