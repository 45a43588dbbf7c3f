/**
 * Relations of pg_catalog and information_schema that contain definitions and no data: psql, pg_dump, ORMs and BI tools
 * read them. Deliberately absent: statistics that contain values of columns (pg_statistic, pg_stats,
 * pg_statistic_ext_data), password hashes, user mappings, large objects, server files. Postgres shows everyone the
 * options of foreign servers; their passwords belong to user mappings (Postgres docs, "CREATE USER MAPPING").
 */
const PG_CATALOG = words(`
  pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_available_extension_versions
  pg_available_extensions pg_cast pg_class pg_collation pg_constraint pg_conversion pg_database pg_db_role_setting
  pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension pg_foreign_data_wrapper
  pg_foreign_table pg_group pg_index pg_indexes pg_inherits pg_init_privs pg_language pg_locks pg_matviews pg_namespace
  pg_opclass pg_operator pg_opfamily pg_parameter_acl pg_partitioned_table pg_policies pg_policy pg_proc
  pg_publication pg_publication_namespace pg_publication_rel pg_publication_tables pg_range pg_rewrite pg_roles
  pg_rules pg_seclabel pg_seclabels pg_sequence pg_sequences pg_settings pg_shdepend pg_shdescription pg_shseclabel
  pg_stat_all_indexes pg_stat_all_tables pg_stat_database pg_stat_sys_indexes pg_stat_sys_tables
  pg_stat_user_indexes pg_stat_user_tables pg_statio_all_indexes pg_statio_all_tables pg_statio_user_indexes
  pg_statio_user_tables pg_statistic_ext pg_tables pg_tablespace pg_timezone_abbrevs pg_timezone_names pg_transform
  pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user pg_views
  pg_foreign_server pg_largeobject_metadata pg_replication_slots pg_stat_archiver pg_stat_bgwriter
  pg_stat_checkpointer pg_stat_database_conflicts pg_stat_io pg_stat_progress_analyze pg_stat_progress_cluster
  pg_stat_progress_create_index pg_stat_progress_vacuum pg_stat_slru pg_stat_wal pg_statio_all_sequences
  pg_statio_sys_indexes pg_statio_sys_sequences pg_statio_sys_tables pg_statio_user_sequences pg_subscription_rel
  pg_wait_events pg_prepared_xacts pg_replication_origin pg_stat_gssapi pg_stat_progress_basebackup pg_stat_progress_copy
  pg_stat_recovery_prefetch pg_stat_replication pg_stat_ssl pg_stat_subscription pg_stat_subscription_stats
  pg_stat_user_functions pg_stat_wal_receiver pg_stat_xact_all_tables pg_stat_xact_sys_tables
  pg_stat_xact_user_functions pg_stat_xact_user_tables
`);

const INFORMATION_SCHEMA = words(`
  administrable_role_authorizations applicable_roles attributes character_sets check_constraint_routine_usage
  check_constraints collation_character_set_applicability collations column_column_usage column_domain_usage
  column_privileges column_udt_usage columns constraint_column_usage constraint_table_usage data_type_privileges
  domain_constraints domain_udt_usage domains element_types enabled_roles foreign_data_wrappers foreign_servers
  foreign_tables
  information_schema_catalog_name key_column_usage parameters referential_constraints role_column_grants
  role_routine_grants role_table_grants role_udt_grants role_usage_grants routine_column_usage routine_privileges
  routine_routine_usage routine_sequence_usage routine_table_usage routines schemata sequences sql_features
  sql_implementation_info sql_parts sql_sizing table_constraints table_privileges tables transforms
  triggered_update_columns triggers udt_privileges usage_privileges user_defined_types view_column_usage
  view_routine_usage view_table_usage views
`);

/** What a guarded role sees in place of a system relation, which is then read through a subquery. */
export interface SystemView {
  hides(column: string): boolean;
  /** A condition on the rows that are shown. */
  readonly filter?: string;
}

/**
 * Columns that are NULL for every guarded role: they contain values of tables, other people's literals, keys of masks
 * or secrets. `attmissingval` is a column's value in all rows older than the column (Postgres docs, "pg_attribute").
 * Applications and wrappers keep keys and passwords in settings of roles and databases and in options of foreign
 * servers and tables; SHOW of such settings is refused as well. Definitions that the DBA wrote stay open: defaults,
 * constraints, policies, partition bounds, triggers' arguments, source text and comments.
 */
const HIDDEN: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["pg_attribute", words("attmissingval attfdwoptions")],
  ["pg_cursors", words("statement")],
  ["pg_db_role_setting", words("setconfig")],
  ["pg_foreign_data_wrapper", words("fdwoptions")],
  ["pg_foreign_server", words("srvoptions")],
  ["pg_foreign_table", words("ftoptions")],
  ["pg_prepared_statements", words("statement")],
  ["pg_roles", words("rolconfig")],
  ["pg_stat_activity", words("query")],
  ["pg_stat_wal_receiver", words("conninfo")],
  ["pg_subscription", words("subconninfo")],
  ["pg_user", words("useconfig")],
]);

/** Columns that are NULL for roles from which traces are hidden: transactions, waits and positions of statements. */
const TRACES: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["pg_locks", words("page tuple virtualxid transactionid virtualtransaction")],
  [
    "pg_replication_slots",
    words("xmin catalog_xmin restart_lsn confirmed_flush_lsn wal_status safe_wal_size"),
  ],
  ["pg_prepared_xacts", words("transaction")],
  // The number of rows that a query has passed to COPY, ignoring any limit.
  [
    "pg_stat_progress_copy",
    words("bytes_processed bytes_total tuples_processed tuples_excluded tuples_skipped"),
  ],
  ["pg_stat_activity", words("backend_xid backend_xmin wait_event_type wait_event query_id")],
]);

/** In the statistics views such roles see what a row is about, but no number that a statement changes. */
const COUNTERS = /^pg_stat(?:io)?_(?!activity$|progress_|ssl$|gssapi$)/;
const NAMES_OF_COUNTERS = words(
  "pid usesysid usename application_name funcid funcname subid subname relid indexrelid schemaname relname indexrelname datid datname name backend_type object context stats_reset",
);

/** Rows that such roles do not see: even the number of rows reveals which rows and pages a statement has read. */
const TRACE_ROWS: ReadonlyMap<string, string> = new Map([
  [
    "pg_locks",
    "mode OPERATOR(pg_catalog.<>) 'SIReadLock' AND locktype OPERATOR(pg_catalog.<>) ALL ('{page,tuple,transactionid}')",
  ],
]);

/** Rows that no guarded role sees: settings with a dot in their name belong to applications and extensions. */
const FILTERS: ReadonlyMap<string, string> = new Map([
  ["pg_settings", "pg_catalog.strpos(name, '.') OPERATOR(pg_catalog.=) 0"],
]);

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

export function isSystemSchema(schema: string): boolean {
  return schema === "pg_catalog" || schema === "information_schema" || schema === "pg_toast";
}

/**
 * Undefined if the relation is shown unchanged, or not at all. `traces`: whether traces of statements are hidden too.
 */
export function systemView(schema: string, name: string, traces: "hidden" | "shown"): SystemView | undefined {
  if (schema !== "pg_catalog") return undefined;
  const hidden = HIDDEN.get(name);
  const filter = FILTERS.get(name) ?? (traces === "hidden" ? TRACE_ROWS.get(name) : undefined);
  const counters = traces === "hidden" && COUNTERS.test(name) && isOpenSystemRelation(schema, name);
  const traced = traces === "hidden" ? TRACES.get(name) : undefined;
  if (hidden === undefined && filter === undefined && traced === undefined && !counters) return undefined;
  return {
    hides: (column) =>
      hidden?.has(column) === true ||
      traced?.has(column) === true ||
      (counters && !NAMES_OF_COUNTERS.has(column)),
    ...(filter !== undefined && { filter }),
  };
}

/** Whether every guarded role may read it unchanged. */
export function isOpenSystemRelation(schema: string, name: string): boolean {
  return (
    (schema === "pg_catalog" && PG_CATALOG.has(name)) ||
    (schema === "information_schema" && INFORMATION_SCHEMA.has(name))
  );
}
