import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Helpdesk, openHelpdesk } from "./helpdesk.ts";

let helpdesk: Helpdesk;
beforeAll(async () => {
  helpdesk = await openHelpdesk("clients postgres js");
});
afterAll(() => helpdesk.close());

async function withSql<Result>(uri: string, act: (sql: postgres.Sql) => Promise<Result>): Promise<Result> {
  const sql = postgres(uri, { max: 1, onnotice: () => undefined });
  try {
    return await act(sql);
  } finally {
    await sql.end();
  }
}

const codeOf = (query: Promise<unknown>) =>
  query.then(
    () => "no error",
    (error: postgres.PostgresError) => error.code,
  );

describe("postgres.js as a role that sees everything gets the same bytes:", () => {
  const same = <Result>(act: (sql: postgres.Sql) => Promise<Result>) =>
    helpdesk.sameBothWays((uri) => withSql(uri, act));

  test("a pipeline of prepared statements, errors among them", async () => {
    const results = await same((sql) =>
      Promise.all([
        sql`SELECT id, name, birth_date FROM customers WHERE id = ${7}`,
        sql`SELECT id FROM tickets WHERE customer_id = ANY(${[7, 8, 9]}) ORDER BY id`,
        codeOf(sql`SELECT 1 / ${0}::int`),
        sql`SELECT ${sql.array(["a", "b"])} AS list, ${sql.json({ a: 1 })} AS object`,
        codeOf(sql`SELECT nothing FROM customers`),
        sql`SELECT id, name, birth_date FROM customers WHERE id = ${8}`,
        sql.unsafe("SELECT 1 AS one; SELECT 2 AS two"),
      ]),
    );
    expect(results[2]).toBe("22012");
    expect(results[5]).toMatchObject([{ name: "Hana Ash 8" }]);
  });

  test("cursors, transactions, savepoints", async () => {
    const seen = await same(async (sql) => {
      const sizes: number[] = [];
      await sql`SELECT * FROM tickets ORDER BY id`.cursor(700, (rows) => void sizes.push(rows.length));
      const failed = await codeOf(
        sql.begin(async (block) => {
          await block`UPDATE tickets SET status = 'closed' WHERE id = 7`;
          await block.savepoint((inner) => inner`SELECT 1 / 0`).catch(() => undefined);
          await block`INSERT INTO payments SELECT * FROM payments WHERE id = 7`;
        }),
      );
      return { sizes, failed };
    });
    expect(seen).toEqual({ sizes: [700, 700, 600], failed: "23505" });
  });

  test("streams of COPY, out and in", async () => {
    const copied = await same(async (sql) => {
      // More than its stream's buffer holds, and postgres.js 3.4.9 forgets to go on reading, also without Sluice.
      const copy = sql`COPY (SELECT * FROM payments ORDER BY id LIMIT 100) TO STDOUT`;
      const out = await text(await copy.readable());
      await sql
        .begin(async (block) => {
          const into =
            await block`COPY payments (id, customer_id, amount_cents, currency, paid_at) FROM STDIN`.writable();
          await pipeline(["900001\t7\t100\tEUR\t2024-02-01\n"], into);
          const [row] = await block`SELECT count(*)::int AS count FROM payments`;
          expect(row).toEqual({ count: 1501 });
          throw new Error("back");
        })
        .catch((error: Error) => expect(error.message).toBe("back"));
      return out;
    });
    expect(copied.trim().split("\n")).toHaveLength(100);
  });

  test("notifications", async () => {
    const heard = await same(async (sql) => {
      let hear: (payload: string) => void = () => undefined;
      const payload = new Promise<string>((resolve) => {
        hear = resolve;
      });
      await sql.listen("news", (said) => hear(said));
      await sql.notify("news", "it rains");
      return payload;
    });
    expect(heard).toBe("it rains");
  });
});

describe("postgres.js as an agent notices nothing but masks:", () => {
  const anna = <Result>(act: (sql: postgres.Sql) => Promise<Result>) => withSql(helpdesk.uriFor("anna"), act);

  test("a pipeline in which one statement is refused", async () => {
    const [found, refused, listed] = await anna((sql) =>
      Promise.all([
        sql`SELECT * FROM customers WHERE email = ${"alice.ng.7@example.com"}`,
        codeOf(sql`SELECT * FROM payments`),
        sql`SELECT id, email FROM customers WHERE id = ANY(${[7, 8]}) ORDER BY id`,
      ]),
    );
    expect(found).toMatchObject([{ id: "7", email: "a***@example.com" }]);
    expect(refused).toBe("42501");
    expect([...listed]).toEqual([
      { id: "7", email: "a***@example.com" },
      { id: "8", email: "h***@example.com" },
    ]);
    expect(listed.columns).toHaveLength(2);
  });

  test("a cursor gives all rows below the limit and stops at it", async () => {
    const few: postgres.Row[] = [];
    const many: postgres.Row[] = [];
    const code = await anna(async (sql) => {
      await sql`SELECT id FROM customers WHERE id <= 50`.cursor(20, (part) => void few.push(...part));
      return codeOf(sql`SELECT id FROM customers`.cursor(20, (part) => void many.push(...part)));
    });
    expect(few).toHaveLength(50);
    expect(many.length).toBeLessThanOrEqual(100);
    expect(code).toBe("54000");
  });

  test("a stream of COPY is masked", async () => {
    const copied = await anna(async (sql) =>
      text(await sql`COPY (SELECT id, email FROM customers WHERE id = 7) TO STDOUT`.readable()),
    );
    expect(copied).toBe("7\ta***@example.com\n");
  });

  test("a transaction that writes what the role may write", async () => {
    const rows = await anna((sql) =>
      sql.begin(async (block) => {
        await block`UPDATE tickets SET status = ${"pending"} WHERE id = ${11}`;
        return block`SELECT id, status, body FROM tickets WHERE id = ${11}`;
      }),
    );
    expect([...rows]).toEqual([{ id: "11", status: "pending", body: "[redacted]" }]);
  });
});
