import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeWorld, type World } from "../session/world.ts";

/*
 * Whoever sees some rows of a table does not learn whether there are others. The filter is dearer than the client's own
 * conditions, so the planner runs those first, and plans are generic: values are worked out while the statement runs.
 */

const POLICY = `
version: 1
classes: { email: { mask: email }, phone: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email, phone: phone } }
  public.tickets: { subject: customer_id }
roles:
  agent:
    users: [anna]
    reads: all
    writes: [public.tickets]
    sees: []
    finds: [email, phone]
    only:
      public.customers: "id IN (SELECT customer_id FROM public.shown)"
      public.tickets: "customer_id IN (SELECT s.customer_id FROM public.shown s)"
`;

const SETUP = `
  CREATE TABLE public.shown (customer_id bigint PRIMARY KEY);
  INSERT INTO public.shown SELECT n FROM generate_series(2, 1000, 2) n;
  ANALYZE public.shown;
  GRANT SELECT ON public.shown TO anna;
  GRANT DELETE ON public.tickets TO anna;`;

let world: World;
let client: pg.Client;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(SETUP);
  client = await world.sluice.connect("anna");
  await client.query("SET plan_cache_mode = force_generic_plan");
});
afterAll(async () => {
  await client?.end();
  await world?.close();
});

/** What is said to a statement that is undone. */
async function answer(text: string, values: readonly unknown[]): Promise<string> {
  await client.query("BEGIN");
  const said = await client.query(text, [...values]).then(
    ({ rowCount }) => `${rowCount} rows`,
    ({ code }: pg.DatabaseError) => `${code}`,
  );
  await client.query("ROLLBACK");
  return said;
}

const HIDDEN_EMAIL = "alice.ng.7@example.com";

describe("a value that cannot be worked out fails whether or not a hidden row comes to it", () => {
  test.each([
    ["email = $1 AND phone = regexp_replace('x', $2, '')", "("],
    ["(email = $1 AND phone = regexp_replace('x', $2, '')) OR id = -1", "("],
    ["lower(email) = lower($1) AND phone = replace($2 || 'a', repeat('a', 9), $2)", "x"],
    ["email = $1 AND id = $2::text::int8", "zz"],
    ["email = $1 AND created_at = $2::text::timestamptz", "zz"],
    ["email = $1 AND created_at BETWEEN '2020-01-01' AND $2::text::timestamptz", "zz"],
    ["email = $1 AND id IN (1, $2::text::int8)", "zz"],
    ["email = $1 AND id = ANY (ARRAY[$2::text::int8])", "zz"],
    ["email = $1 AND phone ILIKE $2::text::int8::text", "zz"],
  ])("SELECT … WHERE %s", async (condition, value) => {
    const text = `SELECT id FROM customers WHERE ${condition}`;
    const there = await answer(text, [HIDDEN_EMAIL, value]);
    expect(await answer(text, ["nobody@example.com", value])).toBe(there);
  });

  test.each([
    "SELECT id FROM tickets WHERE id = $1 AND customer_id = $2::text::int8",
    "UPDATE tickets SET status = 'x' WHERE id = $1 AND customer_id = $2::text::int8",
    "UPDATE tickets SET status = 'x' WHERE id = $1 AND created_at BETWEEN '2020-01-01' AND $2::text::timestamptz",
    "UPDATE tickets SET status = 'x' WHERE id = $1 AND customer_id IN (1, $2::text::int8)",
    "DELETE FROM tickets WHERE id = $1 AND customer_id = $2::text::int8",
  ])("%s", async (text) => {
    // Ticket 2 is of customer 3, and there is no ticket 99999.
    const there = await answer(text, [2, "zz"]);
    expect(await answer(text, [99_999, "zz"])).toBe(there);
    expect(await answer(text.replace("$2::text::", "7::"), [2])).toMatch(/^0 rows|^42/);
  });
});

test("who may see the row finds and changes it by such values", async () => {
  const found = "SELECT id FROM customers WHERE email = $1 AND id = $2::text::int8";
  const { rows } = await world.database.query("SELECT email FROM public.customers WHERE id = 8");
  expect(await answer(found, [rows[0]?.email, "8"])).toBe("1 rows");
  const changed = "UPDATE tickets SET status = 'x' WHERE id = $1 AND customer_id = $2::text::int8";
  expect(await answer(changed, [7, "8"])).toBe("1 rows");
});
