import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

/** Agents may not change whose ticket it is, nor to whom it is assigned: what they see of it depends on that. */
const POLICY = `
version: 1
classes: { email: { mask: email }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id, columns: { body: text } }
roles:
  agent:
    users: [anna]
    reads: all
    writes: [public.tickets]
    sees: [{ text: { when: "assignee = :user" } }]
    rows: 100
    budget: { 1d: { people: 50, changes: 40 } }
    changes: 10
`;

let database: TestDatabase;
let sluice: TestSluice;
let anna: pg.Client;
beforeAll(async () => {
  database = await freshDatabase("saves");
  await supportSchema(database.uri);
  await database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO anna");
  sluice = await startSluice({ policy: POLICY, upstream: database.uri });
  anna = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  await anna.connect();
});
afterAll(async () => {
  await anna?.end();
  await sluice?.close();
  await database?.drop();
});
beforeEach(() =>
  database.query("UPDATE tickets SET customer_id = 7, assignee = NULL, status = 'open' WHERE id = 56"),
);

async function ticket(): Promise<unknown> {
  const { rows } = await database.query("SELECT customer_id, assignee, status FROM tickets WHERE id = 56");
  return rows[0];
}

const UNCHANGED = { customer_id: "7", assignee: null, status: "open" };

describe("an object mapper that saves all columns", () => {
  test.each([
    ["UPDATE tickets SET customer_id = 7, assignee = NULL, status = 'closed' WHERE id = 56", []],
    [
      "UPDATE tickets SET customer_id = $1, assignee = $2, status = $3 WHERE id = $4",
      [7, null, "closed", 56],
    ],
    ["UPDATE public.tickets AS t SET customer_id = '7'::bigint, status = 'closed' WHERE t.id = 56", []],
    [
      `INSERT INTO tickets (id, customer_id, assignee, status, subject, body, region, created_at) VALUES (56, 7, NULL, 'closed', 'x', 'y', 'eu', now())
       ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, assignee = excluded.assignee, status = EXCLUDED."status"`,
      [],
    ],
    [
      `INSERT INTO tickets AS t (id, customer_id, status, subject, body, region, created_at) VALUES ($1, $2, $3, 'x', 'y', 'eu', now())
       ON CONFLICT (id) DO UPDATE SET (customer_id, status) = ROW (excluded.customer_id, excluded.status)`,
      undefined,
    ],
  ] as const)("changes what may be changed: %s", async (sql, values) => {
    if (values === undefined) {
      await expect(anna.query(sql, [56, 7, "closed"])).rejects.toMatchObject({ code: "42501" });
      return;
    }
    const { rowCount } = await anna.query(sql, [...values]);
    expect(rowCount).toBe(1);
    expect(await ticket()).toEqual({ ...UNCHANGED, status: "closed" });
  });

  test.each([
    ["UPDATE tickets SET customer_id = 8, status = 'closed' WHERE id = 56", [], "budget"],
    ["UPDATE tickets SET customer_id = $1, status = 'closed' WHERE id = 56", [null], "budget"],
    ["UPDATE tickets SET assignee = $1, status = 'closed' WHERE id = 56", ["anna"], "sees"],
    ["UPDATE tickets SET customer_id = 7, status = 'closed' WHERE id IN (56, 57)", [], "budget"],
    [
      `INSERT INTO tickets (id, customer_id, status, subject, body, region, created_at) VALUES (56, 8, 'closed', 'x', 'y', 'eu', now())
       ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, status = 'closed'`,
      [],
      "budget",
    ],
  ] as const)("and what may not is refused, and nothing of it done: %s", async (sql, values, key) => {
    await expect(anna.query(sql, [...values])).rejects.toMatchObject({
      code: "42501",
      message: expect.stringContaining("may not change public.tickets."),
      hint: expect.stringContaining("Leave the column out"),
      constraint: `roles.agent.${key}`,
    });
    expect(await ticket()).toEqual(UNCHANGED);
    expect((await anna.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test.each([
    "UPDATE tickets SET customer_id = 7 WHERE id = 56",
    "UPDATE tickets SET assignee = 'anna' WHERE id = 56",
    "UPDATE tickets SET customer_id = id WHERE id = 56",
    "UPDATE tickets SET customer_id = (SELECT 7) WHERE id = 56",
    "UPDATE tickets SET customer_id = customer_id + 0 WHERE id = 56",
    "UPDATE tickets SET assignee = lower(status) WHERE id = 56",
  ])(
    "what is no value of the client's, or is all that is assigned, is refused before it runs: %s",
    async (sql) => {
      await expect(anna.query(sql)).rejects.toMatchObject({ code: "42501" });
    },
  );
});
