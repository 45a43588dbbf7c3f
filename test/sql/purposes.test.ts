import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PASSWORDS } from "../harness/postgres.ts";
import { type Judged, openJudged } from "./judged.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
  public.ticket_messages: { subject: ticket_id -> public.tickets.customer_id }
roles:
  agent:
    users: [anna, ben]
    reads: all
    budget: { 1d: 300 }
    purpose:
      public.customers: "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user and t.status in ('open', 'waiting'))"
`;

let judged: Judged;
let anna: pg.Client;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: `UPDATE tickets SET assignee = CASE WHEN customer_id % 2 = 0 THEN 'anna' ELSE 'ben' END, status = 'open'`,
  });
  anna = new pg.Client({ connectionString: judged.database.uriFor("anna", PASSWORDS.anna) });
  await anna.connect();
});
afterAll(async () => {
  await anna.end();
  await judged.close();
});

function sent(sql: string, user: "anna" | "ben" = "anna"): string {
  const verdict = judged.judge(user, sql);
  if (verdict.kind !== "rewrite") throw new Error(`it ${verdict.kind}es`);
  return verdict.sql.toString();
}

async function purposes(sql: string, user: "anna" | "ben" = "anna") {
  const query = { text: sent(sql, user), rowMode: "array" } as pg.QueryArrayConfig;
  const { rows } = await anna.query<string[]>(query);
  return rows.map((row) => row.at(-1));
}

const CUSTOMERS = "FROM customers WHERE id IN (SELECT customer_id FROM tickets) ORDER BY id LIMIT 6";

test.each([
  [
    "a person",
    `SELECT id, email ${CUSTOMERS}`,
    "SELECT id AS person FROM (SELECT id FROM customers WHERE id IN (SELECT customer_id FROM tickets) ORDER BY id LIMIT 6) c",
  ],
  [
    "a row of their own",
    "SELECT subject FROM tickets ORDER BY id LIMIT 6",
    "SELECT customer_id AS person FROM tickets ORDER BY id LIMIT 6",
  ],
  [
    "a row at the end of a path",
    "SELECT body FROM ticket_messages ORDER BY id LIMIT 6",
    "SELECT t.customer_id AS person FROM ticket_messages m JOIN tickets t ON t.id = m.ticket_id ORDER BY m.id LIMIT 6",
  ],
])("%s is tied to the work of the agent who has their ticket, and of no other", async (_, sql, truth) => {
  const { rows } = await anna.query<{ person: number }>(truth);
  const odd = rows.map(({ person }) => Number(person) % 2 === 1);
  expect(new Set(odd).size).toBe(2);
  expect(await purposes(sql)).toEqual(odd.map((isOdd) => (isOdd ? "f" : "t")));
  expect(await purposes(sql, "ben")).toEqual(odd.map((isOdd) => (isOdd ? "t" : "f")));
});

test.each(["t", "customers", "tickets", '"sluice reader"', '"sluice person"'])(
  "the names of the condition meet none of the client's: an alias %s",
  async (alias) => {
    const { rows } = await anna.query<{ id: string }>(`SELECT id ${CUSTOMERS}`);
    const truth = rows.map(({ id }) => (Number(id) % 2 === 0 ? "t" : "f"));
    const sql = `SELECT ${alias}.id FROM customers AS ${alias} WHERE id IN (SELECT customer_id FROM public.tickets) ORDER BY id LIMIT 6`;
    expect(await purposes(sql)).toEqual(truth);
  },
);

test("the client's columns stay as they were, and the statement's index serves", async () => {
  const plain = await judged.run(
    "anna",
    "SELECT * FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = 7",
  );
  expect(plain.fields.map(({ name }) => name).filter((name) => name.startsWith("sluice"))).toEqual([]);
  await anna.query("SET enable_seqscan = off");
  const { rows } = await anna.query<{ "QUERY PLAN": string }>(
    `EXPLAIN ${sent("SELECT name FROM customers WHERE id = 7")}`,
  );
  const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
  expect(plan).toMatch(/tickets_customer_id/);
  expect(plan).not.toMatch(/Seq Scan on (customers|tickets)\b/);
  await anna.query("RESET enable_seqscan");
});

test("a user who may not read the condition's columns gets their rows without the condition", async () => {
  const unreadable = new Set(["public.tickets.assignee"]);
  const scope = { ...judged.scope("anna"), unreadable };
  const { analyse } = await import("../../proxy/sql/analyse.ts");
  const verdict = analyse("SELECT name FROM customers WHERE id = 7", scope);
  const { metering } = verdict.statements[0] ?? {};
  expect(metering).toMatchObject({ subjects: [{ namespace: "public.customers.id" }], unknown: 0 });
  expect(metering).not.toHaveProperty("purpose");
});
