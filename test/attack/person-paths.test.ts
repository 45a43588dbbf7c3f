import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged } from "../sql/judged.ts";

/*
 * Messages belong to their ticket's customer. Whoever puts a ticket of their own in the place of another one would read the
 * messages of all tickets as those of one customer.
 */

const POLICY = `
version: 1
classes: { text: { mask: redact } }
tables:
  public.tickets: { subject: customer_id, columns: { body: text } }
  public.ticket_messages: { subject: ticket_id -> public.tickets.customer_id, columns: { body: text } }
  public.orders: { subject: customer_id }
  public.customers: { subject: id, columns: { email: text } }
  public.visits: { subject: customer_code, columns: { body: text } }
  public.order_notes: { subject: order_id -> public.orders.customer_id, columns: { body: text } }
roles:
  lead: { users: [cleo], reads: all, writes: all, sees: [text], budget: { 1d: 600 } }
  plain: { users: [ben], reads: all, writes: all, sees: [text] }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: `
      CREATE TABLE public.orders (id bigserial PRIMARY KEY, customer_id bigint, total int);
      CREATE TABLE public.order_notes (id bigserial PRIMARY KEY, order_id bigint, body text);
      CREATE TABLE public.regions (code text PRIMARY KEY);
      CREATE TABLE public.accounts (
        id bigint PRIMARY KEY, code text UNIQUE, region text REFERENCES public.regions ON DELETE CASCADE
      );
      CREATE TABLE public.visits (
        id bigint PRIMARY KEY, body text,
        customer_code text REFERENCES public.accounts (code) ON UPDATE CASCADE ON DELETE SET NULL
      );
      CREATE VIEW public.ticket_list AS SELECT id AS number, customer_id, status FROM public.tickets;
      GRANT ALL ON ALL TABLES IN SCHEMA public TO ben, cleo;
    `,
  });
});
afterAll(() => judged?.close());

const refusal = (sql: string, user: "ben" | "cleo" = "cleo") => {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
};

const ROW =
  "(id, customer_id, subject, body, status, region, created_at) VALUES (8, 7, '', '', '', '', now())";
const MATCH = "MERGE INTO tickets t USING (VALUES (8), (-1)) v (i) ON t.id = v.i";

describe("the key by which rows find their person is not given to another row", () => {
  test.each([
    `${MATCH} WHEN MATCHED THEN UPDATE SET id = t.id + 1000 WHEN NOT MATCHED THEN INSERT ${ROW}`,
    `${MATCH} WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT ${ROW}`,
    `${MATCH} WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (8, 7, '', '', '', '', '', now())`,
    `INSERT INTO tickets ${ROW}, (8, 7, '', '', '', '', now()) ON CONFLICT (id) DO UPDATE SET id = tickets.id + 1000`,
    `WITH gone AS (DELETE FROM tickets WHERE id = 8) INSERT INTO tickets ${ROW}`,
    "UPDATE tickets SET id = 9 WHERE id = 8",
    "UPDATE ticket_list SET number = 9 WHERE number = 8",
    // Nothing guarantees that the notes' order is there.
    "INSERT INTO orders (id, customer_id) VALUES (8, 7)",
    "INSERT INTO orders VALUES (8, 7)",
    "COPY orders FROM STDIN",
    "MERGE INTO orders o USING (VALUES (8)) v (i) ON false WHEN NOT MATCHED THEN INSERT (id) VALUES (v.i)",
  ])("%s", (sql) => {
    expect(refusal(sql)).toMatchObject({ sqlstate: "42501", rule: "roles.lead.budget" });
    expect(refusal(sql, "ben")).toBeUndefined();
  });

  test.each([
    ["UPDATE accounts SET code = 'b' WHERE code = 'a'", /may not change public.accounts.code/],
    ["DELETE FROM accounts WHERE id < 100", /would be nobody's/],
    ["DELETE FROM regions", /would be nobody's/],
    [
      "MERGE INTO accounts a USING (VALUES (8)) v (i) ON a.id = v.i WHEN MATCHED THEN DELETE",
      /would be nobody's/,
    ],
  ])("nor by what a foreign key writes: %s", (sql, message) => {
    expect(refusal(sql)?.message).toMatch(message);
    expect(refusal(sql, "ben")).toBeUndefined();
  });

  test.each([
    "INSERT INTO accounts (id, code) VALUES (8, 'a')",
    "UPDATE accounts SET region = 'eu' WHERE code = 'a'",
    "DELETE FROM visits WHERE id = 8",
    "DELETE FROM customers WHERE id = 8",
    `INSERT INTO tickets ${ROW}`,
    `INSERT INTO tickets ${ROW} ON CONFLICT (id) DO UPDATE SET id = excluded.id, status = excluded.status`,
    "UPDATE tickets SET id = 8, status = 'open' WHERE id = 8",
    "DELETE FROM tickets WHERE id = 8",
    `${MATCH} WHEN MATCHED THEN UPDATE SET status = '' WHEN NOT MATCHED THEN INSERT ${ROW}`,
    "UPDATE ticket_messages SET id = 9 WHERE id = 8",
    "INSERT INTO orders (customer_id, total) VALUES (7, 1)",
    "INSERT INTO orders VALUES (DEFAULT, 7, 1)",
    "COPY orders (customer_id, total) FROM STDIN",
    "DELETE FROM orders WHERE id = 8",
  ])("honest: %s", (sql) => {
    expect(refusal(sql)).toBeUndefined();
  });
});
