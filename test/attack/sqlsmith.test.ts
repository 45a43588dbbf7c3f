import { spawn } from "node:child_process";
import { once } from "node:events";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY_SETUP } from "./canary.ts";
import { hideRefused, sqlsmith } from "./sqlsmith.ts";
import { openTap } from "./tap.ts";
import { ATTACK_POLICY } from "./worlds.ts";

/** sqlsmith makes statements from what it finds in the catalog. Longer by hand: SLUICE_SQLSMITH_SECONDS=1800. */
const SECONDS = Number(process.env.SLUICE_SQLSMITH_SECONDS ?? 12);
const SEED = process.env.SLUICE_SQLSMITH_SEED ?? "2019";

let world: World;
let catalog: Catalog;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: ATTACK_POLICY });
  const { database } = world;
  await database.query(CANARY_SETUP);
  await database.query("ALTER ROLE cleo SET statement_timeout = '500ms'");
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  try {
    await hideRefused(client);
    catalog = await readCatalog(client);
  } finally {
    await client.end();
  }
});
afterAll(() => world?.close());

test.skipIf(sqlsmith === undefined)(
  "sqlsmith finds no protected value, no crash and no verdict that changes",
  { timeout: SECONDS * 1000 + 60_000 },
  async () => {
    const tap = await openTap(world.sluice.port);
    await smith(tap.port);
    await tap.close();

    expect(tap.shown).toEqual([]);
    // It reads the catalog first, and gives up where it cannot.
    expect(tap.statements.length).toBeGreaterThan(100);
    const events = world.sluice.statements();
    const answered = events.filter(({ rows }) => rows > 0).length;
    expect(answered).toBeGreaterThan(20);
    expect(unstable(tap.statements)).toEqual([]);

    // The proxy and the database are alive, and the masks are in place.
    const cleo = await world.sluice.connect("cleo");
    const { rows } = await cleo.query("SELECT email FROM customers WHERE id = 7");
    expect(rows).toEqual([{ email: "hidden" }]);
    await cleo.end();
    console.log(
      `sqlsmith: ${tap.statements.length} statements, ${answered} with rows, ${tap.received} bytes searched`,
    );
  },
);

/** Runs sqlsmith for its time, again with the next seed when a lost connection ends it. */
async function smith(port: number): Promise<void> {
  if (sqlsmith === undefined) throw new Error("no sqlsmith");
  const target = `host=127.0.0.1 port=${port} user=cleo dbname=${world.database.database} sslmode=disable`;
  const end = Date.now() + SECONDS * 1000;
  for (let seed = Number(SEED); Date.now() < end; seed++) {
    const child = spawn(sqlsmith.path, [`--target=${target}`, "--exclude-catalog", `--seed=${seed}`], {
      env: { ...process.env, ...sqlsmith.environment },
      stdio: "ignore",
      timeout: end - Date.now(),
    });
    const begun = Date.now();
    await once(child, "close");
    if (Date.now() - begun < 500) throw new Error("sqlsmith could not begin");
  }
}

/** How many statements are judged again; the proxy has judged all of them. */
const LOOKED_AT = 1000 * Math.max(1, SECONDS / 60);

/** Statements that are judged otherwise a second time, or that the analysis cannot bear. */
function unstable(statements: readonly string[]): readonly string[] {
  const scope = cleosScope();
  const faults: string[] = [];
  const distinct = [...new Set(statements)];
  const step = Math.ceil(distinct.length / LOOKED_AT);
  for (const sql of distinct.filter((_, index) => index % step === 0)) {
    const first = analyse(sql, scope, (left) => faults.push(`left over ${left}: ${sql}`));
    const second = analyse(sql, { ...scope });
    if (JSON.stringify(first) !== JSON.stringify(second)) faults.push(sql);
    if (first.kind === "refuse" && /could not be analysed|did not verify/.test(first.refusal.message))
      faults.push(`${first.refusal.message}: ${sql}`);
  }
  return faults;
}

function cleosScope(): Scope {
  const compiled = compilePolicies([{ name: "test.yaml", text: ATTACK_POLICY }]);
  if (!compiled.ok) throw new Error("a bad policy");
  const policy = compiled.policies.forDatabase(world.database.database);
  const role = roleFor(policy, "cleo", "127.0.0.1");
  if (isRefusal(role)) throw new Error(role.message);
  return {
    ...{ policy, role, user: "cleo", catalog, searchPath: ["public"] },
    ...{ unreadable: new Set<string>(), maskKey: undefined },
  };
}
