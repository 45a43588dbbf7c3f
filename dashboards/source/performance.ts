import { type BoardPlan, DATABASE, DATABASES, INSTANCE, INSTANCES, lines, type RowPlan } from "./plan.ts";

const clients: RowPlan = {
  title: "What clients feel",
  panels: [
    lines({
      title: "Statement duration",
      description:
        "From a statement's arrival to the end of its reply, the database's own time among it: half of them and all but one in a hundred, of the slowest instance. Slow here and beside it: look at the database. Slow only here: the rows waited for the counters.",
      width: 6,
      unit: "s",
      queries: [
        {
          expr: `max by (database) (sluice:statement_duration_seconds:p50_rate5m{${DATABASE}})`,
          legend: "{{database}} half",
        },
        {
          expr: `max by (database) (sluice:statement_duration_seconds:p99_rate5m{${DATABASE}})`,
          legend: "{{database}} 99 %",
        },
      ],
    }),
    lines({
      title: "Of it the database's",
      description:
        "The server's own time, and the client's to read its rows, of the slowest instance: pg_stat_statements says which statements.",
      width: 6,
      unit: "s",
      queries: [
        {
          expr: `max by (database) (sluice:upstream_seconds:p50_rate5m{${DATABASE}})`,
          legend: "{{database}} half",
        },
        {
          expr: `max by (database) (sluice:upstream_seconds:p99_rate5m{${DATABASE}})`,
          legend: "{{database}} 99 %",
        },
      ],
    }),
    lines({
      title: "Statements",
      description:
        "Statements by instance. One that has far more than the others: the load balancer holds on to long sessions.",
      width: 6,
      unit: "ops",
      queries: [
        {
          expr: `sum by (instance) (rate(sluice_statements_total{${DATABASE}}[$__rate_interval]))`,
          legend: "{{instance}}",
        },
      ],
    }),
    lines({
      title: "Sessions",
      description: "Clients past login, by instance. Near --max-clients the next ones are told 53300.",
      width: 6,
      unit: "short",
      queries: [
        { expr: `sum by (instance) (sluice_client_connections{${DATABASE}})`, legend: "{{instance}}" },
      ],
    }),
  ],
};

const added: RowPlan = {
  title: "What Sluice adds",
  panels: [
    lines({
      title: "Time added, half of the times",
      description:
        "By stage, of the slowest instance. analysis: once for each new text of a statement. meter: rows that wait for the counters. audit: rows that wait for the disk.",
      unit: "s",
      queries: [
        {
          expr: `max by (stage) (sluice:overhead_seconds:p50_rate5m{${INSTANCE}})`,
          legend: "{{stage}}",
        },
      ],
    }),
    lines({
      title: "Time added, all but one in a hundred",
      description:
        "By stage, of the slowest instance. analysis above 25 ms: very long statements, or too few processors (see Event loop).",
      unit: "s",
      thresholds: [
        { from: 0.025, color: "yellow" },
        { from: 0.1, color: "red" },
      ],
      queries: [
        {
          expr: `max by (stage) (sluice:overhead_seconds:p99_rate5m{${INSTANCE}})`,
          legend: "{{stage}}",
        },
      ],
    }),
    lines({
      title: "Verdicts found in the cache",
      description:
        "A low share: clients write values into the statements' texts. Parameters ($1) give one text to many statements.",
      unit: "percentunit",
      max: 1,
      queries: [{ expr: `sluice:verdict_cache_hit_ratio:rate5m{${INSTANCE}}`, legend: "{{instance}}" }],
    }),
    lines({
      title: "Stages of an analysis",
      description:
        "Time of texts that are not in the cache, by stage, on average. docs/metrics.md says what the stages are.",
      unit: "s",
      queries: [
        {
          expr: `sum by (stage) (rate(sluice_analysis_seconds_sum{${INSTANCE}}[$__rate_interval])) / sum by (stage) (rate(sluice_analysis_seconds_count{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{stage}}",
        },
      ],
    }),
    lines({
      title: "Texts refused, by stage",
      description:
        "parse: mistakes and syntax that is not known. bind: names. rules: the policy. verify: a fault of Sluice, see the overview.",
      unit: "ops",
      queries: [
        {
          expr: `sum by (stage) (rate(sluice_analysis_refusals_total{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{stage}}",
        },
      ],
    }),
  ],
};

const beneath: RowPlan = {
  title: "What Sluice stands on",
  panels: [
    lines({
      title: "Redis, all but one in a hundred",
      description:
        "Time until Redis answered, by what it was for, of the slowest instance. charge is on the way of every guarded read: above 10 ms look at the network, or for slow commands of others (SLOWLOG).",
      unit: "s",
      width: 6,
      thresholds: [
        { from: 0.01, color: "yellow" },
        { from: 0.1, color: "red" },
      ],
      queries: [
        {
          expr: `max by (operation) (sluice:redis_seconds:p99_rate5m{${INSTANCE}})`,
          legend: "{{operation}}",
        },
      ],
    }),
    lines({
      title: "Redis commands",
      description:
        "By what they were for. charge far above the statements: results so long that they are charged in several steps.",
      unit: "ops",
      width: 6,
      queries: [
        {
          expr: `sum by (operation) (rate(sluice_redis_seconds_count{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{operation}}",
        },
      ],
    }),
    lines({
      title: "Redis errors",
      description:
        "Commands that Redis refused or did not answer in time, in an hour. Runbook: SluiceRedisErrors.",
      unit: "short",
      width: 6,
      thresholds: [{ from: 1, color: "yellow" }],
      queries: [
        {
          expr: `sum by (operation) (increase(sluice_redis_errors_total{${INSTANCE}}[1h]))`,
          legend: "{{operation}}",
        },
      ],
    }),
    lines({
      title: "Audit log behind by",
      description:
        "Age of the oldest event that is not on disk yet. It grows when the disk is slower than the statements. Runbook: SluiceAuditBehind.",
      unit: "s",
      width: 6,
      thresholds: [
        { from: 1, color: "yellow" },
        { from: 10, color: "red" },
      ],
      queries: [{ expr: `sluice_audit_lag_seconds{${INSTANCE}}`, legend: "{{instance}}" }],
    }),
  ],
};

const machine: RowPlan = {
  title: "The processes",
  panels: [
    lines({
      title: "Event loop",
      description:
        "How late the process comes to what is due, all but one in a hundred times. Above 0.1 s every client waits: more --workers, or more instances. Runbook: SluiceBusy.",
      unit: "s",
      thresholds: [
        { from: 0.05, color: "yellow" },
        { from: 0.1, color: "red" },
      ],
      queries: [{ expr: `nodejs_eventloop_lag_p99_seconds{${INSTANCE}}`, legend: "{{instance}}" }],
    }),
    lines({
      title: "Processors",
      description:
        "Processors in use; one process uses little more than one. All of its --workers in use: add some.",
      unit: "short",
      queries: [
        { expr: `rate(process_cpu_seconds_total{${INSTANCE}}[$__rate_interval])`, legend: "{{instance}}" },
      ],
    }),
    lines({
      title: "Garbage collection",
      description:
        "Share of the time that goes into it. Above a tenth: the memory is too small for the work.",
      unit: "percentunit",
      thresholds: [
        { from: 0.1, color: "yellow" },
        { from: 0.3, color: "red" },
      ],
      queries: [
        {
          expr: `sum by (instance) (rate(nodejs_gc_duration_seconds_sum{${INSTANCE}}[$__rate_interval]))`,
          legend: "{{instance}}",
        },
      ],
    }),
    lines({
      title: "Memory",
      description:
        "Of all processes of an instance, and of it what JavaScript holds. It goes up and down; a floor that rises for days is worth a report.",
      unit: "bytes",
      width: 12,
      queries: [
        { expr: `process_resident_memory_bytes{${INSTANCE}}`, legend: "{{instance}} resident" },
        { expr: `nodejs_heap_size_used_bytes{${INSTANCE}}`, legend: "{{instance}} heap" },
      ],
    }),
    lines({
      title: "Open files",
      description:
        "Sockets among them: two for each session. Near the limit (LimitNOFILE) no client is let in.",
      unit: "short",
      width: 12,
      queries: [
        { expr: `process_open_fds{${INSTANCE}}`, legend: "{{instance}} open" },
        { expr: `process_max_fds{${INSTANCE}}`, legend: "{{instance}} limit" },
      ],
    }),
  ],
};

export const performance: BoardPlan = {
  name: "performance",
  title: "Sluice: performance",
  description: "What clients wait for, what of it is Sluice's, and how the processes fare.",
  variables: [INSTANCES, DATABASES],
  rows: [clients, added, beneath, machine],
};
