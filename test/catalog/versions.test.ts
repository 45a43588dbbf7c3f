import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import { LiveCatalog } from "../../proxy/catalog/live.ts";
import { Pace } from "../../proxy/catalog/pace.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import { freshDatabase, serverUri, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { makeWorld, type World } from "../session/world.ts";

/* Each DDL statement creates a new version of the catalog, of megabytes in a large database: none may be retained. */

setFlagsFromString("--expose_gc");
const collect = runInNewContext("gc") as () => void;

/** The number of versions still retained after a garbage collection. */
async function held(versions: readonly WeakRef<Catalog>[]): Promise<number> {
  const count = () => versions.filter((version) => version.deref() !== undefined).length;
  await expect
    .poll(
      () => {
        collect();
        return count();
      },
      { timeout: 5_000, interval: 20 },
    )
    .toBeLessThanOrEqual(2)
    .catch(() => undefined);
  return count();
}

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("versions");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

test("scopes, sights and verdicts retain no version of the catalog", async () => {
  const url = new URL(serverUri());
  const live = await LiveCatalog.open({
    connection: { host: url.hostname, port: Number(url.port), user: url.username, password: url.password },
    database: database.database,
    probeSeconds: 3600,
  });
  const compiled = compilePolicies([
    {
      name: "test.yaml",
      text: `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles: { agent: { users: [anna], reads: all, sees: [] } }`,
    },
  ]);
  if (!compiled.ok) throw new Error("a policy with a fault");
  const policy = compiled.policies.forDatabase(database.database);
  const role = roleFor(policy, "anna", "127.0.0.1");
  if (isRefusal(role)) throw new Error(role.message);
  const scopes = new Scopes();
  const verdicts = new VerdictCache({
    onLookup: () => {},
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  });
  const versions: WeakRef<Catalog>[] = [];
  for (let round = 0; round < 20; round++) {
    await database.query(`CREATE TABLE round_${round} (a int)`);
    const catalog = await live.refresh();
    versions.push(new WeakRef(catalog));
    const scope = scopes.of({
      policy,
      role,
      user: "anna",
      catalog,
      searchPath: ["public"],
      unreadable: new Set(),
      maskKey: undefined,
    });
    expect(verdicts.judge(Buffer.from("SELECT email FROM customers"), scope).kind).toBe("rewrite");
  }
  expect(new Set(versions).size).toBe(20);
  expect(await held(versions)).toBeLessThanOrEqual(2);
  await live.close();
});

test("idle sessions retain no version, guarded or not, whatever they have prepared", async () => {
  const world: World = await makeWorld();
  const { sluice } = world;
  const clients = [];
  const versions: WeakRef<Catalog>[] = [];
  for (let round = 0; round < 6; round++) {
    await world.database.query(`CREATE TABLE round_${round} (a int)`);
    const catalog = await (await sluice.catalogs.of(world.database.database)).refresh();
    versions.push(new WeakRef(catalog));
    for (const user of ["anna", "helpdesk_app"]) {
      const client = await sluice.connect(user);
      await client.query({ name: "by-id", text: "SELECT email FROM customers WHERE id = $1", values: [7] });
      clients.push(client);
    }
  }
  expect(await held(versions)).toBeLessThanOrEqual(2);
  // And they continue: what they prepared is judged again.
  for (const client of clients) {
    const { rows } = await client.query({
      name: "by-id",
      text: "SELECT email FROM customers WHERE id = $1",
      values: [7],
    });
    expect(rows).toHaveLength(1);
    await client.end();
  }
  await world.close();
});

test("four thousand DDL statements leave one version, and cost a few reads of the catalog", async () => {
  const world: World = await makeWorld();
  const { sluice } = world;
  const live = await sluice.catalogs.of(world.database.database);
  const app = await sluice.connect("helpdesk_app");
  const anna = await sluice.connect("anna");
  const versions: WeakRef<Catalog>[] = [];
  const names = new Set<string>();
  for (let round = 0; round < 40; round++) {
    const pairs = Array.from(
      { length: 50 },
      (_, n) => `CREATE TABLE t_${n} (a int, b text); DROP TABLE t_${n}`,
    );
    await app.query(`${pairs.join("; ")}; CREATE TABLE IF NOT EXISTS r_${round} (a int)`);
    expect((await anna.query("SELECT email FROM customers WHERE id = 7")).rows).toHaveLength(1);
    const { current } = live;
    if (!names.has(current.version)) versions.push(new WeakRef(current));
    names.add(current.version);
  }
  await expect.poll(() => live.current.relations.has("public.r_39")).toBe(true);
  expect(versions.length).toBeGreaterThan(2);
  expect(await held(versions)).toBeLessThanOrEqual(2);
  await Promise.all([app.end(), anna.end()]);
  await world.close();
});

test("looks after DDL take a small part of the time, and none is delayed for long", () => {
  const pace = new Pace(3600);
  pace.looked(1_000);
  const after = (isWatched: boolean) => pace.next(isWatched, true);
  expect(after(true)).toBeGreaterThan(0);
  expect(after(true)).toBeLessThanOrEqual(1_000);
  expect(after(false)).toBeGreaterThan(3_000);
  expect(after(false)).toBeLessThanOrEqual(5_000);
  pace.looked(0);
  expect(after(true)).toBe(0);
  expect(after(false)).toBe(0);
});
