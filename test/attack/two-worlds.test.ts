import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { createRoles, startDebianPostgres } from "../harness/postgres.ts";
import { type Attack, CATALOGS, FINDER, INFERENCE, LACKING, READS, ROWS, WRITES } from "./cases.ts";
import { COLUMNS, ERRORS, formsOf, MADE, PLACES, SESSIONS } from "./more-cases.ts";
import { protectedWorlds, received, unguarded, type Worlds } from "./worlds.ts";

/** What node-postgres alone can send: not COPY, of which it takes the rows for a fault. */
const isQuery = (attack: Attack): boolean => typeof attack !== "string" || !attack.startsWith("COPY");

/** Process numbers and times differ by themselves. What these relations hide, canaries.test.ts looks for. */
const isStill = (attack: Attack): boolean => !/pg_stat_activity|pg_prepared_statements/.test(String(attack));

describe.each(["npm's newest", "Debian's 15"] as const)("on %s server", (which) => {
  let worlds: Worlds;
  let debian: RunningPostgres | undefined;
  beforeAll(async () => {
    debian = which === "Debian's 15" ? await startDebianPostgres() : undefined;
    if (debian !== undefined) await createRoles(debian.uri);
    worlds = await protectedWorlds(debian?.uri);
  });
  afterAll(async () => {
    await worlds.close();
    await debian?.stop();
  });

  // The older server gets a sample: the proxy's part is the same.
  const step = which === "Debian's 15" ? 4 : 1;
  const all = (name: string, user: "cleo" | "anna", attacks: readonly Attack[]) =>
    describe(name, () => {
      const tried = attacks.filter(isStill).filter((_, index) => index % step === 0);
      test.each(tried.map((attack) => [attack]))("%s", async (attack) => {
        const statements = typeof attack === "string" ? [attack] : attack;
        const [first, second] = [
          await received(worlds.first, user, statements),
          await received(worlds.second, user, statements),
        ];
        expect(second).toEqual(first);
      });
    });

  all("a relation by another name tells nothing", "cleo", READS);
  all("whole rows tell nothing", "cleo", ROWS);
  all("what is inferred from protected values is inferred from masks", "cleo", INFERENCE);
  all("catalogs and functions that read tell nothing", "cleo", CATALOGS);
  all("writes tell nothing", "cleo", WRITES);
  all("what the reader lacks nearer by tells nothing", "cleo", LACKING);
  all("things made to be read through tell nothing", "cleo", MADE);
  all("another path, user or encoding tells nothing", "cleo", SESSIONS);
  all("places where the server keeps values tell nothing", "cleo", PLACES.filter(isQuery));
  all("errors tell nothing", "cleo", ERRORS);
  for (const [relation, column] of COLUMNS)
    all(`no form of ${relation}.${column} tells anything`, "cleo", formsOf(relation, column));
  all("a role that finds by exact value finds by nothing else", "anna", FINDER);

  test("most of these attacks tell much without masks: the comparison can fail", async () => {
    const attacks = [...READS, ...ROWS, ...INFERENCE, ...WRITES].map((attack) =>
      typeof attack === "string" ? [attack] : attack,
    );
    let telling = 0;
    for (const statements of attacks) {
      const first = await unguarded(worlds.first, statements);
      if (JSON.stringify(first) !== JSON.stringify(await unguarded(worlds.second, statements))) telling++;
    }
    expect(telling / attacks.length).toBeGreaterThan(0.75);
  });
});
