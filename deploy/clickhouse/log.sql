-- The audit log as a table for ClickHouse (docs/log-at-scale.md), with the columns of the Parquet files.
--
--   clickhouse-client --multiquery < deploy/clickhouse/log.sql
--   clickhouse-client --query 'INSERT INTO log FORMAT JSONEachRow' < log.ndjson        rows.sql writes it
--
-- Nothing is newer than ClickHouse 18.16, so time is in seconds: "sequence" has a writer's lines in their order. DateTime64(3, 'UTC')
-- keeps milliseconds in later versions. Arrays cannot be NULL there: they are empty where the event does not say.
CREATE TABLE log (
  `time` DateTime('UTC'),
  `kind` String,
  `user` Nullable(String),
  `account` Nullable(String),
  `role` Nullable(String),
  `session` Nullable(String),
  `address` Nullable(String),
  `application` Nullable(String),
  `database` Nullable(String),
  `command` Nullable(String),
  `statement` Nullable(String),
  `fingerprint` Nullable(String),
  `decision` Nullable(String),
  `sqlstate` Nullable(String),
  `rule` Nullable(String),
  `reference` Nullable(String),
  `policy` Nullable(String),
  `people` Nullable(Int64),
  `rows` Nullable(Int64),
  `rows_written` Nullable(Int64),
  `times` Nullable(Int64),
  `bytes` Nullable(Int64),
  `duration_ms` Nullable(Int64),
  `lookups` Nullable(Int64),
  `relations` Array(String),
  `beneath` Array(String),
  `reads_more` Nullable(UInt8),
  `masked` Array(String),
  `shown` Array(String),
  `subjects` Array(String),
  `people_of` Array(String),
  `unexplained` Nullable(String),
  `about` Nullable(String),
  `told` Nullable(String),
  `severity` Nullable(Int8),
  `writer` String,
  `sequence` Int64,
  `prev_hash` String,
  `hash` String,
  `day` Date
) ENGINE = MergeTree() PARTITION BY toYYYYMM(day) ORDER BY (day, writer, sequence);
