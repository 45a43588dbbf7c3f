import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Catalog, type Relation, relationKey } from "../../proxy/catalog/catalog.ts";
import { LiveCatalog } from "../../proxy/catalog/live.ts";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import {
  createRoles,
  databaseOn,
  PASSWORDS,
  serverUri,
  startDebianPostgres,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";

let debian: RunningPostgres;
beforeAll(async () => {
  debian = await startDebianPostgres();
  await createRoles(debian.uri);
});
afterAll(() => debian.stop());

describe.each([
  ["npm's Postgres", () => serverUri()],
  ["Debian's Postgres", () => debian.uri],
])("on %s", (_name, uri) => {
  let database: TestDatabase;
  let client: pg.Client;
  let catalog: Catalog;
  beforeAll(async () => {
    database = await databaseOn(uri(), "snapshot");
    await supportSchema(database.uri);
    await database.query(ODDITIES);
    client = new pg.Client({ connectionString: database.uri });
    await client.connect();
    catalog = await readCatalog(client);
  });
  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  function relation(name: string, schema = "public"): Relation {
    const found = catalog.relations.get(relationKey(schema, name));
    if (found === undefined) throw new Error(`${name} is not in the catalog`);
    return found;
  }

  /** The source of each column of a view, as `relation.column`. */
  function origins(view: string): Record<string, string> {
    const entries = [...(relation(view).lineage?.origins ?? [])].map(([name, origin]) => {
      const base = catalog.relationsByOid.get(origin.relation);
      return [name, `${base?.name}.${base?.columns.find(({ number }) => number === origin.column)?.name}`];
    });
    return Object.fromEntries(entries);
  }

  /** The sources of a view, as `relation.column`, `relation.*` or `relation` (counted only). */
  function sources(view: string): readonly string[] {
    return (relation(view).lineage?.dependsOn ?? [])
      .flatMap(({ relation: oid, columns }) => {
        const base = catalog.relationsByOid.get(oid);
        if (columns.length === 0) return [`${base?.name}.*`];
        return columns.map((number) => {
          const column = base?.columns.find((one) => one.number === number);
          return column === undefined ? `${base?.name}` : `${base?.name}.${column.name}`;
        });
      })
      .sort();
  }

  function functionsOf(view: string): readonly string[] {
    return (relation(view).lineage?.functions ?? []).map(
      (oid) => catalog.functionsByOid.get(oid)?.name ?? `? ${oid}`,
    );
  }

  test("a table shows its columns, keys and indexes", () => {
    const customers = relation("customers");
    expect(customers).toMatchObject({
      kind: "table",
      primaryKey: ["id"],
      parents: [],
      hasRules: false,
      rulesOnWrites: false,
      foreignKeys: [],
    });
    expect(customers.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      "id bigint",
      "name text",
      "email text",
      "phone text",
      "address text",
      "birth_date date",
      "country text",
      "created_at timestamp with time zone",
    ]);
    expect(customers.indexes).toEqual(
      expect.arrayContaining([
        { columns: ["id"], unique: true, partial: false },
        { columns: ["email"], unique: true, partial: false },
        { columns: ["phone"], unique: false, partial: false },
      ]),
    );
    expect(relation("tickets").foreignKeys).toEqual([
      { columns: ["customer_id"], references: customers.oid, referencedColumns: ["id"] },
    ]);
  });

  test("an index's columns are listed up to its first expression", () => {
    expect(relation("odd indexes").indexes).toEqual([
      { columns: ["a"], unique: false, partial: false },
      { columns: ["b", "a"], unique: true, partial: true },
    ]);
  });

  test("each check of a row names the columns for which it may refuse the row, and how", () => {
    const constraints = Object.fromEntries(
      relation("guarded").constraints.map(({ name, kind, columns, compared, ...rest }) => [
        name,
        { kind, columns: [...columns].sort(), compared: [...compared].sort(), ...rest },
      ]),
    );
    const none = { keys: [], freeIfNull: [] };
    expect(constraints).toEqual({
      ordered: { kind: "check", columns: ["low", "top"], compared: [], ...none },
      proven_later: { kind: "check", columns: ["low"], compared: [], unproven: true, ...none },
      whole: {
        kind: "check",
        columns: relation("guarded")
          .columns.map(({ name }) => name)
          .sort(),
        compared: [],
        ...none,
      },
      asks: {
        kind: "check",
        columns: relation("guarded")
          .columns.map(({ name }) => name)
          .sort(),
        compared: [],
        ...none,
      },
      pair: {
        kind: "unique",
        columns: ["code", "grp"],
        compared: ["code", "grp"],
        keys: ["grp", "code"],
        freeIfNull: ["grp", "code"],
      },
      folded: {
        kind: "unique",
        columns: ["email"],
        compared: ["email"],
        keys: ["email"],
        freeIfNull: ["email"],
      },
      by_part: { kind: "unique", columns: ["email"], compared: [], keys: [], freeIfNull: [] },
      partly: {
        kind: "unique",
        columns: ["code", "grp", "top"],
        compared: ["code", "grp"],
        keys: ["grp"],
        freeIfNull: ["grp", "top", "code"],
      },
      by_generated: {
        kind: "unique",
        columns: ["email"],
        compared: ["email"],
        keys: ["email"],
        freeIfNull: ["email"],
      },
      by_computed: { kind: "unique", columns: ["code", "grp"], compared: [], keys: [], freeIfNull: [] },
      rooms: {
        kind: "exclusion",
        columns: ["during", "room"],
        compared: ["room"],
        keys: ["room"],
        freeIfNull: ["room"],
      },
      to_pair: { kind: "foreign key", columns: ["code", "grp"], compared: ["code", "grp"], ...none },
      mine: { kind: "policy", columns: ["code", "low"], compared: [], ...none },
      email_lower: { kind: "generated column", columns: ["email"], compared: [], ...none },
      both: { kind: "generated column", columns: ["code", "grp"], compared: [], ...none },
    });
    expect(relation("split").constraints).toEqual([
      { kind: "partition key", name: "the partition key", columns: ["a", "b"], compared: [], ...none },
    ]);
    const filled = new Map(relation("guarded").columns.map((column) => [column.name, column.default]));
    expect([filled.get("low"), filled.get("code"), filled.get("room"), filled.get("top")]).toEqual([
      "constant",
      "fresh",
      "code",
      undefined,
    ]);
  });

  test("partitions and inheritance children know their parents", () => {
    expect(relation("contact_log_2023")).toMatchObject({
      isPartition: true,
      parents: [relation("contact_log").oid],
    });
    expect(relation("contact_log").kind).toBe("partitioned");
    expect(relation("vip_customers")).toMatchObject({
      isPartition: false,
      parents: [relation("customers").oid],
    });
  });

  test("a key that references a partitioned table is one key", () => {
    expect(relation("refers").foreignKeys).toHaveLength(1);
  });

  test("dropped columns are absent, and numbers keep their gaps", () => {
    expect(relation("dropped").columns.map(({ name, number }) => [name, number])).toEqual([
      ["a", 1],
      ["c", 3],
    ]);
    expect(origins("dropped_view")).toEqual({ c: "dropped.c" });
  });

  test("triggers, rules and row security are shown, also for their copies on partitions", () => {
    expect(relation("with_rule").hasRules).toBe(true);
    expect(relation("with_policy").hasRules).toBe(true);
    expect(relation("with_trigger").hasRules).toBe(true);
    expect(relation("with_trigger_1").hasRules).toBe(true);
    expect(relation("tickets").hasRules).toBe(false);
    expect(relation("customer_directory").hasRules).toBe(false);
  });

  test("types are written so that they can be spliced into a cast", () => {
    expect(relation("typed").columns.map(({ type }) => type)).toEqual([
      "numeric(10,2)",
      "character varying(20)",
      "bpchar",
      "other.mood",
      '"od d"."my ""type"[]',
      "interval(3)",
    ]);
  });

  test("a view's plain columns lead to their origin, whatever their names", () => {
    expect(origins("customer_directory")).toEqual({
      id: "customers.id",
      name: "customers.name",
      email: "customers.email",
      phone: "customers.phone",
      country: "customers.country",
    });
    expect(origins("renamed")).toEqual({ a: "customers.id", "now: {z}": "customers.email" });
    expect(origins("view_of_view")).toEqual({ mail: "customer_directory.email" });
    expect(origins("customer_copy")).toEqual({
      id: "customers.id",
      name: "customers.name",
      email: "customers.email",
    });
    expect(origins("through")).toEqual({
      sub: "customers.email",
      cte: "customers.phone",
      joined: "tickets.body",
    });
    expect(origins("grouped")).toEqual({ email: "customers.email" });
  });

  test("computed columns of a view have no origin", () => {
    expect(origins("customer_upper")).toEqual({ id: "customers.id", country: "customers.country" });
    expect(origins("united")).toEqual({});
    expect(origins("united_below")).toEqual({ id: "customers.id" });
    expect(origins("cast_down")).toEqual({});
    expect(origins("whole_row")).toEqual({ id: "customers.id" });
    expect(origins("system_columns")).toEqual({});
  });

  test("the function that EXTRACT calls is known on every server", () => {
    const called = catalog.functionsByName.get("extract") ?? [];
    expect(called.length).toBeGreaterThan(3);
    expect(called.every(({ schema, returnsSet }) => schema === "pg_catalog" && !returnsSet)).toBe(true);
  });

  test("names with every special character of a node tree are read correctly", () => {
    expect(origins("tricky")).toEqual({
      ":resorigtbl 1": "bad {na}me.:resjunk true",
      'q"u\\o}te) (': "bad {na}me.a.b",
    });
    expect(sources("tricky")).toEqual(["bad {na}me.:resjunk true", "bad {na}me.a.b", "bad {na}me.sort me"]);
  });

  test("a view depends on every column that it reads, even one that it does not show", () => {
    expect(sources("customer_upper")).toEqual(["customers.country", "customers.email", "customers.id"]);
    expect(sources("hidden_condition")).toEqual(["customers.email", "tickets.id"]);
    expect(sources("customers_per_country")).toEqual(["customers.country"]);
    expect(sources("only_counted")).toEqual(["customers"]);
  });

  test("a whole row depends on the whole relation, although the server's own records name one column", () => {
    expect(sources("whole_row")).toEqual(["customers.*"]);
  });

  test("a view over the system's own tables depends on them, although the server keeps no record of it", () => {
    expect(sources("passwords")).toEqual(["pg_authid.rolpassword"]);
    expect(sources("sampled_values")).toEqual(["pg_stats.most_common_vals"]);
  });

  test("a view lists every function that it calls, also through operators, aggregates and casts", () => {
    expect(functionsOf("customer_upper")).toEqual(["upper"]);
    expect(functionsOf("calls")).toEqual(
      expect.arrayContaining(["leak", "leak_operator", "string_agg", "row_number", "texteq", "as_mood"]),
    );
    expect(functionsOf("from_function")).toEqual(["int8", "leak"]);
    expect(functionsOf("in_subquery")).toContain("leak");
  });

  test("a type's input is plain only if no SQL or PL code can run", () => {
    const plain = (name: string) => catalog.typesByName.get(name)?.map(({ plainInput }) => plainInput);
    for (const name of [
      "text",
      "int4",
      "_text",
      "mood",
      "_mood",
      "int4range",
      "_int4range",
      "name",
      "point",
      "jsonb",
    ]) {
      expect([name, plain(name)]).toEqual([name, [true]]);
    }
    for (const name of ["checked", "_checked", "customers", "_customers", "record", "checked_range"]) {
      expect([name, plain(name)]).toEqual([name, [false]]);
    }
    expect(catalog.typesByName.get("checked")?.[0]).toMatchObject({ kind: "domain", base: 25, element: 0 });
    expect(catalog.typesByName.get("_text")?.[0]).toMatchObject({ element: 25, category: "A" });
    expect(catalog.typesByName.get("customers")?.[0]).toMatchObject({ relation: relation("customers").oid });
  });

  test("functions and operators have their properties, and the system's relations are included", () => {
    expect(catalog.functionsByName.get("leak")).toEqual([
      expect.objectContaining({
        schema: "public",
        kind: "function",
        volatility: "volatile",
        language: "plpgsql",
        argumentTypes: [20],
      }),
    ]);
    expect(catalog.functionsByName.get("count")?.every(({ kind }) => kind === "aggregate")).toBe(true);
    expect([...catalog.operatorsOutside.keys()]).toEqual(["<~>"]);
    expect(relation("pg_class", "pg_catalog").columns.length).toBeGreaterThan(20);
    expect(relation("tables", "information_schema")).toMatchObject({ kind: "view" });
    expect(relation("tables", "information_schema").lineage).toBeUndefined();
    expect(catalog.serverVersion).toBeGreaterThanOrEqual(130_000);
    expect(catalog.database).toBe(database.database);
  });

  test("temporary relations of other sessions and schemas with a dot are left out", () => {
    expect(catalog.relationsByName.has("temporary_of_another")).toBe(false);
    expect(
      [...catalog.schemas].filter((name) => name.startsWith("pg_temp") || name.startsWith("pg_toast")),
    ).toEqual([]);
    expect(catalog.relationsByName.has("in dotted schema")).toBe(false);
  });

  test("a control login without any privilege reads the same catalog as a superuser", async () => {
    const live = await LiveCatalog.open({
      connection: { host: database.host, port: database.port, user: "anna", password: PASSWORDS.anna },
      database: database.database,
      probeSeconds: 3600,
    });
    expect(live.current.version).toBe(catalog.version);
    expect(await live.refresh()).toBe(live.current);
    expect(await live.searchPathOf("ben")).toBe('"$user", public');
    expect((await live.unreadableBy("ben")).has("public.dropped.a")).toBe(true);
    await live.close();
  });

  test("the version is the same for the same catalog, and differs after any change", async () => {
    expect((await readCatalog(client)).version).toBe(catalog.version);
    await database.query("ANALYZE customers; CREATE TEMPORARY TABLE more (a int)");
    expect((await readCatalog(client)).version).toBe(catalog.version);
    const seen = new Set([catalog.version]);
    const changes = [
      "ALTER VIEW renamed RENAME COLUMN a TO b",
      "ALTER TABLE dropped ALTER COLUMN c SET NOT NULL",
      "CREATE OR REPLACE FUNCTION leak(bigint) RETURNS text LANGUAGE sql AS $$ SELECT '' $$",
      "DROP INDEX customers_phone",
    ];
    for (const change of changes) {
      await database.query(change);
      const { version } = await readCatalog(client);
      expect([change, seen.has(version)]).toEqual([change, false]);
      seen.add(version);
    }
  });
});

/** All that is easily misread. */
const ODDITIES = `
  CREATE TEMPORARY TABLE temporary_of_another (a int);
  CREATE SCHEMA "a.b";
  CREATE TABLE "a.b"."in dotted schema" (a int);
  CREATE SCHEMA other;
  CREATE SCHEMA "od d";
  CREATE TYPE other.mood AS ENUM ('good', 'bad');
  CREATE TYPE "od d"."my ""type" AS (a int);
  CREATE DOMAIN checked AS text CHECK (length(VALUE) < 100);
  CREATE TYPE checked_range AS RANGE (subtype = checked);
  CREATE TABLE typed (a numeric(10,2), b varchar(20), c bpchar, d other.mood, e "od d"."my ""type"[], f interval(3));

  CREATE FUNCTION public.asked(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
  CREATE FUNCTION public.made_up() RETURNS int4range LANGUAGE sql AS 'SELECT int4range(1, 2)';
  CREATE TABLE guarded (low int DEFAULT 1, top int, grp text, code text DEFAULT gen_random_uuid(), email varchar(90),
    room int4range DEFAULT public.made_up(), during int4range,
    email_lower text GENERATED ALWAYS AS (lower(email)) STORED, "both" text GENERATED ALWAYS AS (grp || code) STORED,
    CONSTRAINT ordered CHECK (low <= top), CONSTRAINT whole CHECK (guarded IS NOT NULL OR true),
    CONSTRAINT asks CHECK (public.asked(low)), CONSTRAINT pair UNIQUE (grp, code));
  ALTER TABLE guarded ADD CONSTRAINT proven_later CHECK (low > 0) NOT VALID;
  ALTER TABLE guarded ADD CONSTRAINT to_pair FOREIGN KEY (grp, code) REFERENCES guarded (grp, code);
  CREATE UNIQUE INDEX folded ON guarded (lower(email)) INCLUDE (low) WHERE room IS NOT NULL;
  CREATE UNIQUE INDEX by_part ON guarded (left(email, 1));
  CREATE UNIQUE INDEX partly ON guarded (grp) WHERE top > 5 AND code = 'x';
  CREATE UNIQUE INDEX by_generated ON guarded (email_lower);
  CREATE UNIQUE INDEX by_computed ON guarded ("both");
  ALTER TABLE guarded ADD CONSTRAINT rooms EXCLUDE USING gist (room WITH =, during WITH &&);
  ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
  CREATE POLICY mine ON guarded USING (low > 0) WITH CHECK (code <> '');
  CREATE TABLE split (a int, b int) PARTITION BY RANGE (a, (b + 1));
  CREATE TABLE "odd indexes" (a int, b int, c text);
  CREATE INDEX ON "odd indexes" (a, lower(c), b);
  CREATE UNIQUE INDEX ON "odd indexes" (b, a) INCLUDE (c) WHERE a > 1;

  CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id);
  CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
  CREATE TABLE refers (parted_id int REFERENCES parted);

  CREATE TABLE dropped (a int, b text, c text);
  ALTER TABLE dropped DROP COLUMN b;
  CREATE VIEW dropped_view AS SELECT c FROM dropped;

  CREATE FUNCTION leak(bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT email FROM public.customers WHERE id = $1); END $$;
  CREATE FUNCTION leak_operator(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
  CREATE OPERATOR public.<~> (FUNCTION = leak_operator, LEFTARG = text, RIGHTARG = text);
  CREATE FUNCTION as_mood(bigint) RETURNS other.mood LANGUAGE sql AS $$ SELECT 'good'::other.mood $$;
  CREATE CAST (bigint AS other.mood) WITH FUNCTION as_mood(bigint);
  CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;

  CREATE TABLE with_rule (a int);
  CREATE RULE quiet AS ON INSERT TO with_rule DO INSTEAD NOTHING;
  CREATE TABLE with_policy (a int);
  ALTER TABLE with_policy ENABLE ROW LEVEL SECURITY;
  CREATE TABLE with_trigger (id int) PARTITION BY HASH (id);
  CREATE TABLE with_trigger_1 PARTITION OF with_trigger FOR VALUES WITH (MODULUS 1, REMAINDER 0);
  CREATE TRIGGER touched BEFORE INSERT ON with_trigger_1 FOR EACH ROW EXECUTE FUNCTION touch();
  CREATE TRIGGER touched_all AFTER INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION touch();

  CREATE VIEW renamed(a, b) AS SELECT id, email FROM customers;
  ALTER VIEW renamed RENAME COLUMN b TO "now: {z}";
  CREATE VIEW view_of_view(mail) AS SELECT email FROM customer_directory;
  CREATE VIEW through AS
    WITH c AS (SELECT id, phone AS p FROM customers)
    SELECT s.e AS sub, c.p AS cte, j.body AS joined
    FROM (SELECT id, email AS e FROM customers) s JOIN c USING (id)
      LEFT JOIN (tickets t NATURAL JOIN (SELECT 1 AS one) o) j ON j.customer_id = s.id
    ORDER BY upper(s.e);
  CREATE VIEW grouped AS SELECT email, count(*) AS n FROM customers GROUP BY email;
  CREATE VIEW united AS SELECT email FROM customers UNION ALL SELECT name FROM customers;
  CREATE VIEW united_below AS
    SELECT c.id, u.email FROM customers c, (SELECT email FROM customers UNION SELECT name FROM customers) u;
  CREATE VIEW cast_down AS SELECT email::varchar(10) AS short, coalesce(email, '') AS filled, email COLLATE "C" AS sorted FROM customers;
  CREATE VIEW whole_row AS SELECT c.id, row_to_json(c) AS everything FROM customers c;
  CREATE VIEW system_columns AS SELECT ctid AS place FROM customers;
  CREATE TABLE "bad {na}me" (":resjunk true" int, "a.b" text, "sort me" int);
  CREATE VIEW tricky(":resorigtbl 1", "q""u\\o}te) (") AS
    SELECT ":resjunk true", "a.b" FROM "bad {na}me" ORDER BY "sort me" + 1;
  CREATE VIEW hidden_condition AS
    SELECT t.id FROM tickets t WHERE EXISTS (SELECT FROM customers c WHERE c.email LIKE 'a%');
  CREATE VIEW only_counted AS SELECT count(*) FROM customers;
  CREATE VIEW passwords AS SELECT rolpassword FROM pg_authid;
  CREATE VIEW sampled_values AS SELECT most_common_vals::text FROM pg_stats;
  CREATE VIEW calls AS
    SELECT leak(id) AS l, string_agg(name, ',') AS s, row_number() OVER () AS r, id::other.mood AS m
    FROM customers WHERE email <~> name AND name = 'x' GROUP BY id;
  CREATE VIEW from_function AS SELECT * FROM leak(7);
  CREATE VIEW in_subquery AS SELECT 1 AS one WHERE EXISTS (SELECT leak(t.id) FROM tickets t);
`;
