import type { FuncCall } from "libpg-query";
import { type Catalog, type CatalogFunction, isPlainExtensionFunction } from "../catalog/catalog.ts";
import { lastName } from "./parse/grammar.ts";

/**
 * Functions of pg_catalog that are not immutable, yet read only their arguments, the catalog's definitions, the clock
 * or the session's own state. An immutable function can read nothing at all, so all of those are allowed. Deliberately
 * absent: functions that run SQL from a string (query_to_xml, ts_stat), that read files, large objects, WAL, statistics
 * or other sessions, or that change settings.
 */
const ALLOWED = words(`
  aclexplode age array_to_json array_to_string col_description concat concat_ws convert convert_from convert_to
  current_catalog current_database current_schema current_schemas current_user date date_add date_part date_subtract date_trunc
  enum_first enum_last enum_range extract format format_type generate_series get_current_ts_config getdatabaseencoding
  has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
  has_function_privilege has_language_privilege has_schema_privilege has_sequence_privilege has_server_privilege
  has_table_privilege has_tablespace_privilege has_type_privilege inet_client_addr inet_client_port inet_server_addr
  inet_server_port json_build_array json_build_object json_populate_record json_populate_recordset json_to_record
  json_to_recordset json_to_tsvector jsonb_build_array jsonb_build_object jsonb_path_exists_tz jsonb_path_match_tz
  jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record
  jsonb_populate_recordset jsonb_to_record jsonb_to_recordset jsonb_to_tsvector length make_timestamptz mxid_age now
  obj_description oidvectortypes overlaps pg_available_extension_versions pg_available_extensions pg_backend_pid
  pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible pg_column_compression
  pg_column_is_updatable pg_column_size pg_conf_load_time pg_conversion_is_visible pg_current_snapshot
  pg_describe_object pg_encoding_to_char pg_extension_update_paths pg_function_is_visible pg_get_catalog_foreign_keys
  pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
  pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef
  pg_get_keywords pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_replica_identity_index
  pg_get_publication_tables pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
  pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object
  pg_identify_object_as_address pg_index_column_has_property pg_index_has_property pg_indexam_has_property
  pg_is_other_temp_schema pg_listening_channels pg_my_temp_schema pg_opclass_is_visible pg_operator_is_visible
  pg_opfamily_is_visible pg_options_to_table pg_postmaster_start_time pg_relation_is_publishable
  pg_relation_is_updatable pg_sequence_parameters pg_statistics_obj_is_visible pg_stat_get_numscans pg_table_is_visible
  pg_tablespace_databases pg_tablespace_location pg_timezone_abbrevs pg_timezone_names pg_trigger_depth pg_ts_config_is_visible
  pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof
  phraseto_tsquery plainto_tsquery quote_literal quote_nullable row_security_active row_to_json session_user
  shobj_description statement_timestamp timetz timezone to_char to_date to_json to_jsonb to_number to_regclass
  to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
  to_timestamp to_tsquery to_tsvector transaction_timestamp ts_debug ts_headline ts_match_tq ts_match_tt ts_parse
  ts_token_type txid_current txid_current_if_assigned txid_current_snapshot pg_current_xact_id
  pg_current_xact_id_if_assigned version websearch_to_tsquery xml_is_well_formed regclass
  money numeric time timestamp timestamptz xml
  clock_timestamp gen_random_uuid uuidv4 uuidv7 pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock
  pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
  pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
  pg_database_size pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available pg_partition_ancestors pg_partition_root
  pg_partition_tree pg_relation_size pg_size_pretty pg_table_size pg_tablespace_size pg_total_relation_size random
  random_normal pg_sleep pg_sleep_for pg_sleep_until setseed timeofday pg_collation_actual_version pg_database_collation_actual_version pg_blocking_pids
  array_sample array_shuffle getpgusername has_largeobject_privilege has_parameter_privilege jsonb_populate_record_valid
  pg_basetype pg_control_system pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
  pg_filenode_relation pg_get_acl pg_get_wait_events pg_get_wal_replay_pause_state pg_last_wal_receive_lsn
  pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_notification_queue_usage pg_relation_filenode
  pg_relation_filepath pg_sequence_last_value pg_settings_get_flags
  pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_xact_status system_user to_regtypemod txid_status
`);

/**
 * The functions among these whose results reveal effects of other statements: positions in the WAL, started
 * transactions, how often a table was scanned, the size of its temporary files (they count as their tablespace's). They
 * are closed to roles that may not see traces of statements. The sizes of tables stay open: they change with the rows
 * that are written, which the command tag reveals as well.
 */
const TELLING_OF_STATEMENTS = words(`
  pg_current_snapshot txid_current_snapshot pg_current_xact_id_if_assigned txid_current_if_assigned pg_xact_status
  txid_status mxid_age pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
  pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_stat_get_numscans pg_tablespace_size
`);

/** Only roles that may write to some table may advance sequences. */
const FOR_WRITERS = words("nextval currval lastval");

/** Aggregates and constructors that combine many rows' values into one: they would bypass a row limit. */
const GATHERING = words(`
  string_agg array_agg json_agg json_agg_strict jsonb_agg jsonb_agg_strict json_object_agg json_object_agg_strict
  json_object_agg_unique json_object_agg_unique_strict jsonb_object_agg jsonb_object_agg_strict
  jsonb_object_agg_unique jsonb_object_agg_unique_strict xmlagg range_agg
`);

/**
 * Aggregates and window functions that return one row's own value, possibly that of another row than the current one.
 */
const PICKING = words(
  "min max any_value mode percentile_disc lag lead first_value last_value nth_value bit_and bit_or bit_xor range_intersect_agg",
);

/** Aggregates that describe only a group as a whole; for `aggregates_only` roles. */
const SUMMARIES = words("count sum avg stddev stddev_pop stddev_samp variance var_pop var_samp");

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

export type FunctionUse = "plain" | "writer" | "gathering" | "picking";

/** The permitted use of a pg_catalog function; undefined: refused. */
export function builtinUse(fn: CatalogFunction): FunctionUse | undefined {
  if (fn.kind !== "function" || fn.volatility === "immutable") {
    if (GATHERING.has(fn.name)) return "gathering";
    if (PICKING.has(fn.name)) return "picking";
    return fn.kind === "procedure" ? undefined : "plain";
  }
  if (FOR_WRITERS.has(fn.name)) return "writer";
  return ALLOWED.has(fn.name) ? "plain" : undefined;
}

/** Whether it reveals what an earlier statement, or another session's statement, did. */
export function tellsOfStatements(name: string): boolean {
  return TELLING_OF_STATEMENTS.has(name);
}

export function isSummary(name: string): boolean {
  return SUMMARIES.has(name);
}

/** Reads only its arguments: a view that calls only such functions contains no unexpected data. */
export function isHarmlessFunction(fn: CatalogFunction | undefined): boolean {
  if (fn === undefined) return false;
  return fn.schema === "pg_catalog" ? builtinUse(fn) !== undefined : isPlainExtensionFunction(fn);
}

/** The functions that a call may mean, whatever the search_path is. */
export function functionsNamed(
  { functionsByName }: Catalog,
  { funcname }: FuncCall,
): readonly CatalogFunction[] {
  return functionsByName.get(lastName(funcname)) ?? [];
}

/** Splits its argument into parts; drivers use it to find primary keys (JDBC's getPrimaryKeys, getIndexInfo). */
export function isStandardFunction(fn: CatalogFunction): boolean {
  return fn.schema === "information_schema" && fn.name === "_pg_expandarray" && fn.volatility === "immutable";
}
