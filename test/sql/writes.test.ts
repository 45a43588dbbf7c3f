import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo",
  });
});
afterAll(() => judged.close());

describe("a role that sees a column masked", () => {
  test.each([
    "UPDATE customers SET email = 'x' WHERE id = 7",
    "UPDATE customers SET country = email WHERE id = 7",
    "UPDATE customers SET country = customers.email WHERE id = 7",
    "UPDATE customers c SET country = (SELECT c.email) WHERE id = 7",
    "UPDATE customers SET country = (customers).email WHERE id = 7",
    "UPDATE customers SET country = customers::text WHERE id = 7",
    "UPDATE customers SET country = 'DE' WHERE email LIKE 'a%'",
    "UPDATE customers SET country = 'DE' WHERE id = 7 AND email > 'a'",
    "UPDATE customers SET country = 'DE' WHERE id = 7 RETURNING upper(email)",
    "UPDATE customers SET country = 'DE' WHERE id = 7 RETURNING row_to_json(customers)",
    "UPDATE customers SET country = 'DE' WHERE id = 7 RETURNING old.email",
    "UPDATE customers SET country = 'DE' WHERE id = 7 RETURNING old",
    "UPDATE customers SET country = 'DE' WHERE id = 7 RETURNING WITH (OLD AS o) o.email",
    "UPDATE customers SET (country, name) = (SELECT email, name FROM customers WHERE id = 8) WHERE id = 7",
    "UPDATE tickets SET status = c.email FROM customers c WHERE c.id = customer_id",
    "DELETE FROM customers WHERE email LIKE 'a%'",
    "INSERT INTO customers (id, name, email, country, created_at) SELECT id + 9000, name, email, country, created_at FROM customers",
    "INSERT INTO tickets (id, subject) SELECT id, phone FROM customers",
    "INSERT INTO tickets (id, subject) VALUES (1, (SELECT email FROM customers WHERE id = 7))",
    "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT DO NOTHING",
    "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (email) DO NOTHING",
    "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET country = customers.email",
    "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET email = excluded.email",
    "MERGE INTO customers c USING (VALUES (7)) v(i) ON c.id = v.i WHEN MATCHED THEN DELETE",
    "WITH x AS (UPDATE customers SET country = email RETURNING id) SELECT * FROM x",
    "UPDATE payments SET currency = 'EUR'",
    "INSERT INTO pg_class (relname) VALUES ('x')",
  ])("may not run %s", (sql) => {
    const verdict = judged.judge("anna", sql);
    expect(verdict.kind === "refuse" && verdict.refusal.sqlstate).toBe("42501");
  });

  test("finds the row to change by an exact lookup, and gets masks back", async () => {
    const sql = "UPDATE customers SET country = 'DE' WHERE email = 'alice.ng.7@example.com' RETURNING *";
    const { rows } = await judged.run("anna", sql);
    expect(rows).toHaveLength(1);
    expect(rows[0]?.slice(0, 4)).toEqual(["7", "Alice Ng 7", "a***@example.com", "**************07"]);
  });

  test("gets a masked column back under its own name and under another", async () => {
    const { rows, fields } = await judged.run(
      "anna",
      "UPDATE customers SET country = 'GB' WHERE id = 7 RETURNING id, customers.email, phone AS p",
    );
    expect(rows).toEqual([["7", "a***@example.com", "**************07"]]);
    expect(fields.map(({ name }) => name)).toEqual(["id", "email", "p"]);
  });

  test("may bring in new rows as they are", async () => {
    await judged.run(
      "anna",
      "INSERT INTO customers (id, name, email, country, created_at) VALUES (9001, 'New One', 'new.one@example.com', 'DE', now())",
    );
    const { rows } = await judged.database.query("SELECT email FROM customers WHERE id = 9001");
    expect(rows).toEqual([{ email: "new.one@example.com" }]);
  });
});

describe("a role with a row filter", () => {
  test("writes only the rows that it sees", async () => {
    await judged.run("ben", "UPDATE tickets SET status = 'seen'");
    const { rows } = await judged.database.query("SELECT DISTINCT region FROM tickets WHERE status = 'seen'");
    expect(rows).toEqual([{ region: "eu" }]);
    const hidden = await judged.run("ben", "UPDATE tickets SET status = 'seen' WHERE id = 5 RETURNING *");
    expect(hidden.rows).toEqual([]);
  });

  test.each([
    "UPDATE tickets SET status = 'x' WHERE 1 / (id - 5) > 0",
    "DELETE FROM tickets WHERE id = 5 OR id = 6",
  ])("may not use %s", (sql) => {
    const verdict = judged.judge("ben", sql);
    expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({
      sqlstate: "42501",
      rule: "roles.european.only",
    });
  });

  test.each([
    "INSERT INTO tickets (id, customer_id, subject, region) VALUES (5, 7, 'x', 'eu')",
    "INSERT INTO tickets VALUES (5, 7, 'x')",
    "INSERT INTO tickets (id, customer_id) VALUES (DEFAULT, 7), (5, 7)",
    "INSERT INTO tickets (id, customer_id) SELECT 5, 7",
    "INSERT INTO tickets (id, customer_id) VALUES (5, 7) ON CONFLICT (id) DO NOTHING",
    "UPDATE tickets SET id = 5 WHERE id = 6",
    "COPY tickets (id, customer_id) FROM STDIN",
    "COPY tickets FROM STDIN",
  ])("learns of no hidden row by its key: %s", (sql) => {
    const verdict = judged.judge("ben", sql);
    expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({
      sqlstate: "42501",
      rule: "roles.european.only",
      hint: "Leave id to its default, or make it a uuid.",
    });
  });

  test.each([
    "INSERT INTO tickets (customer_id, subject, region) VALUES (7, 'x', 'eu')",
    "INSERT INTO tickets (id, customer_id, region) VALUES (DEFAULT, 7, 'eu')",
    "INSERT INTO tickets VALUES (DEFAULT, 7)",
    "INSERT INTO tickets DEFAULT VALUES",
    "UPDATE tickets SET subject = 'x' WHERE id = 6",
    "COPY tickets (customer_id, subject) FROM STDIN",
  ])("brings in rows whose key the database makes: %s", (sql) => {
    expect(judged.judge("ben", sql).kind).not.toBe("refuse");
  });
});

test("a budgeted role may not copy people past the meter", () => {
  const verdict = judged.judge(
    "cleo",
    "INSERT INTO customers (id, name, email, country, created_at) SELECT id + 10000, name, email, country, created_at FROM customers",
  );
  expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({ sqlstate: "42501" });
});
