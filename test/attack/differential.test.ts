import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SupportUser } from "../harness/postgres.ts";
import { since } from "../harness/postgres-versions.ts";
import { type Judged, openJudged } from "../sql/judged.ts";
import { selects } from "./grammar.ts";
import { maskedViews } from "./masked-views.ts";
import { ATTACK_POLICY } from "./worlds.ts";

/** A rewritten statement means what the same statement means on views that mask the same columns. */

const RUNS = Number(process.env.SLUICE_ATTACK_RUNS ?? 250);
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2019);

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: ATTACK_POLICY.replace('constant: "hidden"', "first: 3").replace(
      "name:  { mask: redact }",
      "name:  { mask: initials }",
    ),
  });
  for (const user of ["cleo", "ben"] as const) {
    await maskedViews(judged, user, `as_${user}`);
    await judged.run(user, "SET statement_timeout = '250ms'");
  }
  await judged.database.query("SET statement_timeout = '250ms'");
});
afterAll(() => judged.close());

type Outcome =
  | { readonly rows: readonly string[]; readonly fields: readonly string[] }
  | { readonly code: string; readonly message: string };

function outcome(running: ReturnType<Judged["run"]>): Promise<Outcome> {
  return running.then(
    ({ rows, fields }) => ({
      rows: rows.map((row) => JSON.stringify(row)).sort(),
      fields: fields.map(
        ({ name, dataTypeID, dataTypeModifier }) =>
          // A row type is the view's own there, and a subquery's here.
          `${name} ${dataTypeID >= 16384 || dataTypeID === 2249 ? "row" : `${dataTypeID} ${dataTypeModifier}`}`,
      ),
    }),
    (error: { code?: string; message: string }) => ({
      code: error.code ?? String(error),
      message: error.message,
    }),
  );
}

async function onViews(user: SupportUser, sql: string): Promise<Outcome> {
  // Names with their schema are given the views' one.
  const there = sql.replaceAll(/\bpublic\./g, `as_${user}.`);
  await judged.database.query(`SET search_path = as_${user}, public`);
  return outcome(
    judged.database.query({ text: there, rowMode: "array" } as unknown as string) as unknown as ReturnType<
      Judged["run"]
    >,
  );
}

/** Undefined when the statement is refused, or takes too long on either side. */
async function compare(user: SupportUser, sql: string): Promise<"same" | undefined> {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse" || verdict.statements.some(({ lookups }) => lookups > 0)) return undefined;
  const [here, there] = await Promise.all([outcome(judged.run(user, sql)), onViews(user, sql)]);
  if ([here, there].some((each) => "code" in each && each.code === "57014")) return undefined;
  expect(here, `${sql}\n${verdict.kind === "rewrite" ? verdict.sql.toString() : ""}`).toEqual(there);
  return "code" in here ? undefined : "same";
}

test.each(["cleo", "ben"] as const)(
  "generated statements of %s mean the same as on masked views",
  { timeout: RUNS > 250 ? 3_600_000 : 60_000 },
  async (user) => {
    let same = 0;
    await fc.assert(
      fc.asyncProperty(selects, async (generated) => {
        // ONLY of a view is the whole view.
        const sql = generated.replaceAll(/ONLY \((\w+)\)|ONLY (?=\w)/g, "$1");
        if ((await compare(user, sql)) === "same") same++;
      }),
      { seed: SEED, numRuns: RUNS },
    );
    expect(same / RUNS).toBeGreaterThan(user === "cleo" ? 0.4 : 0.05);
  },
);

describe("forms that a subquery in place of a name could change", () => {
  test.each([
    "SELECT * FROM customers NATURAL JOIN vip_customers",
    "SELECT * FROM customers c JOIN customer_copy d USING (id, name) ORDER BY id LIMIT 3",
    "SELECT c.*, d FROM customers c LEFT JOIN (customer_copy d CROSS JOIN (SELECT 1) s) USING (id) WHERE c.id < 9",
    "SELECT x.* FROM customers AS x (a, b) WHERE a = 7",
    "SELECT name, count(*) FROM customers GROUP BY name HAVING count(*) > 1 ORDER BY 2 DESC, 1",
    ...(since(14) ? ["SELECT email name, name email FROM customers WHERE id < 9 ORDER BY email, name"] : []),
    "SELECT DISTINCT ON (country) country, name FROM customers ORDER BY country, name DESC",
    'SELECT name FROM customers WHERE id < 30 ORDER BY name COLLATE "C" DESC NULLS LAST OFFSET 2 FETCH NEXT 3 ROWS WITH TIES',
    "SELECT country, name, grouping(country, name), count(*) FROM customers GROUP BY CUBE (country, name)",
    "SELECT id, rank() OVER w, first_value(name) OVER (w ROWS 2 PRECEDING) FROM customers WHERE id < 40 WINDOW w AS (PARTITION BY country ORDER BY email, id)",
    "WITH customers AS (SELECT * FROM customers WHERE id < 9) SELECT * FROM customers c JOIN tickets t ON t.customer_id = c.id",
    "WITH RECURSIVE r AS (SELECT id, name FROM customers WHERE id = 7 UNION SELECT c.id, r.name FROM customers c JOIN r ON c.id = r.id + 1 WHERE c.id < 12) SELECT * FROM r",
    ...(since(14)
      ? [
          "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SEARCH DEPTH FIRST BY n SET s CYCLE n SET c USING p SELECT * FROM r, customers WHERE id = n",
        ]
      : []),
    "SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a'])) WITH ORDINALITY AS f(a, b, c) JOIN customers ON id = a",
    "SELECT public.customers.name, customers.id FROM public.customers WHERE public.customers.id < 5",
    "SELECT (SELECT name), (SELECT customers.name FROM (SELECT 1) tickets) FROM customers WHERE id < 5",
    "SELECT EXISTS (SELECT FROM tickets WHERE customer_id = c.id AND body = c.name) FROM customers c WHERE id < 5",
    "SELECT * FROM customers WHERE (name, email) IN (SELECT name, email FROM customer_copy WHERE id < 5) AND id < 50",
    "SELECT * FROM customers c WHERE c IN (SELECT d FROM customers d WHERE d.id < 3)",
    "SELECT count(c), count(c.*), count(*) FROM customers c",
    "SELECT row_to_json(c)->>'name', (c).email, name(c) FROM customers c WHERE id < 9",
    "SELECT to_jsonb(c) - 'created_at' FROM (SELECT * FROM customers) c WHERE id < 9",
    "TABLE customer_directory",
    "SELECT * FROM customers_per_country ORDER BY country",
    "VALUES ((SELECT max(name) FROM customers)), (NULL)",
    "SELECT FROM customers WHERE id < 4",
    "SELECT ALL name FROM ONLY customers WHERE id < 4 UNION ALL (SELECT name FROM vip_customers ORDER BY id LIMIT 1)",
    "SELECT c.country, t.status, count(DISTINCT c.name) FILTER (WHERE c.email LIKE 'a%') FROM customers c, tickets t WHERE t.customer_id = c.id GROUP BY 1, 2",
    "SELECT CASE name WHEN 'A. N. 7.' THEN 1 ELSE 2 END, name SIMILAR TO 'A%', name BETWEEN SYMMETRIC 'Z' AND 'A', name IS DISTINCT FROM email FROM customers WHERE id < 9",
    "SELECT extract(year FROM birth_date), substring(name FROM 1 FOR 2), overlay(name PLACING 'x' FROM 1), trim(BOTH 'A' FROM name), position('A' IN name), name::varchar(3), CAST(id AS text) FROM customers WHERE id < 9",
    "SELECT id, phone AT TIME ZONE 'UTC' FROM (SELECT id, created_at AS phone FROM customers) s WHERE id < 4",
    "SELECT t.id, c.name FROM tickets t FULL JOIN customers c ON c.id = t.customer_id AND c.name > 'F' WHERE t.id < 9 OR c.id < 9",
  ])("%s", async (sql) => {
    expect(await compare("cleo", sql.replace("ONLY customers", "customers"))).toBe("same");
  });
});
