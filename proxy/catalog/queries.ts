/**
 * Queries over the server's own tables (Postgres docs, "System Catalogs"), for versions 13 to 18. They run with an
 * empty search_path: an unqualified name is then one of pg_catalog, and format_type() qualifies all others.
 *
 * All of them leave out temporary and TOAST schemas. Other sessions' temporary relations do not matter, and a session's
 * own are known to the session that created them.
 */
export type CatalogQuery = { readonly name: string; readonly text: string };

const SHOWN_SCHEMAS = `SELECT oid FROM pg_namespace WHERE left(nspname, 8) NOT IN ('pg_temp_', 'pg_toast')`;

/** Tables, partitioned tables, views, materialised views, foreign tables, sequences. */
const SHOWN_RELATIONS = `
  SELECT oid FROM pg_class
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relnamespace IN (${SHOWN_SCHEMAS})`;

const MADE_BY_USERS = `
  SELECT oid FROM pg_class
  WHERE relnamespace IN (${SHOWN_SCHEMAS} AND nspname NOT IN ('pg_catalog', 'information_schema'))`;

export const SCHEMAS = query(
  "schemas",
  `SELECT oid, nspname FROM pg_namespace WHERE oid IN (${SHOWN_SCHEMAS}) ORDER BY oid`,
);

export const RELATIONS = query(
  "relations",
  `SELECT oid, relnamespace, relname, relkind::text, relispartition,
     relrowsecurity
       OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN')
       -- Internal triggers are a constraint's; but the copies of a user's trigger on partitions count as internal too.
       OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND (NOT tgisinternal OR tgconstraint = 0)),
     EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN')
   FROM pg_class c WHERE oid IN (${SHOWN_RELATIONS}) ORDER BY oid`,
);

export const COLUMNS = query(
  "columns",
  `SELECT a.attrelid, a.attnum, a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
     quote_ident(n.nspname) || '.' || quote_ident(c.collname)
   FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_collation c ON c.oid = a.attcollation AND a.attcollation <> t.typcollation
     LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
   WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (${SHOWN_RELATIONS})
   ORDER BY a.attrelid, a.attnum`,
);

/** An invalid index (a CREATE INDEX CONCURRENTLY that failed) is not used by queries. */
export const INDEXES = query(
  "indexes",
  `SELECT indrelid, indkey::text, indnkeyatts, indisunique, indisprimary, indpred IS NOT NULL, indimmediate
   FROM pg_index WHERE indisvalid AND indrelid IN (${SHOWN_RELATIONS}) ORDER BY indrelid, indexrelid`,
);

/**
 * The checks that the server makes when a row is written, with the numbers of the columns that they name. 0 is the
 * whole row: in `conkey`, in node trees, and where a function is called that is not declared IMMUTABLE, which may read
 * the table itself. Unique indexes refuse rows as soon as they are built, valid or not. `compared` are plain columns
 * that are compared by `=`; the trees of expressions and conditions say more.
 */
export const CONSTRAINTS = query(
  "constraints",
  `SELECT * FROM (
     SELECT k.conrelid AS relation, k.conname AS name, replace(k.contype::text, 'n', 'c') AS kind,
       CASE WHEN EXISTS (
           SELECT FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid
           WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
             AND d.refclassid = 'pg_proc'::regclass AND p.provolatile <> 'i')
         THEN '{0}' ELSE coalesce(k.conkey, '{}') END::int4[] AS columns,
       -- The last column of a PERIOD key (since Postgres 18) is a range that must be covered.
       CASE WHEN k.contype = 'f' THEN (CASE to_jsonb(k) ->> 'conperiod' WHEN 'true'
         THEN k.conkey[:cardinality(k.conkey) - 1] ELSE k.conkey END)::int4[] ELSE '{}' END AS compared,
       '' AS expressions, '' AS condition, NOT k.convalidated AS flag
     FROM pg_constraint k
     -- NOT NULL may be NOT VALID since Postgres 18; once it is valid it tells of nothing that is there.
     WHERE (k.contype IN ('c', 'f') OR (k.contype = 'n' AND NOT k.convalidated)) AND k.conrelid IN (${SHOWN_RELATIONS})
       -- NOT ENFORCED: since Postgres 18.
       AND to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
     UNION ALL
     SELECT i.indrelid, c.relname, CASE WHEN i.indisexclusion THEN 'x' ELSE 'u' END,
       ARRAY(SELECT a::int4 FROM unnest(i.indkey) WITH ORDINALITY k(a, n) WHERE a <> 0 AND n <= i.indnkeyatts),
       ARRAY(SELECT a::int4 FROM unnest(i.indkey) WITH ORDINALITY k(a, n) WHERE a <> 0 AND n <= i.indnkeyatts
         AND (x.conexclop IS NULL OR EXISTS (SELECT FROM pg_operator o WHERE o.oid = x.conexclop[n]
           AND o.oprname = '=' AND o.oprnamespace = 'pg_catalog'::regnamespace))),
       coalesce(i.indexprs::text, ''), coalesce(i.indpred::text, ''),
       coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'true'
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.conexclop IS NOT NULL
     WHERE (i.indisunique OR i.indisexclusion) AND i.indisready AND i.indrelid IN (${MADE_BY_USERS})
     UNION ALL
     SELECT p.polrelid, p.polname, 'p',
       ARRAY(SELECT d.refobjsubid FROM pg_depend d
         WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
           AND d.refobjid = p.polrelid AND d.refobjsubid <> 0
         UNION SELECT 0 WHERE concat(p.polqual::text, p.polwithcheck::text) ~ ':varattno 0 '),
       '{}', '', '', false
     FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid AND c.relrowsecurity
     UNION ALL
     SELECT t.partrelid, 'the partition key', 'k', ARRAY(SELECT a::int4 FROM unnest(t.partattrs) k(a) WHERE a <> 0), '{}',
       coalesce(t.partexprs::text, ''), '', false
     FROM pg_partitioned_table t) AS found
   ORDER BY relation, kind, name`,
);

/**
 * The default of a column that a row does not set: "f" for another value each time (volatile functions of Postgres's
 * own), "c" for the result of code that is not Postgres's own, "e" for a JSON document without anything in it, "k" for all
 * others.
 */
export const DEFAULTS = query(
  "defaults",
  `SELECT f.adrelid, f.adnum::int4, CASE
     WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
       AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)) THEN 'c'
     WHEN EXISTS (SELECT FROM regexp_matches(f.adbin::text, ':funcid (\\d+) ', 'g') m JOIN pg_proc p ON p.oid = m[1]::oid
       WHERE p.provolatile = 'v') THEN 'f'
     WHEN pg_get_expr(f.adbin, f.adrelid) ~ '^''(\\{\\}|\\[\\])''::jsonb?$' THEN 'e'
     ELSE 'k' END
   FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
   WHERE a.attgenerated = '' AND f.adrelid IN (${SHOWN_RELATIONS}) ORDER BY f.adrelid, f.adnum`,
);

/**
 * Trees of expressions that run when a relation is read ("r") or written ("w") and that no statement names; an empty
 * text for triggers. Rules are covered by the relation, and views by their queries.
 */
export const STORED_CODE = query(
  "stored code",
  `SELECT relation, runs, tree FROM (
     SELECT p.polrelid AS relation, 'r' AS runs, p.polqual::text AS tree
     FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid AND c.relrowsecurity
     UNION ALL
     SELECT p.polrelid, 'w', p.polwithcheck::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid AND c.relrowsecurity
     UNION ALL SELECT conrelid, 'w', conbin::text FROM pg_constraint WHERE contype = 'c'
     UNION ALL SELECT indrelid, 'w', indexprs::text FROM pg_index
     UNION ALL SELECT indrelid, 'w', indpred::text FROM pg_index
     UNION ALL SELECT partrelid, 'w', partexprs::text FROM pg_partitioned_table
     UNION ALL
     -- Virtual ones (since Postgres 18) are computed when they are read.
     SELECT f.adrelid, CASE a.attgenerated WHEN 'v' THEN 'r' ELSE 'w' END, f.adbin::text
     FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
     UNION ALL
     SELECT DISTINCT tgrelid, 'w', '' FROM pg_trigger WHERE NOT tgisinternal OR tgconstraint = 0) AS code
   WHERE tree IS NOT NULL AND relation IN (${MADE_BY_USERS}) ORDER BY relation, runs, tree`,
);

/** The conditions of domains. */
export const DOMAIN_CODE = query(
  "domain code",
  "SELECT contypid, conbin::text FROM pg_constraint WHERE contype = 'c' AND contypid <> 0 ORDER BY contypid, conname",
);

/** Casts that run functions that are not Postgres's own. */
export const CASTS = query(
  "casts",
  `SELECT c.castsource, c.casttarget, c.castfunc::oid, c.castcontext::text
   FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
   WHERE p.pronamespace <> 'pg_catalog'::regnamespace ORDER BY c.castsource, c.casttarget`,
);

/** Up to Postgres 14 a generated column itself depends on its source columns; from 15 on its default does. */
export const GENERATED_COLUMNS = query(
  "generated columns",
  `SELECT a.attrelid, a.attnum,
     ARRAY(SELECT DISTINCT d.refobjsubid FROM pg_depend d
       WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid NOT IN (0, a.attnum)
         AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
           OR d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum)
       ORDER BY 1),
     f.adbin::text
   FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
   WHERE a.attgenerated <> '' AND NOT a.attisdropped AND a.attrelid IN (${SHOWN_RELATIONS})
   ORDER BY a.attrelid, a.attnum`,
);

/** A key that references a partitioned table has an additional row for each partition of that table. */
export const FOREIGN_KEYS = query(
  "foreign keys",
  `SELECT k.conrelid, k.conkey, k.confrelid, k.confkey,
     NOT k.convalidated OR k.condeferrable, k.confupdtype IN ('c', 'n', 'd'), k.confdeltype IN ('n', 'd'),
     k.confdeltype = 'c'
   FROM pg_constraint k LEFT JOIN pg_constraint p ON p.oid = k.conparentid
   WHERE k.contype = 'f' AND (p.oid IS NULL OR p.conrelid <> k.conrelid) ORDER BY k.conrelid, k.oid`,
);

export const PARENTS = query(
  "parents",
  `SELECT inhrelid, inhparent FROM pg_inherits WHERE inhrelid IN (${SHOWN_RELATIONS}) ORDER BY inhrelid, inhseqno`,
);

/** The views of pg_catalog and information_schema are decided on by name. */
export const VIEWS = query(
  "views",
  `SELECT c.oid, coalesce(r.ev_action::text, '')
   FROM pg_class c LEFT JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
   WHERE c.relkind IN ('v', 'm') AND c.oid IN (${MADE_BY_USERS}) ORDER BY c.oid`,
);

export const VIEW_DEPENDENCIES = query(
  "view dependencies",
  `SELECT DISTINCT r.ev_class, d.refobjid, d.refobjsubid
   FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
   WHERE r.rulename = '_RETURN' AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
     AND r.ev_class IN (${MADE_BY_USERS})
   ORDER BY r.ev_class, d.refobjid, d.refobjsubid`,
);

export const FUNCTIONS = query(
  "functions",
  `SELECT p.oid, p.pronamespace, p.proname, p.prokind::text, p.provolatile::text, l.lanname,
     p.proargtypes::text, p.prorettype, p.proretset, e.extname, p.pronargdefaults::int4, p.provariadic <> 0,
     array_to_string(p.proargmodes, ' '), array_to_string(p.proallargtypes, ' '), p.proargnames
   FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
     LEFT JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
   WHERE p.pronamespace IN (${SHOWN_SCHEMAS}) ORDER BY p.oid`,
);

export const OPERATORS = query(
  "operators",
  `SELECT oid, oprnamespace, oprname, oprcode::oid FROM pg_operator
   WHERE oprnamespace IN (${SHOWN_SCHEMAS}) ORDER BY oid`,
);

/**
 * Arrays are found by the `typarray` of their element: `typelem` is also set for types that merely have parts (point,
 * name).
 */
export const TYPES = query(
  "types",
  `SELECT t.oid, t.typnamespace, t.typname, t.typtype::text, t.typcategory::text, t.typbasetype, t.typrelid,
     coalesce(e.oid, 0)::oid, coalesce(r.rngsubtype, 0)::oid, coalesce(il.lanname, '')::text, coalesce(cl.lanname, '')::text
   FROM pg_type t
     LEFT JOIN pg_type e ON e.typarray = t.oid
     LEFT JOIN pg_range r ON r.rngtypid = t.oid
     LEFT JOIN pg_proc i ON i.oid = t.typinput LEFT JOIN pg_language il ON il.oid = i.prolang
     LEFT JOIN pg_proc c ON c.oid = r.rngcanonical LEFT JOIN pg_language cl ON cl.oid = c.prolang
   WHERE t.typnamespace IN (${SHOWN_SCHEMAS}) ORDER BY t.oid`,
);

/** Multiranges exist since Postgres 14 (version 140000). */
export const MULTIRANGES = query(
  "multiranges",
  "SELECT rngmultitypid, rngtypid FROM pg_range ORDER BY rngtypid",
);

/**
 * The parts of pg_class that a snapshot and privileges depend on. Used instead of xmin, because TRUNCATE, CLUSTER and
 * REINDEX write a new row for the new file, which is not a relevant change.
 */
const RELATION_FACTS = `concat_ws(' ', oid, relname, relnamespace, relkind, relowner, relispartition, relrowsecurity, relacl)`;

/**
 * One number for all that a snapshot and a user's privileges and settings depend on. Every change of a row makes a new
 * row version with another xmin, so the sum of hashes of (oid or key, xmin) changes; a deleted row changes the count.
 * Freezing keeps xmin (since 9.4), and VACUUM and ANALYZE update pg_class in place. Statistics views (n_tup_upd …)
 * would be cheaper, but they lag and can be reset. Rows of temporary relations are left out: an application that
 * creates such tables would cause a refresh every time.
 */
export const PROBE = query(
  "probe",
  `WITH shown AS MATERIALIZED (${SHOWN_SCHEMAS}),
     relation AS MATERIALIZED (
       SELECT oid, hashtext(${RELATION_FACTS}) AS h FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relnamespace IN (SELECT oid FROM shown)),
     changed(what, h) AS (
       SELECT 1, hashtext(xmin::text || ' ' || oid) FROM pg_namespace WHERE oid IN (SELECT oid FROM shown)
       UNION ALL SELECT 2, h FROM relation
       UNION ALL SELECT 3, hashtext(xmin::text || ' ' || attrelid || ' ' || attnum)
         FROM pg_attribute WHERE attrelid IN (SELECT oid FROM relation)
       UNION ALL SELECT 4, hashtext(xmin::text || ' ' || indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)
       UNION ALL SELECT 5, hashtext(xmin::text || ' ' || oid) FROM pg_constraint WHERE connamespace IN (SELECT oid FROM shown)
       UNION ALL SELECT 6, hashtext(xmin::text || ' ' || inhrelid) FROM pg_inherits WHERE inhrelid IN (SELECT oid FROM relation)
       UNION ALL SELECT 7, hashtext(xmin::text || ' ' || oid) FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM relation)
       UNION ALL SELECT 8, hashtext(xmin::text || ' ' || oid) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relation)
       UNION ALL SELECT 9, hashtext(xmin::text || ' ' || oid) FROM pg_proc WHERE pronamespace IN (SELECT oid FROM shown)
       UNION ALL SELECT 10, hashtext(xmin::text || ' ' || oid) FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM shown)
       UNION ALL SELECT 11, hashtext(xmin::text || ' ' || oid) FROM pg_type WHERE typnamespace IN (SELECT oid FROM shown)
       UNION ALL SELECT 12, hashtext(xmin::text || ' ' || rngtypid) FROM pg_range
       UNION ALL SELECT 13, hashtext(xmin::text || ' ' || oid) FROM pg_extension
       UNION ALL SELECT 14, hashtext(xmin::text || ' ' || roleid || ' ' || member) FROM pg_auth_members
       UNION ALL SELECT 15, hashtext(xmin::text || ' ' || setdatabase || ' ' || setrole) FROM pg_db_role_setting
       UNION ALL SELECT 18, hashtext(xmin::text || ' ' || oid) FROM pg_cast
       UNION ALL SELECT 19, hashtext(xmin::text || ' ' || oid) FROM pg_policy
       UNION ALL SELECT 17, hashtext(xmin::text || ' ' || oid) FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM relation)
       -- pg_authid, below this view, is not everybody's to read.
       UNION ALL SELECT 16, hashtext(oid || ' ' || rolname || ' ' || rolsuper || ' ' || rolinherit) FROM pg_roles)
   SELECT string_agg(what || ':' || n || ':' || s, ' ' ORDER BY what)
   FROM (SELECT what, count(*) AS n, sum(h) AS s FROM changed GROUP BY what) AS parts`,
);

/**
 * Which transactions are visible (Postgres docs, "Transaction ID and Snapshot Information Functions"). All DDL has a
 * transaction id: while this value stays the same, nothing has been written.
 */
export const SNAPSHOT = query("snapshot", "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text");

/** The first oid of objects not created by initdb (FirstNormalObjectId of access/transam.h). */
const FIRST_OF_USERS = 16384;

/**
 * Like PROBE at a quarter of its cost, for user-defined objects. A row written since a snapshot was taken has an xmin
 * not below the lowest one that was running then (`since`). Such rows are detected by their hashes. The other rows can
 * only disappear, and are detected by their count. Temporary relations and TOAST tables are not distinguished: a
 * difference is only a reason to run the probe.
 */
export function glanceSince(since: number): CatalogQuery {
  const isNew = `age(xmin) <= (SELECT age('${since}'::xid))`;
  const rows = (table: string, oid: string, key = `${oid}::int8`) =>
    `SELECT '${table}' AS what, count(*) AS n,
       sum(CASE WHEN ${isNew} THEN hashint8extended((xmin::text::int8 << 32) + ${key}, 0) END) AS s
     FROM ${table} WHERE ${oid} >= ${FIRST_OF_USERS}`;
  return query(
    "glance",
    `SELECT string_agg(concat_ws(':', what, n, s), ' ' ORDER BY what) FROM (
       SELECT 'pg_class' AS what, count(*) AS n, sum(hashtextextended(${RELATION_FACTS}, 0)) AS s
         FROM pg_class
         WHERE oid >= ${FIRST_OF_USERS} AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
       UNION ALL ${rows("pg_attribute", "attrelid", "attrelid::int8 * 2048 + attnum")}
       UNION ALL ${rows("pg_index", "indexrelid")}
       UNION ALL ${rows("pg_constraint", "oid")}
       UNION ALL ${rows("pg_inherits", "inhrelid", "inhrelid::int8 * 2048 + inhseqno")}
       UNION ALL ${rows("pg_rewrite", "oid")}
       UNION ALL ${rows("pg_trigger", "oid")}
       UNION ALL ${rows("pg_proc", "oid")}
       UNION ALL ${rows("pg_operator", "oid")}
       UNION ALL ${rows("pg_type", "oid")}
       UNION ALL ${rows("pg_range", "rngtypid")}
       UNION ALL ${rows("pg_attrdef", "oid")}
       UNION ALL ${rows("pg_extension", "oid")}
       UNION ALL SELECT 'pg_namespace', count(*), sum(hashtext(xmin::text || ' ' || oid))
         FROM pg_namespace WHERE oid IN (${SHOWN_SCHEMAS})
       UNION ALL SELECT 'pg_auth_members', count(*), sum(hashtext(xmin::text || ' ' || roleid || ' ' || member))
         FROM pg_auth_members
       UNION ALL SELECT 'pg_db_role_setting', count(*), sum(hashtext(xmin::text || ' ' || setdatabase || ' ' || setrole))
         FROM pg_db_role_setting
       UNION ALL SELECT 'pg_roles', count(*), sum(hashtext(oid || ' ' || rolname || ' ' || rolsuper || ' ' || rolinherit))
         FROM pg_roles
     ) AS parts`,
  );
}

/** Columns of the database's own relations that a user may not SELECT; all columns if there is no such user. */
export const UNREADABLE_COLUMNS = query(
  "unreadable columns",
  `SELECT n.nspname, c.relname, a.attname
   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_roles r ON r.rolname = $1
   WHERE c.oid IN (${MADE_BY_USERS} AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S'))
     AND (has_schema_privilege(r.oid, n.oid, 'USAGE') IS NOT TRUE
       OR has_table_privilege(r.oid, c.oid, 'SELECT') IS NOT TRUE
         AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') IS NOT TRUE)`,
);

/** Comments on columns of the database's own relations. */
export const COMMENTS = query(
  "comments",
  `SELECT objoid, objsubid, description FROM pg_description
   WHERE classoid = 'pg_class'::regclass AND objsubid > 0 AND objoid IN (${MADE_BY_USERS})`,
);

/** The server's own search_path, unless the control connection has a more specific one that hides it. */
export const SERVER_SEARCH_PATH = query(
  "server search path",
  `SELECT setting FROM pg_catalog.pg_settings WHERE name = 'search_path'
     AND source IN ('default', 'configuration file', 'command line', 'environment variable')`,
);

/**
 * The search_path with which a user's session starts: the most specific value that ALTER ROLE and ALTER DATABASE set
 * (process_settings() of postinit.c), else the server's own ($2).
 */
export const SEARCH_PATH = query(
  "search path",
  `SELECT coalesce(
     (SELECT substr(entry, length('search_path=') + 1)
      FROM pg_db_role_setting, unnest(setconfig) AS entry
      WHERE entry LIKE 'search\\_path=%'
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        AND (setrole = 0 OR setrole = (SELECT oid FROM pg_roles WHERE rolname = $1))
      ORDER BY (setdatabase <> 0 AND setrole <> 0) DESC, setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1),
     $2)`,
);

function query(name: string, text: string): CatalogQuery {
  return { name, text };
}
