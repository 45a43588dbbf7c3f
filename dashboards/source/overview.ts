import {
  type BoardPlan,
  DATABASE,
  DATABASES,
  INSTANCE,
  INSTANCES,
  lines,
  ROLE,
  ROLES,
  type RowPlan,
  state,
  WHERE,
  wellOrNot,
  ZERO,
} from "./plan.ts";

const well: RowPlan = {
  title: "Is all well?",
  panels: [
    state({
      title: "Instances that answer",
      description: "Red: clients have no way to the database. Runbook: SluiceDown.",
      unit: "short",
      thresholds: [
        { from: 0, color: "red" },
        { from: 1, color: "green" },
      ],
      queries: [{ expr: `sum(up{job="sluice", ${INSTANCE}})`, legend: "instances" }],
    }),
    state({
      title: "Database",
      description:
        "Whether each instance's control connection reaches the database. If not, new tables stay unknown, and logins most likely fail. Runbook: SluiceUpstreamDown.",
      unit: "bool",
      words: wellOrNot("reached", "away"),
      queries: [{ expr: `min(sluice_upstream_up{${DATABASE}})`, legend: "database" }],
    }),
    state({
      title: "Counters",
      description:
        "Whether each instance reaches its counters. If not, reads that a budget counts are refused. Runbook: SluiceCountersDown.",
      unit: "bool",
      words: wellOrNot("reached", "away"),
      queries: [{ expr: `min(sluice_counters_up{${INSTANCE}})`, legend: "counters" }],
    }),
    state({
      title: "Policy",
      description:
        "Whether the policy read last is in force everywhere. If not, it has a mistake and an older one holds. Runbook: SluicePolicyRejected.",
      unit: "bool",
      words: wellOrNot("in force", "rejected"),
      queries: [{ expr: `min(sluice_policy_last_reload_successful{${INSTANCE}})`, legend: "policy" }],
    }),
    state({
      title: "Policies in force",
      description:
        "How many different ones the instances have. More than one for long: an instance did not get the newest. Runbook: SluicePoliciesDiffer.",
      unit: "short",
      thresholds: [{ from: 2, color: "yellow" }],
      queries: [{ expr: `count(count by (version) (sluice_policy_info{${INSTANCE}}))`, legend: "policies" }],
    }),
    state({
      title: "Catalog last seen",
      description:
        "How long ago the instance that is furthest behind saw the database's tables. Newer tables are refused. Runbook: SluiceCatalogStale.",
      unit: "s",
      thresholds: [
        { from: 120, color: "yellow" },
        { from: 300, color: "red" },
      ],
      queries: [
        { expr: `time() - min(sluice_catalog_last_refresh_timestamp_seconds{${INSTANCE}})`, legend: "ago" },
      ],
    }),
    state({
      title: "Highest share of a budget used",
      description:
        "Of all users who read lately. At 1 somebody is refused; Sluice: guard and budgets shows which role.",
      unit: "percentunit",
      thresholds: [
        { from: 0.8, color: "yellow" },
        { from: 1, color: "red" },
      ],
      queries: [{ expr: `max(sluice_budget_used_ratio{${ROLE}})`, legend: "used" }],
    }),
    state({
      title: "Users cut off",
      description:
        "Suspended by somebody or by a rule of behaviour. SHOW SUSPENDED says who and why; sluice resume lets them in again.",
      unit: "short",
      thresholds: [{ from: 1, color: "yellow" }],
      queries: [{ expr: `max(sluice_suspended_users{${INSTANCE}})`, legend: "users" }],
    }),
    state({
      title: "Audit log behind by",
      description:
        "Age of the oldest event that is not on disk yet, on the slowest instance. Runbook: SluiceAuditBehind.",
      unit: "s",
      thresholds: [
        { from: 1, color: "yellow" },
        { from: 10, color: "red" },
      ],
      queries: [{ expr: `max(sluice_audit_lag_seconds{${INSTANCE}})`, legend: "behind" }],
    }),
    state({
      title: "Audit events lost",
      description:
        "Decisions without a trace on disk, in the time shown. Must be 0. Runbook: SluiceAuditLost.",
      unit: "short",
      thresholds: ZERO,
      queries: [
        { expr: `sum(increase(sluice_audit_dropped_total{${INSTANCE}}[$__range]))`, legend: "events" },
      ],
    }),
    state({
      title: "Audit events a sink lost",
      description:
        "They are on disk, but whoever watches the sink has not seen them, in the time shown. Failed writes are tried again each second; the log says why they failed. Runbook: SluiceAuditSinkDropped.",
      unit: "short",
      thresholds: [{ from: 0.001, color: "yellow" }],
      queries: [
        {
          expr: `sum(increase(sluice_audit_sink_dropped_total{${INSTANCE}}[$__range]))`,
          legend: "events",
        },
        {
          expr: `sum(increase(sluice_audit_sink_failures_total{${INSTANCE}}[$__range]))`,
          legend: "failed writes",
        },
      ],
    }),
    state({
      title: "Rewrites that did not verify",
      description:
        "Statements that Sluice rewrote wrongly and so refused, in the time shown. Must be 0. Runbook: SluiceVerificationFailed.",
      unit: "short",
      thresholds: ZERO,
      queries: [
        {
          expr: `sum(increase(sluice_verification_failures_total{${INSTANCE}}[$__range]))`,
          legend: "statements",
        },
      ],
    }),
  ],
};

const clients: RowPlan = {
  title: "Clients",
  panels: [
    lines({
      title: "Sessions",
      description:
        "Clients past login. A fall to nothing on one instance only: look whether the load balancer sends it any (/readyz).",
      width: 6,
      unit: "short",
      queries: [
        {
          expr: `sum by (instance, database) (sluice_client_connections{${DATABASE}})`,
          legend: "{{instance}} {{database}}",
        },
      ],
    }),
    lines({
      title: "Sessions begun",
      description: "Log-ins that went well. Many more than sessions are open: a client without a pool.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (database) (rate(sluice_sessions_total{${DATABASE}}[$__rate_interval]))`,
          legend: "{{database}}",
        },
      ],
    }),
    lines({
      title: "Sessions ended",
      description:
        "By what ended them. client: by themselves. upstream: the database closed them. timeout, idle: a limit of yours. protocol: a client that Sluice does not understand.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (reason) (rate(sluice_sessions_ended_total{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{reason}}",
        },
      ],
    }),
    lines({
      title: "Log-ins that failed",
      description:
        "By reason. password: somebody guesses, or a client has an old one. no_role: the policy names no role for the user. upstream: the database cannot be reached.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (reason) (rate(sluice_login_failures_total{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{reason}}",
        },
      ],
    }),
  ],
};

const statements: RowPlan = {
  title: "Statements",
  panels: [
    lines({
      title: "Statements by decision",
      description:
        "allow: as it is. mask: with masked columns. refuse: not run. cut: ended after some rows. observe: would have been refused.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (decision) (rate(sluice_statements_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{decision}}",
        },
      ],
    }),
    lines({
      title: "Statements by command",
      description: "What clients send. A command that nobody used to send is worth a question.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (command) (rate(sluice_statements_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{command}}",
        },
      ],
    }),
    lines({
      title: "Share refused or cut short",
      description:
        "Of all statements of a role, over five minutes and all instances. A rise after a new policy: somebody lost a right that their work needs.",
      unit: "percentunit",
      max: 1,
      thresholds: [
        { from: 0.05, color: "yellow" },
        { from: 0.25, color: "red" },
      ],
      queries: [
        {
          expr: 'sluice:denied_ratio:rate5m{database=~"$database", role=~"$role"}',
          legend: "{{database}} {{role}}",
        },
      ],
    }),
  ],
};

const read: RowPlan = {
  title: "What was read",
  panels: [
    lines({
      title: "People read in an hour",
      description:
        "Distinct people of each statement, added up, by role and over all instances. Far above the usual: Sluice: guard and budgets shows whose budget it is.",
      unit: "short",
      queries: [
        {
          expr: 'sum by (role) (sluice:people:increase1h{database=~"$database", role=~"$role"})',
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Rows and look-ups",
      description: "Rows given to clients, and searches for an exact masked value.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_rows_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}} rows",
        },
        {
          expr: `sum by (role) (rate(sluice_lookups_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}} look-ups",
        },
      ],
    }),
    lines({
      title: "Bytes given out",
      description: "Bytes of those rows. Many bytes of few rows: somebody reads long texts or files.",
      unit: "Bps",
      queries: [
        {
          expr: `sum by (role) (rate(sluice_result_bytes_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{role}}",
        },
      ],
    }),
    lines({
      title: "Refusals by SQLSTATE",
      description:
        "53400: a budget is used up. 54000: past a limit of rows or bytes, or too long. 42501: a right is missing, or nothing proves that it is safe. 58000: the counters or the audit log are away.",
      unit: "ops",
      width: 12,
      queries: [
        {
          expr: `sum by (sqlstate) (rate(sluice_denials_total{${WHERE}}[$__rate_interval]))`,
          legend: "{{sqlstate}}",
        },
      ],
    }),
    lines({
      title: "Odd behaviour",
      description:
        "Users who read as they never do, in an hour, by rule. The log names them. Runbook: SluiceBehaviour.",
      unit: "short",
      width: 12,
      queries: [
        {
          expr: `sum by (rule, action) (increase(sluice_behaviour_alerts_total{${ROLE}}[1h]))`,
          legend: "{{rule}} {{action}}",
        },
      ],
    }),
  ],
};

const fleet: RowPlan = {
  title: "What runs",
  panels: [
    lines({
      title: "Versions",
      description: "Instances of each version. Two for long: an upgrade that stopped half-way.",
      width: 6,
      unit: "short",
      queries: [{ expr: `count by (version) (sluice_build_info{${INSTANCE}})`, legend: "{{version}}" }],
    }),
    lines({
      title: "Policies in force",
      description:
        "Instances by the digest of their policy, as audit events have it. One line takes over from another when a policy is read.",
      width: 6,
      unit: "short",
      queries: [{ expr: `count by (version) (sluice_policy_info{${INSTANCE}})`, legend: "{{version}}" }],
    }),
    lines({
      title: "Policies read",
      description: "In an hour, by result. failure: Runbook, SluicePolicyRejected.",
      width: 6,
      unit: "short",
      queries: [
        {
          expr: `sum by (result) (increase(sluice_policy_reloads_total{${INSTANCE}}[1h]))`,
          legend: "{{result}}",
        },
      ],
    }),
    lines({
      title: "Workers and their restarts",
      description:
        "Only with --workers. Processes that take clients, and those that ended by themselves in an hour. Runbook: SluiceWorkersRestart.",
      width: 6,
      unit: "short",
      queries: [
        { expr: `sum by (instance) (sluice_workers{${INSTANCE}})`, legend: "{{instance}} workers" },
        {
          expr: `sum by (instance) (increase(sluice_worker_restarts_total{${INSTANCE}}[1h]))`,
          legend: "{{instance}} restarts",
        },
      ],
    }),
  ],
};

export const overview: BoardPlan = {
  name: "overview",
  title: "Sluice: overview",
  description: "Whether all is well, who is connected, what is decided and how much is read.",
  variables: [INSTANCES, DATABASES, ROLES],
  rows: [well, clients, statements, read, fleet],
};
