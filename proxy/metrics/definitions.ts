/** One metric: its text in docs/metrics.md, and its definition for Prometheus. */
export interface Definition {
  readonly name: `sluice_${string}`;
  readonly type: "counter" | "gauge" | "histogram";
  readonly labels: readonly string[];
  readonly help: string;
  /** How a gauge's numbers of several processes are combined. Counters are added up. */
  readonly together?: Together;
  /** For a histogram: the upper bounds. */
  readonly buckets?: readonly number[];
  /** Only the first of several processes reports it. */
  readonly ofFirst?: true;
}

/** A state is as bad as in the worst process: the lowest value of "up", the highest of a lag. */
export type Together = "sum" | "min" | "max" | "first";

const WHERE = ["database", "role"] as const;
/** Upper bounds in seconds for a statement's time; for the time that Sluice adds; for one command to Redis. */
const STATEMENT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const STAGE_SECONDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];
/** From a minute to a week. */
const ANSWER_SECONDS = [60, 300, 600, 1_800, 3_600, 14_400, 28_800, 86_400, 259_200, 604_800];
const REDIS_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5];

/**
 * All metrics, in the order of docs/metrics.md. A label's values come from the configuration or a closed list, never
 * from a client's text. The one metric that names users must be enabled with a setting.
 */
export const METRICS = {
  buildInfo: {
    name: "sluice_build_info",
    type: "gauge",
    labels: ["version"],
    help: "Always 1; the labels name the version.",
    together: "first",
  },
  policyInfo: {
    name: "sluice_policy_info",
    type: "gauge",
    labels: ["version"],
    help: "Always 1; the label is the digest of the policy in force, as audit events have it.",
    together: "first",
  },
  workers: {
    name: "sluice_workers",
    type: "gauge",
    labels: [],
    help: "Worker processes that take clients.",
    together: "sum",
    ofFirst: true,
  },
  workerRestarts: {
    name: "sluice_worker_restarts_total",
    type: "counter",
    labels: [],
    help: "Worker processes that ended by themselves and were started again.",
    ofFirst: true,
  },
  clientConnections: {
    name: "sluice_client_connections",
    type: "gauge",
    labels: ["database"],
    help: "Sessions that have logged in.",
    together: "sum",
  },
  sessions: {
    name: "sluice_sessions_total",
    type: "counter",
    labels: ["database"],
    help: "Sessions begun, after their login.",
  },
  sessionsEnded: {
    name: "sluice_sessions_ended_total",
    type: "counter",
    labels: ["reason"],
    help: "Sessions ended, by what ended them.",
  },
  loginFailures: {
    name: "sluice_login_failures_total",
    type: "counter",
    labels: ["reason"],
    help: "Logins that failed, by reason.",
  },
  suspendedUsers: {
    name: "sluice_suspended_users",
    type: "gauge",
    labels: [],
    help: "Users who are cut off.",
    together: "max",
  },
  openCases: {
    name: "sluice_open_cases",
    type: "gauge",
    labels: [],
    help: "Cases, in which alerts of a user are gathered, that nobody has closed.",
    together: "max",
  },
  caseAnswerSeconds: {
    name: "sluice_case_answer_seconds",
    type: "histogram",
    labels: [],
    help: "From the first alert of a case to an operator's first answer, or its closing.",
    buckets: ANSWER_SECONDS,
  },
  statements: {
    name: "sluice_statements_total",
    type: "counter",
    labels: [...WHERE, "command", "decision"],
    help: "Statements by what was decided of them: allow, mask, refuse, cut or observe.",
  },
  denials: {
    name: "sluice_denials_total",
    type: "counter",
    labels: [...WHERE, "sqlstate", "reason"],
    help: "Statements refused or cut short, by SQLSTATE and by the kind of policy line that did it.",
  },
  rows: { name: "sluice_rows_total", type: "counter", labels: WHERE, help: "Rows given to clients." },
  resultBytes: {
    name: "sluice_result_bytes_total",
    type: "counter",
    labels: WHERE,
    help: "Bytes of rows given to clients.",
  },
  people: {
    name: "sluice_people_total",
    type: "counter",
    labels: WHERE,
    help: "People read, counted once a statement.",
  },
  maskedCells: {
    name: "sluice_masked_cells_total",
    type: "counter",
    labels: WHERE,
    help: "Protected cells given masked: a statement's rows times the classes that it names masked.",
  },
  lookups: {
    name: "sluice_lookups_total",
    type: "counter",
    labels: WHERE,
    help: "Exact lookups of masked columns.",
  },
  reveals: {
    name: "sluice_reveals_total",
    type: "counter",
    labels: [...WHERE, "class"],
    help: "People whose tokens of a class were turned back, counted once a statement, in sessions whose statements are judged.",
  },
  budgetUsed: {
    name: "sluice_budget_used_ratio",
    type: "gauge",
    labels: ["role", "unit", "window"],
    help: "The highest share of a budget, 0 to 1, that a user of the role has used, of those who read lately.",
    together: "max",
  },
  budgetUserUsed: {
    name: "sluice_budget_user_used_ratio",
    type: "gauge",
    labels: ["user", "role"],
    help: "With --metrics-users: the users nearest to the end of one of their budgets, and its share used.",
    together: "max",
  },
  alerts: {
    name: "sluice_behaviour_alerts_total",
    type: "counter",
    labels: ["role", "rule", "action"],
    help: "Users who read as they never do, by the rule that saw it and what was done.",
  },
  alertDeliveries: {
    name: "sluice_alert_deliveries_total",
    type: "counter",
    labels: ["outcome"],
    help: "Attempts to hand an alert to the receiver of --alert-webhook: taken, or failed and tried again. lost: alerts that it never gets.",
  },
  claimsRejected: {
    name: "sluice_claims_rejected_total",
    type: "counter",
    labels: ["reason"],
    help: "Rejected tokens that should name a person of an application: expired, signature, keys, claims, malformed or long.",
  },
  statementSeconds: {
    name: "sluice_statement_duration_seconds",
    type: "histogram",
    labels: ["database"],
    help: "From a statement's hand-over to the server, after its analysis, to the end of its reply's way through.",
    buckets: STATEMENT_SECONDS,
  },
  upstreamSeconds: {
    name: "sluice_upstream_seconds",
    type: "histogram",
    labels: ["database"],
    help: "The same, less what its rows waited for the counters: the server's own time, and the client's to read.",
    buckets: STATEMENT_SECONDS,
  },
  overheadSeconds: {
    name: "sluice_overhead_seconds",
    type: "histogram",
    labels: ["stage"],
    help: "Time that Sluice itself adds: analysis (not in the cache), meter and audit (each wait of rows for them).",
    buckets: STAGE_SECONDS,
  },
  analysisSeconds: {
    name: "sluice_analysis_seconds",
    type: "histogram",
    labels: ["stage"],
    help: "Of an analysis (not in the cache), what each of its stages took: parse, bind, rules, emit and verify.",
    buckets: STAGE_SECONDS,
  },
  analysisRefusals: {
    name: "sluice_analysis_refusals_total",
    type: "counter",
    labels: ["stage"],
    help: "Texts that the analysis refused, or had refused before, by the stage that did it.",
  },
  verdictCache: {
    name: "sluice_verdict_cache_requests_total",
    type: "counter",
    labels: ["result"],
    help: "Verdicts asked for: hit or miss.",
  },
  verificationFailures: {
    name: "sluice_verification_failures_total",
    type: "counter",
    labels: [],
    help: "Statements that were refused because they did not verify: the rewritten text kept a guarded relation or had a change out of place, or the server described other columns than expected.",
  },
  upstreamUp: {
    name: "sluice_upstream_up",
    type: "gauge",
    labels: ["database"],
    help: "1 while the control connection reaches the database.",
    together: "min",
  },
  catalogRefreshed: {
    name: "sluice_catalog_last_refresh_timestamp_seconds",
    type: "gauge",
    labels: [],
    help: "When the catalog was last found fresh.",
    together: "min",
  },
  countersUp: {
    name: "sluice_counters_up",
    type: "gauge",
    labels: [],
    help: "1 while the counter store can be reached.",
    together: "min",
  },
  redisSeconds: {
    name: "sluice_redis_seconds",
    type: "histogram",
    labels: ["operation"],
    help: "Time until Redis answered a command, by what it was for.",
    buckets: REDIS_SECONDS,
  },
  redisErrors: {
    name: "sluice_redis_errors_total",
    type: "counter",
    labels: ["operation"],
    help: "Commands that Redis refused, or did not answer in time.",
  },
  policyReloads: {
    name: "sluice_policy_reloads_total",
    type: "counter",
    labels: ["result"],
    help: "Policies read, by result.",
  },
  policyReloaded: {
    name: "sluice_policy_last_reload_successful",
    type: "gauge",
    labels: [],
    help: "1 when the policy read last is in force, 0 when it was rejected and an older one stays.",
    together: "min",
  },
  policyReloadedAt: {
    name: "sluice_policy_last_reload_success_timestamp_seconds",
    type: "gauge",
    labels: [],
    help: "When the policy in force was read.",
    together: "min",
  },
  auditLag: {
    name: "sluice_audit_lag_seconds",
    type: "gauge",
    labels: [],
    help: "Age of the oldest audit event that is not on disk yet; 0 when all are.",
    together: "max",
  },
  auditDropped: {
    name: "sluice_audit_dropped_total",
    type: "counter",
    labels: [],
    help: "Audit events that never reached the disk.",
  },
  auditSinkDropped: {
    name: "sluice_audit_sink_dropped_total",
    type: "counter",
    labels: ["sink"],
    help: "Audit events that a sink other than the files never got.",
  },
  auditSinkFailures: {
    name: "sluice_audit_sink_failures_total",
    type: "counter",
    labels: ["sink"],
    help: "Failed writes to a sink other than the files; they are tried again each second. The log says why.",
  },
} as const satisfies Readonly<Record<string, Definition>>;

/** All definitions, in the order of the table. */
export const DEFINITIONS: readonly Definition[] = Object.values(METRICS);
