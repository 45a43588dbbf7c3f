/**
 * Relations of pg_catalog and information_schema that hold definitions and not data: psql, pg_dump, ORMs and
 * BI tools read them. Not here, on purpose: statistics that hold values of columns (pg_statistic, pg_stats,
 * pg_statistic_ext_data), password hashes, user mappings, large objects, server files. Of foreign servers Postgres
 * shows everybody the options; their passwords belong to user mappings (Postgres docs, "CREATE USER MAPPING").
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
  pg_wait_events
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

/**
 * Relations of which some columns are NULL for guarded roles: statements hold other people's literals, and what
 * Sluice made of one holds keys of masks; a connection string holds a password. The relation itself is read through a
 * subquery, as a guarded one is.
 */
const HIDDEN: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["pg_cursors", words("statement")],
  ["pg_prepared_statements", words("statement")],
  ["pg_stat_activity", words("query")],
  ["pg_subscription", words("subconninfo")],
]);

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

export function isSystemSchema(schema: string): boolean {
  return schema === "pg_catalog" || schema === "information_schema" || schema === "pg_toast";
}

/** Columns that guarded roles see as NULL; undefined for a relation that has none. */
export function hiddenColumns(schema: string, name: string): ReadonlySet<string> | undefined {
  return schema === "pg_catalog" ? HIDDEN.get(name) : undefined;
}

/** May any guarded role read it, as it is? */
export function isOpenSystemRelation(schema: string, name: string): boolean {
  return (
    (schema === "pg_catalog" && PG_CATALOG.has(name)) ||
    (schema === "information_schema" && INFORMATION_SCHEMA.has(name))
  );
}
