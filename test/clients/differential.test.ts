import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, POLICY, type World } from "../session/world.ts";
import { groupOf, readCorpus } from "../sql/corpus.ts";
import { outcome } from "../sql/same.ts";

/**
 * A role that sees all, watched or not: what Postgres's own tests and real clients ask gives through a whole proxy what it gives
 * without one, errors and their places included. All of it by hand: SLUICE_DIFFERENTIAL=1 (some minutes).
 */
const STEP = process.env.SLUICE_DIFFERENTIAL === "1" ? 1 : 32;

const WATCHED = POLICY.replace(
  "sees: all, budget: none",
  "sees: all, watch: true, budget: { 1h: 100000000 }",
);

let world: World;
let watched: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm");
  watched = await startProxy(world.database, { policy: WATCHED });
});
afterAll(async () => {
  await watched?.close();
  await world?.close();
});

async function connect(uri: string): Promise<pg.Client> {
  // Values as the server wrote them.
  const types = { getTypeParser: () => (value: unknown) => value } as pg.CustomTypesConfig;
  const client = new pg.Client({ connectionString: uri, types });
  client.on("error", () => {});
  await client.connect();
  await client.query("SET statement_timeout = '5s'");
  return client;
}

const corpora = [...((await readCorpus("regress")) ?? []), ...((await readCorpus("clients")) ?? [])];

test.skipIf(corpora.length === 0).each([
  ["a role that sees all", () => world.sluice],
  ["a watched role", () => watched],
] as const)(
  "the corpora give %s through the proxy what they give without it",
  async (_, sluice) => {
    const sample = corpora.filter(
      ({ sql }, index) =>
        index % STEP === 0 &&
        ["select", "write", "utility"].includes(groupOf(sql)) &&
        // They end sessions, name them, sleep, copy, or keep locks or prepared statements; or begin and end the transaction in which each is tried.
        !/pg_sleep|advisory|pg_prepared_statements|\b(prepare|execute|deallocate)\b|pg_(terminate|cancel)_backend|pg_backend_pid|\bcopy\b|^\s*(begin|start|commit|end|abort|rollback|prepare\s+transaction|set\s+session\s+auth|reset|discard)/i.test(
          sql,
        ),
    );
    const direct = await connect(world.database.uriFor("helpdesk_app"));
    const through = await connect(sluice().uri("helpdesk_app"));
    const differing: string[] = [];
    let [compared, rows] = [0, 0];
    const same = (position: number) => position;
    for (const { sql } of sample) {
      const [first, second] = [await outcome(direct, sql, same), await outcome(direct, sql, same)];
      // What differs by itself (now(), process numbers) shows nothing.
      if (!isDeepStrictEqual(first, second)) continue;
      if (!isDeepStrictEqual(await outcome(through, sql, same), first)) differing.push(sql);
      compared++;
      if ("rows" in first) rows++;
    }
    expect(differing).toEqual([]);
    expect(compared).toBeGreaterThan(600);
    expect(rows).toBeGreaterThan(150);
    await direct.end();
    await through.end();
  },
  STEP === 1 ? 1_200_000 : 60_000,
);
