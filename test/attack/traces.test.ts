import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { since } from "../harness/postgres-versions.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY, CANARY_SETUP } from "./canary.ts";

/** What statements leave behind elsewhere, and what the server's own tables hold beside definitions. */

const POLICY = `
version: 1
classes: { name: { mask: initials }, flag: { mask: "null" } }
tables:
  public.customers: { subject: id, columns: { name: name, flag: flag } }
  public.tickets: { subject: customer_id }
roles:
  part: { users: [ben], reads: all, sees: [name], only: { public.tickets: "region = 'eu'" } }
  counted: { users: [anna], reads: all, sees: [name], budget: { 1d: 5 } }
  analyst: { users: [metabase], reads: all, sees: [name], aggregates_only: { min_group: 10 } }
  masked: { users: [cleo], reads: all, sees: [] }
`;

const SECRET = "S3CRET";

const SETUP = `
  ${CANARY_SETUP}
  ALTER TABLE public.customers ADD COLUMN flag text DEFAULT '${CANARY}-missing';
  ALTER TABLE public.customers ALTER COLUMN flag DROP DEFAULT;
  CREATE INDEX ON public.tickets (customer_id);
  UPDATE public.tickets SET region = 'us' WHERE customer_id = 77;
  CREATE EXTENSION postgres_fdw;
  CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '${SECRET}-host');
  CREATE FOREIGN TABLE public.distant (a int OPTIONS (column_name '${SECRET}-column')) SERVER far OPTIONS (table_name '${SECRET}-table');
  ALTER ROLE cleo SET app.jwt_secret = '${SECRET}-role';
  CREATE VIEW public.settings_of_roles AS SELECT rolname, rolconfig FROM pg_roles;
  CREATE VIEW public.missing_values AS SELECT attname, attmissingval::text FROM pg_attribute;
  GRANT SELECT ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, metabase;`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(SETUP);
  const { database } = world.database;
  // A library's settings show once it is loaded.
  await world.database.query(
    `ALTER DATABASE ${database} SET app.other_secret = '${SECRET}-database';
     ALTER DATABASE ${database} SET session_preload_libraries = 'plpgsql'; LOAD 'plpgsql'`,
  );
});
afterAll(() => world?.close());

async function asked(user: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = await world.sluice.connect(user);
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

const codeOf = (error: unknown) => (error as pg.DatabaseError).code;

describe("catalogs show definitions, and no value of a table or secret", () => {
  test.each([
    "SELECT attmissingval::text FROM pg_attribute",
    "SELECT a.* FROM pg_attribute a WHERE attname = 'flag'",
    "SELECT row_to_json(a)::text FROM pg_attribute a",
    "TABLE pg_roles",
    "SELECT rolconfig FROM pg_catalog.pg_roles",
    "SELECT useconfig FROM pg_user",
    "SELECT unnest(setconfig) FROM pg_db_role_setting",
    "SELECT srvoptions, s FROM pg_foreign_server s",
    "SELECT ftoptions FROM pg_foreign_table",
    "SELECT attfdwoptions FROM pg_attribute",
    "SELECT * FROM settings_of_roles",
    "SELECT * FROM missing_values",
    "SELECT name, setting FROM pg_settings WHERE name LIKE '%.%'",
  ])("%s", async (sql) => {
    const direct = await world.database.query(sql);
    await asked("cleo", async (client) => {
      const { rows } = await client.query(sql);
      expect(JSON.stringify(rows)).not.toContain(CANARY);
      expect(JSON.stringify(rows)).not.toContain(SECRET);
      expect(JSON.stringify(rows)).not.toContain("plpgsql.");
    });
    // As the superuser, without Sluice, each of them gives what must not be shown.
    const found = JSON.stringify(direct.rows);
    expect(found.includes(CANARY) || found.includes(SECRET) || found.includes("plpgsql.")).toBe(true);
  });

  test("the rest of them is there", async () => {
    await asked("cleo", async (client) => {
      const columns = await client.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attnum > 0",
      );
      expect(columns.rows.map(({ attname }) => attname)).toContain("flag");
      expect((await client.query("SELECT rolname FROM pg_roles")).rows.length).toBeGreaterThan(5);
      expect((await client.query("SELECT srvname FROM pg_foreign_server")).rows).toEqual([
        { srvname: "far" },
      ]);
    });
  });
});

describe("what a statement has read shows nowhere else", () => {
  const COUNTED = [
    "SELECT seq_scan, seq_tup_read, idx_scan, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'tickets'",
    "SELECT idx_scan, idx_tup_read FROM pg_catalog.pg_stat_user_indexes WHERE relname = 'tickets'",
    "SELECT heap_blks_hit, idx_blks_hit FROM pg_statio_user_tables WHERE relname = 'tickets'",
    "SELECT tup_returned, tup_fetched, temp_bytes FROM pg_stat_database WHERE datname = current_database()",
    ...(since(14) ? ["SELECT wal_records FROM pg_stat_wal"] : []),
    ...(since(16) ? ["SELECT sum(hits) AS hits FROM pg_stat_io"] : []),
    "SELECT pg_stat_get_numscans('tickets'::regclass) AS scans",
  ];

  test.each(["ben", "anna", "metabase"])("by counters: %s", async (user) => {
    await asked(user, async (client) => {
      for (const sql of COUNTED) {
        const { rows } = await client.query(sql);
        expect(rows.length, sql).toBeGreaterThan(0);
        expect(
          rows.flatMap((row) => Object.values(row as object)).filter((value) => value !== null),
          sql,
        ).toEqual([]);
      }
      const { rows } = await client.query("SELECT schemaname, relname FROM pg_stat_user_tables");
      expect(rows).toContainEqual({ schemaname: "public", relname: "tickets" });
    });
  });

  test("by places of rows and the number of locks on them", async () => {
    await asked("ben", async (client) => {
      await client.query(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off",
      );
      // Hidden rows of 77; nobody has the other number.
      const locks: unknown[] = [];
      for (const id of [77, 987654]) {
        expect((await client.query(`SELECT id FROM tickets WHERE customer_id = ${id}`)).rows).toEqual([]);
        locks.push(
          (await client.query("SELECT locktype, relation, page, tuple, mode FROM pg_locks ORDER BY 1, 2, 5"))
            .rows,
        );
      }
      expect(locks[1]).toEqual(locks[0]);
      expect(JSON.stringify(locks)).toContain("AccessShareLock");
      expect(JSON.stringify(locks)).not.toContain("SIReadLock");
      const { rows } = await world.database.query(
        "SELECT count(*)::int AS tuples FROM pg_locks WHERE mode = 'SIReadLock' AND locktype IN ('tuple', 'page')",
      );
      // Without Sluice they are to be seen.
      expect(rows[0]?.tuples).toBeGreaterThan(0);
      await client.query("ROLLBACK");
    });
  });

  test.each([
    "SELECT pg_current_wal_lsn()",
    "SELECT pg_current_wal_insert_lsn()",
    "SELECT pg_current_xact_id_if_assigned()",
    "SELECT txid_current_if_assigned()",
    "SELECT pg_current_snapshot()",
    "SELECT pg_xact_status('3')",
    "SELECT mxid_age('1')",
  ])("by positions and transactions: %s", async (sql) => {
    for (const user of ["ben", "anna", "metabase"])
      await asked(user, async (client) => {
        expect(await client.query(sql).then(() => "answered", codeOf), user).toBe("42501");
      });
    await asked("cleo", async (client) => {
      expect(await client.query(sql).then(() => "answered", codeOf)).toBe("answered");
    });
  });

  test("by the size of its temporary files", async () => {
    await asked("anna", async (client) => {
      const { rows } = await client.query("SELECT pg_tablespace_size('pg_default') AS size");
      expect(rows).toEqual([{ size: null }]);
    });
  });
});

/** They keep their locks until the transaction ends, and pg_locks shows them. */
const LOCKING = [
  "pg_get_viewdef('pg_tables'::regclass)",
  "pg_get_viewdef('pg_tables'::regclass, 80)",
  "pg_get_ruledef(1)",
  "pg_get_functiondef(1)",
  "pg_get_object_address('table', '{customers}', '{}')",
  "(SELECT max(level) FROM pg_partition_tree('contact_log'))",
  "pg_sequence_last_value(1)",
  "obj_description(1, 'pg_class')",
  "col_description(1, 1)",
  "shobj_description(1, 'pg_database')",
  "(SELECT max(token) FROM ts_debug(name))",
  ...(since(14) ? ["pg_get_function_sqlbody(1)"] : []),
  ...(since(18) ? ["uuidv7()"] : []),
];

describe("a call that outlasts its statement, or its wait, tells of nobody", () => {
  test.each([
    "SELECT 1 FROM customers WHERE id = 8 AND pg_sleep(ascii(name) * 0.001)::text = 'x'",
    "SELECT 1 FROM customers WHERE id = 8 AND pg_sleep_for('1 ms') IS NULL",
    "SELECT 1 FROM customers WHERE id = 8 AND pg_catalog.pg_sleep_until(now()) IS NULL",
    "SELECT sum(random()) FROM customers c, generate_series(1, ascii(c.name)) WHERE c.id = 8",
    ...(since(16) ? ["SELECT name FROM customers ORDER BY random_normal() LIMIT 1"] : []),
    "SELECT 1 FROM (SELECT id FROM customers WHERE name LIKE 'A%') c WHERE (SELECT random() + c.id * 0) < 0",
    ...LOCKING.map((call) => `SELECT 1 FROM customers WHERE id = 8 AND name LIKE 'A%' AND ${call} IS NULL`),
  ])("%s", async (sql) => {
    for (const user of ["anna", "metabase"])
      await asked(user, async (client) => {
        expect(await client.query(sql).then(() => "answered", codeOf), user).toBe("42501");
      });
  });

  test("alone, or away from people, they are fine", async () => {
    await asked("anna", async (client) => {
      expect((await client.query("SELECT pg_sleep(0) IS NULL AS slept, random() < 2 AS drawn")).rows).toEqual(
        [{ slept: false, drawn: true }],
      );
      await client.query("SELECT id, gen_random_uuid(), clock_timestamp() FROM customers WHERE id = 8");
    });
  });
});
