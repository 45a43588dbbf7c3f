import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { quoteIdentifier, quoteQualified } from "../../proxy/pg/quote.ts";
import { sightsOf } from "../../proxy/sql/sight.ts";
import { type Judged, openJudged } from "../sql/judged.ts";
import { selects, writes } from "./grammar.ts";
import { LACKING_SETUP, LOST, lackingIn } from "./lacking.ts";
import { nestedWrites } from "./nested-names.ts";

/*
 * PostgreSQL's own privileges are the judge: the rewritten text is run by a user who may not SELECT any protected column.
 * The masks here are NULLs, which read nothing. So wherever the server refuses for want of a privilege, the
 * rewritten text reads a protected value.
 */

/** More by hand: SLUICE_ATTACK_RUNS=50000 SLUICE_ATTACK_SEED=5. */
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2019);
const RUNS = Number(process.env.SLUICE_ATTACK_RUNS ?? 400);

const POLICY = `
version: 1
classes: { secret: { mask: "null" } }
tables:
  public.customers: { subject: id, columns: { name: secret, email: secret, phone: secret, address: secret } }
  public.tickets: { subject: customer_id, columns: { subject: secret, body: secret } }
  public.payments: { subject: customer_id, columns: { card_number: secret } }
  public.contact_log: { subject: customer_id, columns: { email: secret } }
roles:
  outsider:
    users: [cleo]
    reads: all
    writes: [public.customers, public.tickets, public.notes]
    sees: []
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: `CREATE TABLE public.notes (id bigint, body text, marks text[], counts int[]);
      GRANT SELECT ON public.notes TO cleo; ${LACKING_SETUP}`,
  });
  const sights = sightsOf(judged.scope("cleo"));
  for (const relation of judged.catalog.relations.values()) {
    if (relation.schema !== "public") continue;
    const sight = sights.of(relation);
    const seen = sight.ok ? sight.sight.columns.filter(({ kind }) => kind === "real") : [];
    const name = quoteQualified(relation.schema, relation.name);
    await judged.database.query(`REVOKE ALL ON ${name} FROM cleo, PUBLIC`);
    if (relation.kind === "table")
      await judged.database.query(`GRANT INSERT, UPDATE, DELETE ON ${name} TO cleo`);
    if (seen.length > 0)
      await judged.database.query(
        `GRANT SELECT (${seen.map(({ column }) => quoteIdentifier(column.name)).join(", ")}) ON ${name} TO cleo`,
      );
  }
  await judged.database.query(LOST);
  await judged.run("cleo", "SET statement_timeout = '2s'");
});
afterAll(() => judged.close());

type Outcome = "refused" | "ran" | "failed";

/** Runs the rewritten text in a transaction that is undone; fails where it reads what it must not. */
async function attempt(sql: string): Promise<Outcome> {
  const verdict = judged.judge("cleo", sql);
  if (verdict.kind === "refuse") return "refused";
  await judged.run("cleo", "BEGIN");
  try {
    await judged.run("cleo", sql);
    return "ran";
  } catch (error) {
    const sent = verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
    expect(error, `${sql}\n${sent}`).not.toMatchObject({ code: "42501" });
    return "failed";
  } finally {
    await judged.run("cleo", "ROLLBACK");
  }
}

test("the oracle sees what the masks hide", async () => {
  const read = (sql: string) => judged.run("cleo", sql).then(({ rows }) => rows);
  expect(await read("SELECT email, country FROM customers WHERE id = 7")).toEqual([
    [null, expect.any(String)],
  ]);
  await judged.database.query("SET ROLE cleo");
  await expect(judged.database.query("SELECT email FROM customers WHERE id = 7")).rejects.toMatchObject({
    code: "42501",
  });
  await judged.database.query("RESET ROLE");
});

test.each([...lackingIn("contacts"), ...lackingIn("places"), ...lackingIn("shops")])("%s", async (sql) => {
  await attempt(sql);
});

test.each([
  ["SELECT", selects, 0.2],
  ["write", writes, 0.02],
  ["name within a write", nestedWrites, 0.15],
] as const)(
  "no generated %s reads a protected value outside of its masks",
  { timeout: 3_600_000 },
  async (_, statements, share) => {
    let ran = 0;
    await fc.assert(
      fc.asyncProperty(statements, async (sql) => {
        if ((await attempt(sql)) === "ran") ran++;
      }),
      { seed: SEED, numRuns: RUNS },
    );
    expect(ran / RUNS).toBeGreaterThan(share);
  },
);
