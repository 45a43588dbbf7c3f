import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { LiveCatalog } from "../../proxy/catalog/live.ts";
import { freshDatabase, startPostgres, supportSchema, type TestDatabase } from "../harness/postgres.ts";

/** So long that no probe of the timer interferes with a test that triggers its own. */
const NEVER = 3600;

let database: TestDatabase;
let open: LiveCatalog[] = [];
beforeAll(async () => {
  database = await freshDatabase("live");
  await supportSchema(database.uri);
});
afterEach(async () => {
  await Promise.all(open.map((catalog) => catalog.close()));
  open = [];
});
afterAll(() => database.drop());

/** The fields of a URI, as `serve` passes them on. */
function connection(uri: string): pg.ClientConfig {
  const { hostname, port, username, password } = new URL(uri);
  return { host: hostname, port: Number(port), user: username, password };
}

async function openCatalog(probeSeconds: number, onRefreshed = vi.fn()): Promise<LiveCatalog> {
  const catalog = await LiveCatalog.open({
    connection: connection(database.uri),
    database: database.database,
    probeSeconds,
    onRefreshed,
  });
  open.push(catalog);
  return catalog;
}

test("a relation made after the snapshot is known after a refresh", async () => {
  const live = await openCatalog(NEVER);
  await database.query("CREATE TABLE made_later (a int)");
  expect(live.current.relations.has("public.made_later")).toBe(false);
  expect((await live.refresh()).relations.has("public.made_later")).toBe(true);
  expect(live.current.relations.has("public.made_later")).toBe(true);
});

test("a change that bypassed the proxy is seen by the timer's probe", async () => {
  const live = await openCatalog(0.05);
  await database.query("CREATE TABLE made_elsewhere (a int)");
  await vi.waitFor(() => expect(live.current.relations.has("public.made_elsewhere")).toBe(true), {
    timeout: 5000,
  });
});

test("statements that change nothing leave the same catalog in force, including temporary tables", async () => {
  await database.query("CREATE TABLE emptied (a int PRIMARY KEY)");
  const live = await openCatalog(NEVER);
  const before = live.current;
  await database.query("TRUNCATE emptied; CLUSTER emptied USING emptied_pkey; REINDEX TABLE emptied");
  await database.query("CREATE TEMPORARY TABLE passing (a int PRIMARY KEY, b text)");
  await database.query("UPDATE customers SET phone = phone WHERE id < 50; ANALYZE");
  await database.query("VACUUM FREEZE pg_class");
  expect(await live.refresh()).toBe(before);
});

test.each([
  "ALTER TABLE customers RENAME COLUMN address TO street",
  "ALTER TABLE customers ALTER COLUMN street TYPE varchar(200)",
  "ALTER TABLE customers ALTER COLUMN country DROP NOT NULL",
  "ALTER TABLE customers ADD COLUMN fax text",
  "ALTER TABLE customers DROP COLUMN fax",
  "CREATE OR REPLACE VIEW customer_directory AS SELECT id, name, email, email AS phone, country FROM customers",
  "ALTER VIEW customer_directory RENAME COLUMN phone TO contact",
  "CREATE INDEX ON customers (country)",
  "ALTER TABLE payments DROP CONSTRAINT payments_customer_id_fkey",
  "ALTER TABLE contact_log DETACH PARTITION contact_log_2024",
  "ALTER TABLE tickets ENABLE ROW LEVEL SECURITY",
  "CREATE RULE nothing AS ON DELETE TO payments DO INSTEAD NOTHING",
  "CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'",
  "ALTER FUNCTION answer() IMMUTABLE",
  "CREATE DOMAIN short AS text",
  "ALTER DOMAIN short RENAME TO brief",
  "CREATE OPERATOR <~> (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
  "CREATE SCHEMA extra",
  "ALTER TABLE payments SET SCHEMA extra",
  "CREATE EXTENSION pg_trgm",
])("no change is missed: %s", async (change) => {
  const [live, doubted] = [await openCatalog(NEVER), await openCatalog(NEVER)];
  const before = live.current.version;
  // Its first look is over: only the change is new.
  await doubted.recent();
  await database.query(change);
  expect((await live.refresh()).version).not.toBe(before);
  await doubted.lookAgain();
  expect(doubted.current.version).toBe(live.current.version);
});

test("while someone watches, a change that bypassed the proxy is seen within about a second", async () => {
  const live = await openCatalog(NEVER);
  const stop = live.watch();
  for (let n = 0; n < 3; n++) {
    await database.query(`CREATE TABLE watched_${n} (a int)`);
    await vi.waitFor(() => expect(live.current.relations.has(`public.watched_${n}`)).toBe(true), {
      timeout: 5000,
    });
  }
  stop();
  stop();
});

test("no queries while no one watches, and one short query a second while nothing is written", async () => {
  const looks = vi.fn();
  const live = await openCatalog(NEVER, looks);
  const asked = async () => {
    const { rows } = await database.query<{ query: string; started: string }>(
      "SELECT query, query_start::text AS started FROM pg_stat_activity WHERE application_name = 'sluice catalog' AND datname = current_database() ORDER BY query_start DESC LIMIT 1",
    );
    return rows[0];
  };
  const idle = await asked();
  looks.mockClear();
  const stop = live.watch();
  await vi.waitFor(() => expect(looks).toHaveBeenCalledTimes(2), { timeout: 10_000, interval: 20 });
  expect(idle?.query).not.toContain("pg_current_snapshot");
  // Other tests write to other databases of the server, and each of their transactions makes it look further.
  await vi.waitFor(
    async () =>
      expect((await asked())?.query).toBe("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text"),
    { timeout: 10_000, interval: 20 },
  );
  stop();
});

test("a doubt is checked at most once a second, and simultaneous doubts share the look", async () => {
  const looks = vi.fn();
  const live = await openCatalog(NEVER, looks);
  looks.mockClear();
  await database.query("CREATE TABLE doubted (a int)");
  const doubts = Array.from({ length: 100 }, () => live.lookAgain());
  expect(new Set(doubts).size).toBe(1);
  await Promise.all(doubts);
  expect(live.current.relations.has("public.doubted")).toBe(true);
  expect(live.lookAgain()).toBeUndefined();
  expect(looks).toHaveBeenCalledTimes(1);
});

test("after a change, a login waits for the look that is already running, and a doubt counts", async () => {
  const live = await openCatalog(NEVER);
  await database.query("CREATE TABLE made_before_login (a int)");
  await live.lookAgain();
  await database.query("CREATE TABLE made_at_login (a int)");
  live.changed();
  const running = live.refresh();
  // The look has begun, and has not ended.
  await new Promise(setImmediate);
  const before = live.current;
  expect(before.relations.has("public.made_at_login")).toBe(false);
  await Promise.all([live.recent(), live.lookAgain()]);
  expect(live.current.relations.has("public.made_at_login")).toBe(true);
  await running;
});

test("a glance that began before a change is not shared by logins after it", async () => {
  const live = await openCatalog(NEVER);
  live.changed();
  const first = live.recent();
  await new Promise(setImmediate);
  await database.query("CREATE TABLE made_in_a_glance (a int)");
  live.changed();
  await live.recent();
  expect(live.current.relations.has("public.made_in_a_glance")).toBe(true);
  await first;
});

test("a change between two overlapping transactions is not missed, whichever commits first", async () => {
  const live = await openCatalog(NEVER);
  await database.query("CREATE TABLE overlapping (a int)");
  const early = new pg.Client({ connectionString: database.uri });
  await early.connect();
  await early.query("BEGIN; SELECT pg_current_xact_id(); ");
  await database.query("CREATE TABLE in_the_meantime (a int)");
  await live.refresh();
  await early.query("ALTER TABLE overlapping ADD COLUMN b int; COMMIT");
  await live.lookAgain();
  expect(live.current.relations.get("public.overlapping")?.columns).toHaveLength(2);
  await early.end();
});

test("refreshes that wait at the same time share one look", async () => {
  const refreshed = vi.fn();
  const live = await openCatalog(NEVER, refreshed);
  refreshed.mockClear();
  await Promise.all(Array.from({ length: 20 }, () => live.refresh()));
  expect(refreshed.mock.calls.length).toBeLessThanOrEqual(2);
});

test("a refresh requested during another one sees what happened in between", async () => {
  const live = await openCatalog(NEVER);
  for (let n = 0; n < 5; n++) {
    const running = live.refresh();
    await database.query(`CREATE TABLE in_between_${n} (a int)`);
    expect((await live.refresh()).relations.has(`public.in_between_${n}`)).toBe(true);
    await running;
  }
});

test("columns that a user may not read are listed, and a later GRANT is noticed", async () => {
  await database.query(`
    CREATE TABLE secrets (id int, open text, closed text);
    GRANT SELECT (id, open) ON secrets TO anna;`);
  const live = await openCatalog(NEVER);
  const ofSecrets = [...(await live.unreadableBy("anna"))].filter((column) => column.includes(".secrets."));
  expect(ofSecrets).toEqual(["public.secrets.closed"]);
  expect((await live.unreadableBy("ben")).has("public.secrets.id")).toBe(true);
  expect((await live.unreadableBy(database.superuser)).size).toBe(0);
  await database.query("GRANT SELECT ON secrets TO anna");
  await live.refresh();
  expect((await live.unreadableBy("anna")).has("public.secrets.closed")).toBe(false);
});

test("a user whom the server does not know may read nothing", async () => {
  const live = await openCatalog(NEVER);
  const columns = await live.unreadableBy("nobody's name");
  expect(columns.has("public.customers.id")).toBe(true);
});

test("the search path with which a user starts is the most specific setting", async () => {
  const live = await openCatalog(NEVER);
  expect(await live.searchPathOf("anna")).toBe('"$user", public');
  await database.query(`ALTER DATABASE ${database.database} SET search_path = public, extra`);
  await live.refresh();
  expect(await live.searchPathOf("anna")).toBe("public, extra");
  await database.query(`ALTER ROLE anna IN DATABASE ${database.database} SET search_path = extra`);
  await live.refresh();
  expect(await live.searchPathOf("anna")).toBe("extra");
  expect(await live.searchPathOf("ben")).toBe("public, extra");
});

test("a control connection that is cut is opened again, and the catalog stays in force in between", async () => {
  const failed = vi.fn();
  const live = await LiveCatalog.open({
    connection: { ...connection(database.uri), application_name: "to be cut" },
    database: database.database,
    probeSeconds: NEVER,
    onError: failed,
  });
  open.push(live);
  await database.query("CREATE TABLE after_the_cut (a int)");
  await database.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be cut'",
  );
  await vi.waitFor(() => expect(failed).toHaveBeenCalled());
  expect(live.current.relations.has("public.customers")).toBe(true);
  await vi.waitFor(() => expect(live.current.relations.has("public.after_the_cut")).toBe(true), {
    timeout: 5000,
  });
});

test("while its server is down the last catalog stays in force and ages, and refresh reports the failure", async () => {
  const server = await startPostgres();
  const failed = vi.fn();
  const live = await LiveCatalog.open({
    connection: connection(server.uri),
    database: "postgres",
    probeSeconds: NEVER,
    onError: failed,
  });
  open.push(live);
  const { current, checkedAt } = live;
  await server.stop();
  await expect(live.refresh()).rejects.toThrow();
  await vi.waitFor(() => expect(failed).toHaveBeenCalled());
  expect(live.current).toBe(current);
  expect(live.checkedAt).toBe(checkedAt);
});

test("each database has its own catalog, opened once", async () => {
  const catalogs = new Catalogs({ connection: connection(database.uri), probeSeconds: NEVER });
  const [one, two, other] = await Promise.all([
    catalogs.of(database.database),
    catalogs.of(database.database),
    catalogs.of("postgres"),
  ]);
  expect(one).toBe(two);
  expect(one.current.database).toBe(database.database);
  expect(other.current.relations.has("public.customers")).toBe(false);
  await expect(catalogs.of("no such database")).rejects.toThrow("does not exist");
  await catalogs.close();
});
