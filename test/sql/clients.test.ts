import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { psql, serverUri, startDebianPostgres } from "../harness/postgres.ts";
import { type CorpusStatement, groupOf, imagine, imaginePolicy, isOwnTest, readCorpus } from "./corpus.ts";
import { type Agent, openAgent } from "./same.ts";

/** psql's describe commands (psql's manual, "Meta-Commands"), on existing objects. */
const DESCRIBE = String.raw`
  \d \d+ \d|customers \d+|customers \d+|tickets \d+|plain \d+|customers_pkey \d+|contact_log \d+|contact_log_2023
  \d+|vip_customers \d+|customer_countries \d+|countries \d+|numbers \d+|pg_catalog.pg_class
  \dt \dt+ \dt|public.* \dv \dv+ \dm+ \df \df+ \df|add* \da \dw \du \du+ \dg \dn \dn+ \l \l+ \dp \z|customers \ddp
  \di \di+ \ds \ds+ \dT \dT+ \dD \dD+ \dx \dx+ \dx+|plpgsql \des \des+ \det+ \dew+ \dE \dc+ \dC+ \dO+ \do|||
  \dA+ \dAc|btree \dAf|btree \dAo|btree \dAp|btree \db \dd \dF+ \dFd+ \dFp+ \dFt+ \dL+ \dP+ \drds
  \dRp+ \dX \dy \dconfig \dconfig+|work* \sf|add_one \sf+|add_one \sv|customer_countries \sv+|customer_countries
`
  .trim()
  .split(/\s+/)
  .map((command) => command.replace("|", " "));

describe("psql's describe commands show an agent what they show without Sluice", () => {
  describe.each(["the npm package's newest", "Debian's 15"] as const)("on %s server", (which) => {
    let agent: Agent;
    let debian: RunningPostgres | undefined;
    beforeAll(async () => {
      debian = which === "Debian's 15" ? await startDebianPostgres() : undefined;
      agent = await openAgent(debian?.uri ?? serverUri());
    });
    afterAll(async () => {
      await agent.close();
      await debian?.stop();
    });

    test("every statement that psql sends is accepted, and gives the same bytes", async () => {
      const { stdout } = await psql(["-E", "-q"], {
        uri: agent.database.uri,
        input: [...DESCRIBE, String.raw`SELECT 1 AS a, now() AS b \gdesc`].join("\n"),
      });
      const statements = new Set(echoed(stdout));
      expect(statements.size).toBeGreaterThan(100);
      for (const sql of statements) {
        const verdict = agent.judge(sql);
        expect(verdict.kind === "refuse" ? `${verdict.refusal.message}: ${sql}` : "accepted").toBe(
          "accepted",
        );
        expect(await agent.guarded(sql)).toEqual(await agent.direct(sql));
      }
    });

    test("tab completion works as without Sluice", async () => {
      // Recorded from psql 15.18: it sends them only on a terminal.
      const file = await readFile(new URL("psql-completion.jsonl", import.meta.url), "utf8");
      for (const line of file.trim().split("\n")) {
        const sql = JSON.parse(line) as string;
        const verdict = agent.judge(sql);
        expect(verdict.kind === "refuse" && verdict.refusal.message, sql).toBe(false);
        expect(await agent.guarded(sql)).toEqual(await agent.direct(sql));
      }
    });
  });
});

const clients = await readCorpus("clients");
const regress = await readCorpus("regress");

describe("statements of the corpus", () => {
  let agent: Agent;
  beforeAll(async () => {
    agent = await openAgent(serverUri());
  });
  afterAll(() => agent.close());

  test.each([
    "SET CONSTRAINTS customers_fk, other_fk DEFERRED",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET LOCAL synchronous_commit = off",
    "SET enable_memoize = off; RESET enable_memoize",
    "SELECT regrole('anna'), tsquery('a & b'), pg_catalog.int8range('[1,2)')",
    "SELECT name, current_setting(name) FROM pg_settings",
    "SELECT slot_name FROM pg_replication_slots",
    "SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s WHERE s.name = 'jit'",
    "SELECT spcname, pg_catalog.pg_size_pretty(pg_catalog.pg_tablespace_size(oid)) FROM pg_catalog.pg_tablespace",
    "SELECT pg_stat_get_numscans((SELECT max(i.indexrelid) FROM pg_index i))",
    "SELECT foreign_server_name FROM information_schema.foreign_servers",
    "SELECT pg_is_in_recovery(), pg_relation_filepath('plain')",
  ])("accepted: %s", (sql) => {
    expect(agent.judge(sql).kind).not.toBe("refuse");
  });

  test.each([
    "SELECT current_setting(s.name) FROM (SELECT 'app.secret' AS name) s",
    "SELECT current_setting(s.name) FROM pg_settings s(setting, name)",
    "SELECT current_setting(name) FROM pg_settings, (SELECT 'app.secret' AS name) other",
    "SELECT set_config(s.name, 'x', false) FROM pg_settings s",
    "SELECT set_config(s.name, 'x', false) FROM pg_settings s WHERE s.name = 'app.secret'",
    "SELECT set_config(s.name, 'x', false) FROM pg_settings s WHERE s.name = 'role'",
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s WHERE s.name > 'jit'",
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s WHERE s.name = 'jit' OR s.name = 'role'",
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s, pg_settings o WHERE o.name = 'jit'",
    "SELECT set_config(s.name, 'off', false) FROM pg_settings s(setting, name) WHERE s.name = 'jit'",
    "SELECT (SELECT set_config(s.name, 'off', false) FROM pg_class WHERE name = 'jit') FROM pg_settings s",
    "SELECT setval('numbers', 7)",
    "SELECT pg_current_wal_lsn()",
    "SELECT pg_tablespace_size(spcname) FROM (SELECT 'pg_default'::name AS spcname) s, pg_current_snapshot()",
    "SELECT (oid).pg_stat_get_numscans FROM pg_class",
    "SELECT positive('1')",
    "SELECT plain(ROW(1, 'a'))",
    "SET CONSTRAINTS public.customers DEFERRED",
  ])("still refused: %s", (sql) => {
    expect(agent.judge(sql).kind).toBe("refuse");
  });

  test("a role that may write everything sets sequences, to constants only", () => {
    const scope = { ...agent.scope, role: { ...agent.scope.role, writes: "all" as const } };
    const kind = (sql: string) => analyse(sql, scope).kind;
    expect(kind("SELECT pg_catalog.setval('public.numbers', 7, false)")).not.toBe("refuse");
    expect(kind("SELECT setval('numbers', id) FROM customers")).toBe("refuse");
    expect(kind("SELECT setval('numbers', (SELECT id FROM customers LIMIT 1))")).toBe("refuse");
  });

  test.skipIf(clients === undefined)(
    "an agent with masks and a row limit may run all of the clients' own SELECTs",
    () => {
      // Some of them write: a restore sets sequences.
      const scope = { ...agent.scope, role: { ...agent.scope.role, writes: "all" as const } };
      const selects = (clients ?? []).filter(
        ({ source, sql }) => !isOwnTest(source) && groupOf(sql) === "select",
      );
      const refused = selects.filter(({ sql }) => {
        const catalog = imagine(scope.catalog, sql);
        const policy = imaginePolicy(scope.policy, catalog);
        return analyse(sql, { ...scope, catalog, policy }).kind === "refuse";
      });
      expect(selects.length).toBeGreaterThan(350);
      expect(refused.map(({ source, sql }) => `${source}: ${sql}`)).toEqual([]);
    },
  );

  test.skipIf(clients === undefined)(
    "no statement of a real client is refused for its syntax, functions or types",
    async () => {
      const { scope } = agent;
      const unforeseen: string[] = [];
      for (const { sql } of clients ?? []) {
        if (!["select", "write"].includes(groupOf(sql))) continue;
        const catalog = imagine(scope.catalog, sql);
        const verdict = analyse(sql, { ...scope, catalog, role: { ...scope.role, writes: "all" } }, () =>
          unforeseen.push(`left over: ${sql}`),
        );
        if (verdict.kind === "refuse" && !isForeseen(verdict.refusal.message))
          unforeseen.push(`${verdict.refusal.message}: ${sql}`);
      }
      expect(unforeseen).toEqual([]);
    },
  );

  test.skipIf(clients === undefined)(
    "clients' SELECTs away from people give what they give directly",
    async () => {
      const { compared, rows } = await compareAll(agent, clients ?? []);
      expect(compared).toBeGreaterThan(150);
      expect(rows).toBeGreaterThan(100);
    },
  );

  test.skipIf(regress === undefined)(
    "a sample of Postgres's own SELECTs gives what it gives directly, errors and their positions included",
    async () => {
      const sample = (regress ?? []).filter((_, index) => index % 12 === 0);
      const { compared, rows, positions } = await compareAll(agent, sample);
      expect(compared).toBeGreaterThan(400);
      expect(rows).toBeGreaterThan(300);
      expect(positions).toBeGreaterThan(10);
    },
    120_000,
  );
});

/** Reasons that docs/refused.md gives: they concern what a statement would do, not how it is written. */
const FORESEEN = [
  /masked|in part|may not gather|may not copy rows|would tell which masked values|may not choose the rows/,
  /may not call (pg_cancel_backend|pg_terminate_backend)$/,
  /^(current_setting|set_config) needs the name of one of Postgres's own settings/,
  /may not write pg_catalog/,
];

function isForeseen(message: string): boolean {
  return FORESEEN.some((pattern) => pattern.test(message));
}

interface Compared {
  readonly compared: number;
  /** How many of them returned rows; the others failed in the same way. */
  readonly rows: number;
  /** How many of the errors had a position. */
  readonly positions: number;
}

/** Runs SELECTs that touch no guarded relation directly, directly again, and through the analyser. */
async function compareAll(agent: Agent, statements: readonly CorpusStatement[]): Promise<Compared> {
  let [compared, rows, positions] = [0, 0, 0];
  for (const { sql } of statements) {
    const verdict = agent.judge(sql);
    if (groupOf(sql) !== "select" || verdict.kind === "refuse") continue;
    if (verdict.statements.some((each) => each.metering !== undefined || each.masked.length > 0)) continue;
    // Sleeps of minutes that are meant to be cancelled, and the end of the session: they return nothing to compare.
    if (sql.includes("pg_sleep") || sql.includes("pg_terminate_backend")) continue;
    // NULL for a role with a limit.
    if (/pg_tablespace_size|pg_stat_get_numscans/.test(sql)) continue;
    const direct = await agent.direct(sql);
    // Results that differ between any two runs (now(), sizes) show nothing.
    if (!isDeepStrictEqual(direct, await agent.direct(sql))) continue;
    expect(await agent.guarded(sql), sql).toEqual(direct);
    compared++;
    if ("rows" in direct) rows++;
    else if (direct.position !== undefined) positions++;
  }
  return { compared, rows, positions };
}

/** What psql shows with -E: each statement between two lines of stars. */
function echoed(output: string): readonly string[] {
  return [...output.matchAll(/^\/?\*+ QUERY \*+\/?\n(.*?)\n\/?\*{20,}\/?$/gms)].flatMap(
    ([, sql]) => sql ?? [],
  );
}
