import { foldAscii, isTrue, namesUtf8 } from "../pg/setting-text.ts";
import type { Role } from "../policy/policy.ts";

/**
 * Settings that a guarded session may change: they affect how values are displayed or how long things may take, not
 * what is read. `search_path` has its own rule. client_encoding and standard_conforming_strings are pinned: the proxy
 * reads the text as UTF-8, and strings as the standard defines them.
 */
const OPEN = new Set(
  `application_name bytea_output client_min_messages datestyle default_transaction_deferrable default_transaction_isolation
   default_transaction_read_only extra_float_digits idle_in_transaction_session_timeout
   idle_session_timeout intervalstyle jit lc_messages lc_monetary lc_numeric lc_time lock_timeout
   plan_cache_mode random_page_cost row_security seed statement_timeout synchronize_seqscans
   timezone transaction_deferrable transaction_isolation transaction_read_only transaction_timeout work_mem xmlbinary
   xmloption enable_seqscan enable_indexscan enable_bitmapscan enable_hashjoin enable_mergejoin enable_nestloop
   enable_sort enable_hashagg enable_material cursor_tuple_fraction geqo join_collapse_limit from_collapse_limit
   quote_all_identifiers escape_string_warning tcp_keepalives_idle tcp_user_timeout
   max_parallel_workers_per_gather default_text_search_config
   check_function_bodies client_connection_check_interval constraint_exclusion cpu_index_tuple_cost cpu_operator_cost
   cpu_tuple_cost default_table_access_method default_tablespace effective_cache_size enable_async_append
   enable_gathermerge enable_group_by_reordering enable_incremental_sort enable_indexonlyscan enable_memoize
   enable_parallel_append enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate
   enable_partitionwise_join enable_presorted_aggregate enable_tidscan geqo_effort geqo_generations geqo_pool_size
   geqo_seed geqo_selection_bias geqo_threshold hash_mem_multiplier jit_above_cost jit_inline_above_cost
   jit_optimize_above_cost maintenance_work_mem max_parallel_workers min_parallel_index_scan_size
   min_parallel_table_scan_size parallel_leader_participation parallel_setup_cost parallel_tuple_cost seq_page_cost
   stats_fetch_consistency synchronous_commit tcp_keepalives_count tcp_keepalives_interval temp_buffers
   temp_tablespaces restrict_nonsystem_relation_kind`.split(/\s+/),
);

/** Every login has these, and DEFAULT, RESET and NONE restore them: the user's own rights. */
const IDENTITY = new Set(["role", "session_authorization"]);

export const SETTINGS_HINT =
  "Sluice lets a guarded session change how values are shown, how long things may take and how plans are made; what must differ else, set by ALTER ROLE … SET.";

/**
 * A setting by which an application names the person for whom it reads: its guarded sessions may change it. What it holds
 * they have written there themselves, from constants and parameters. SET ROLE is one where it names people: the server is
 * asked whose rights hold before anything is judged by them.
 */
export function namesPeople({ peopleBehind, actsAs, standsIn }: Role, name: string): boolean {
  if (actsAs === undefined && standsIn !== true) return false;
  const folded = foldAscii(name);
  return (peopleBehind ?? []).some((source) =>
    source.kind === "setting"
      ? foldAscii(source.name) === folded
      : source.kind === "role" && folded === "role",
  );
}

/** Whoever reads a signed token can use it again: injected SQL must not have it. */
export function mayReadName({ signedBy }: Role): boolean {
  return signedBy === undefined;
}

/** Whether any value is allowed. */
export function isOpenSetting(name: string): boolean {
  return OPEN.has(foldAscii(name));
}

/** Undefined values mean DEFAULT, which for pinned settings is the pinned value. */
export function mayChangeSetting(name: string, values: readonly string[] | undefined): boolean {
  const parameter = foldAscii(name);
  if (OPEN.has(parameter)) return true;
  if (values === undefined)
    return (
      IDENTITY.has(parameter) ||
      parameter === "client_encoding" ||
      parameter === "standard_conforming_strings" ||
      parameter === "search_path"
    );
  const [value] = values;
  if (parameter === "role") return value === "none";
  if (parameter === "client_encoding") return value !== undefined && namesUtf8(value);
  if (parameter === "standard_conforming_strings") return value !== undefined && isTrue(value);
  if (parameter === "search_path") return isPlainSearchPath(values);
  return false;
}

/**
 * pg_catalog must stay the first schema (as it is if the path does not name it), or a built-in name could mean
 * something else. A temporary schema may not be named at all.
 */
export function isPlainSearchPath(schemas: readonly string[]): boolean {
  return schemas.every((schema, index) =>
    schema === "pg_catalog" ? index === 0 : !isTemporarySchema(schema) && schema !== "pg_toast",
  );
}

/** The session's temporary schema, by any of its names. */
export function isTemporarySchema(schema: string): boolean {
  return schema.startsWith("pg_temp");
}
