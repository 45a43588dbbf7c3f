-- The view of deploy/duckdb/log.sql as lines for the table of log.sql: log.ndjson
--
--   duckdb -init deploy/duckdb/log.sql -c "$(cat deploy/clickhouse/rows.sql)"
COPY (
  SELECT * REPLACE (
    strftime(time, '%Y-%m-%d %H:%M:%S') AS time,
    CAST(reads_more AS TINYINT) AS reads_more,
    coalesce(relations, []) AS relations,
    coalesce(beneath, []) AS beneath,
    coalesce(masked, []) AS masked,
    coalesce(shown, []) AS shown,
    coalesce(subjects, []) AS subjects,
    coalesce(people_of, []) AS people_of
  ), CAST(time AS DATE) AS day
  FROM log ORDER BY time
) TO 'log.ndjson' (FORMAT json);
