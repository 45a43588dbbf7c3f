/**
 * How cost grows with the length of statements, the size of the policy, the number of users, rows and sessions.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/growth.js [--write]      --write draws docs/growth.svg
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Catalog } from "../proxy/catalog/catalog.ts";
import { relationKey } from "../proxy/catalog/catalog.ts";
import { readCatalog } from "../proxy/catalog/snapshot.ts";
import type { Role } from "../proxy/policy/policy.ts";
import { Scopes, VerdictCache } from "../proxy/sql/cache.ts";
import type { Scope } from "../proxy/sql/scope.ts";
import { findProgram } from "../test/harness/debian.ts";
import { scopeFor, withDatabase } from "./database.ts";
import { median, table } from "./figures.ts";
import { type Curve, drawCurves, type Panel } from "./growth-picture.ts";
import { runPgbench } from "./pgbench.ts";
import { usageOf } from "./processes.ts";
import { startSluice, uriAt } from "./targets.ts";
import { startWorld, type World } from "./world.ts";

const MAIN = fileURLToPath(new URL("../../main.js", import.meta.url));
const ROWS = 1_000_000;

const panels: Panel[] = [];
await withDatabase(async (client) => {
  const scope = scopeFor(await readCatalog(client));
  panels.push(byLength(scope), byPolicy(scope), byUsers(scope));
});
const world = await startWorld(ROWS);
try {
  panels.push(await byRows(world), await bySessions(world));
} finally {
  await world.stop();
}
for (const { title, across, down, curves } of panels) {
  const places = curves[0]?.points.map(([x]) => x) ?? [];
  const rows = places.map((place, i) => [
    place.toLocaleString("en-GB"),
    ...curves.map(({ points }) => points[i]?.[1].toPrecision(3) ?? ""),
  ]);
  console.log(`\n${title} (${down})\n\n${table([across, ...curves.map(({ name }) => name)], rows)}`);
}
if (process.argv.includes("--write")) {
  await writeFile(new URL("../../../docs/growth.svg", import.meta.url), drawCurves(panels));
}

function byLength(scope: Scope): Panel {
  const sizes = [1, 4, 16, 64, 256];
  const sql = (terms: number, literal: number) =>
    `SELECT id, name, email, phone FROM customers WHERE ${Array.from({ length: terms }, (_, n) => `(country = 'DE' AND id <> ${literal + n})`).join(" OR ")}`;
  const points = sizes.map((terms) => {
    const fresh = cacheOf();
    const miss = time((n) => fresh.judge(Buffer.from(`${sql(terms, n)} -- ${n}`), scope));
    const warm = cacheOf();
    warm.judge(Buffer.from(sql(terms, 0)), scope);
    const hit = time((n) => warm.judge(Buffer.from(sql(terms, n % 1_000)), scope));
    return { bytes: sql(terms, 0).length, miss, hit };
  });
  return {
    title: "Length of a statement",
    across: "bytes",
    down: "µs a verdict",
    curves: [
      { name: "never seen", points: points.map(({ bytes, miss }) => [bytes, miss]) },
      { name: "other literals", points: points.map(({ bytes, hit }) => [bytes, hit]) },
    ],
  };
}

function byPolicy(scope: Scope): Panel {
  const sizes = [10, 100, 1_000];
  const sql = "SELECT id, name, email FROM customers WHERE id = ";
  const points = sizes.map((tables): readonly [number, number, number] => {
    const grown = withTables(scope, tables);
    const fresh = cacheOf();
    const warm = cacheOf();
    warm.judge(Buffer.from(`${sql}0`), grown);
    return [
      tables,
      time((n) => fresh.judge(Buffer.from(`${sql}${n} -- ${n}`), grown)),
      time((n) => warm.judge(Buffer.from(`${sql}${n % 1_000}`), grown)),
    ];
  });
  return {
    title: "Size of the policy",
    across: "tables",
    down: "µs a verdict",
    curves: [
      { name: "never seen", points: points.map(([tables, miss]) => [tables, miss]) },
      { name: "other literals", points: points.map(([tables, , hit]) => [tables, hit]) },
    ],
  };
}

/** The same catalog and policy with so many tables more, each with classes of its own columns. */
function withTables(scope: Scope, count: number): Scope {
  const model = scope.catalog.relations.get("public.customers");
  const entry = scope.policy.tables.get("public.customers");
  if (model === undefined || entry === undefined) throw new Error("no table to copy");
  const copies = Array.from({ length: count }, (_, n) => ({
    ...model,
    oid: 5_000_000 + n,
    name: `copy_${n}`,
  }));
  const catalog: Catalog = {
    ...scope.catalog,
    relations: new Map([
      ...scope.catalog.relations,
      ...copies.map((copy) => [relationKey(copy.schema, copy.name), copy] as const),
    ]),
    relationsByOid: new Map([
      ...scope.catalog.relationsByOid,
      ...copies.map((copy) => [copy.oid, copy] as const),
    ]),
  };
  const tables = new Map([
    ...scope.policy.tables,
    ...copies.map(({ name }) => [`public.${name}`, { ...entry, name: `public.${name}` }] as const),
  ]);
  return { ...scope, catalog, policy: { ...scope.policy, tables } };
}

function byUsers(base: Scope): Panel {
  const counts = [1, 10, 100, 1_000, 10_000];
  const sql = "SELECT id, name, email FROM customers WHERE id = ";
  const sight = { sql: "country = :user", place: base.role.place };
  const personal: Role = { ...base.role, sees: new Map([["email", sight]]) };
  const curve = (name: string, role: Role): Curve => ({
    name,
    points: counts.map((count) => {
      const [cache, scopes] = [cacheOf(), new Scopes()];
      const all = Array.from({ length: count }, (_, n) => scopes.of({ ...base, role, user: `user${n}` }));
      for (const scope of all) cache.judge(Buffer.from(`${sql}0`), scope);
      return [count, time((n) => cache.judge(Buffer.from(`${sql}${n % 1_000}`), all[n % count] ?? base))];
    }),
  });
  return {
    title: "Number of users",
    across: "users",
    down: "µs a verdict, other literals",
    curves: [curve("shared", base.role), curve("with :user", personal)],
  };
}

async function byRows(world: World): Promise<Panel> {
  const counts = [1_000, 10_000, 100_000, ROWS];
  const curve = async (user: string): Promise<Curve> => {
    const proxy = await startSluice({ port: world.postgres.port, folder: world.folder }, options(world));
    try {
      // What the first results load and compile is not the price of a row.
      await read(uriAt(proxy.port, user), 200_000);
      const points: (readonly [number, number])[] = [];
      for (const count of counts) {
        const times = Math.max(1, Math.min(30, 100_000 / count));
        const before = await usageOf(proxy.pid);
        for (let n = 0; n < times; n++) await read(uriAt(proxy.port, user), count);
        points.push([count, ((await usageOf(proxy.pid)).cpu - before.cpu) * (1e6 / (times * count))]);
      }
      return { name: user, points };
    } finally {
      await proxy.stop();
    }
  };
  return {
    title: "Rows of a result",
    across: "rows",
    down: "µs of CPU a row",
    curves: [await curve("app"), await curve("masked"), await curve("guarded")],
  };
}

async function read(uri: string, rows: number): Promise<void> {
  const { path, environment } = await findProgram("psql");
  const sql = `SELECT id, name, email, phone, country, created_at FROM people LIMIT ${rows}`;
  const child = spawn(
    path,
    ["--no-psqlrc", "-qAt", "-o", "/dev/null", "-v", "FETCH_COUNT=5000", "-c", sql, uri],
    {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error("psql failed");
}

async function bySessions(world: World): Promise<Panel> {
  const counts = [1, 4, 16, 64, 256];
  const curve = async (user: string): Promise<Curve> => {
    const proxy = await startSluice({ port: world.postgres.port, folder: world.folder }, options(world));
    const target = { name: user, uri: uriAt(proxy.port, user), pid: proxy.pid };
    const load = (clients: number, seconds: number) =>
      runPgbench(target, { mode: "prepared", clients, seconds, accounts: 1_000 });
    try {
      await load(8, 3);
      const points: (readonly [number, number])[] = [];
      for (const clients of counts) points.push([clients, (await load(clients, 3)).cpu * 1_000]);
      return { name: user, points };
    } finally {
      await proxy.stop();
    }
  };
  return {
    title: "Sessions at work",
    across: "sessions",
    down: "µs of CPU a query",
    curves: [await curve("app"), await curve("guarded")],
  };
}

function options(world: World) {
  return { main: MAIN, control: world.control, redis: world.redis.url };
}

function cacheOf(): VerdictCache {
  return new VerdictCache({
    onLookup: () => {},
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: (name) => {
      throw new Error(`left over: ${name}`);
    },
  });
}

/** Median microseconds of a call; each is given another number. */
function time(call: (n: number) => unknown): number {
  let n = 0;
  const batch = (calls: number) => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) call(n++);
    return ((performance.now() - start) * 1000) / calls;
  };
  batch(200);
  return median(Array.from({ length: 15 }, () => batch(40)));
}
