-- The audit log as a table for DuckDB, and its Parquet files (docs/log-at-scale.md).
--
--   duckdb -init deploy/duckdb/log.sql                       the view "log" over audit/*.jsonl*
--   duckdb -c ".read deploy/duckdb/log.sql" -c "$(cat deploy/duckdb/parquet.sql)"
--
-- Where the log is elsewhere, set the variable before: SET VARIABLE log = 's3://bucket/audit/*.jsonl.gz';
-- Verify the log first (sluice audit verify): a table proves nothing.
SET VARIABLE log = coalesce(getvariable('log'), 'audit/*.jsonl*');

CREATE OR REPLACE VIEW log AS
SELECT
  make_timestamp(CAST(time AS BIGINT) * 1000) AS time,
  unmapped.kind AS kind,
  actor."user"."name" AS "user",
  actor."user".account."name" AS account,
  actor."user".groups[1]."name" AS role,
  coalesce(nullif(actor.session.uid, ''), unmapped.session) AS session,
  coalesce(src_endpoint.ip, src_endpoint."name") AS address,
  actor.app_name AS application,
  database."name" AS database,
  query_info."name" AS command,
  query_info.query_string AS statement,
  query_info.uid AS fingerprint,
  unmapped.decision AS decision,
  status_code AS sqlstate,
  firewall_rule."name" AS rule,
  unmapped.reference AS reference,
  policy.uid AS policy,
  unmapped.people AS people,
  unmapped."rows" AS "rows",
  unmapped.rows_written AS rows_written,
  coalesce("count", 1) AS times,
  query_info.bytes AS bytes,
  duration AS duration_ms,
  unmapped.lookups AS lookups,
  unmapped.relations AS relations,
  unmapped.beneath AS beneath,
  unmapped.reads_more AS reads_more,
  unmapped.masked AS masked,
  CASE WHEN unmapped.shown IS NOT NULL THEN
    list_distinct(unmapped.shown || coalesce(unmapped.shown_where, []) || coalesce(unmapped.found, [])) END AS shown,
  unmapped.subjects AS subjects,
  unmapped.people_of AS people_of,
  unmapped.unexplained AS unexplained,
  unmapped."user" AS about,
  coalesce(message, unmapped.why, unmapped.question) AS told,
  severity_id AS severity,
  metadata.log_name AS writer,
  metadata.sequence AS sequence,
  prev_hash,
  hash
FROM read_json(
  getvariable('log'),
  format = 'newline_delimited',
  ignore_errors = true,
  maximum_object_size = 16777216,
  columns = {
    time: 'DOUBLE',
    actor: 'STRUCT("user" STRUCT("name" VARCHAR, account STRUCT("name" VARCHAR), groups STRUCT("name" VARCHAR)[]), session STRUCT(uid VARCHAR), app_name VARCHAR)',
    unmapped: 'STRUCT(kind VARCHAR, decision VARCHAR, reference VARCHAR, people BIGINT, "rows" BIGINT, rows_written BIGINT, lookups BIGINT, relations VARCHAR[], beneath VARCHAR[], reads_more BOOLEAN, masked VARCHAR[], shown VARCHAR[], shown_where VARCHAR[], found VARCHAR[], subjects VARCHAR[], people_of VARCHAR[], unexplained VARCHAR, "user" VARCHAR, why VARCHAR, question VARCHAR, session VARCHAR)',
    severity_id: 'TINYINT',
    status_code: 'VARCHAR',
    duration: 'BIGINT',
    "count": 'BIGINT',
    message: 'VARCHAR',
    src_endpoint: 'STRUCT(ip VARCHAR, "name" VARCHAR)',
    database: 'STRUCT("name" VARCHAR)',
    query_info: 'STRUCT("name" VARCHAR, query_string VARCHAR, bytes BIGINT, uid VARCHAR)',
    policy: 'STRUCT(uid VARCHAR)',
    firewall_rule: 'STRUCT("name" VARCHAR)',
    metadata: 'STRUCT(log_name VARCHAR, sequence BIGINT)',
    prev_hash: 'VARCHAR',
    hash: 'VARCHAR'
  }
);
