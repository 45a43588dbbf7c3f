import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import copy from "pg-copy-streams";
import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const client = new pg.Client({ connectionString: URI });
await client.connect();
client.on("error", () => {});
const rows = async (...args) => (await client.query(...args)).rows;

await step("list", () =>
  rows(
    "SELECT t.*, c.name, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = 'open' ORDER BY t.id LIMIT 20",
  ),
);
await step("find by e-mail", () => rows("SELECT * FROM customers WHERE email = $1", [EMAIL]));
await step("find by e-mail in any case", () =>
  rows("SELECT * FROM customers WHERE lower(email) = lower($1)", [EMAIL.toUpperCase()]),
);
await step("find by several e-mails", () =>
  rows("SELECT * FROM customers WHERE email = ANY ($1) ORDER BY id", [[EMAIL, "customer.8@example.com"]]),
);
await step("find by e-mail or phone", () =>
  rows("SELECT * FROM customers WHERE email = $1 OR phone = $2 ORDER BY id", [EMAIL, "+1 555 0109"]),
);
await step("named statement", async () => {
  const found = [];
  for (let id = 1; id <= 10; id++)
    found.push(
      ...(await rows({ name: "by-id", text: "SELECT * FROM customers WHERE id = $1", values: [id] })),
    );
  return found;
});
await step("many named statements", async () => {
  const found = [];
  for (let n = 1; n <= 150; n++)
    found.push(
      ...(await rows({
        name: `s${n}`,
        text: `SELECT ${n} AS n, email FROM customers WHERE id = $1`,
        values: [1 + (n % 40)],
      })),
    );
  return found.length;
});
await step("binary results", () =>
  rows({ text: "SELECT id, created_at, email FROM customers WHERE id = $1", values: [7], binary: true }).then(
    (found) => found.map(({ email }) => String(email)),
  ),
);
await step("rows as arrays", () =>
  rows({ text: "SELECT id, phone FROM customers ORDER BY id LIMIT 3", rowMode: "array" }),
);
await step("several statements in one text", async () =>
  (
    await client.query(
      "SELECT 1 AS a; SELECT count(*) FROM tickets; SELECT id, note FROM tickets ORDER BY id LIMIT 2",
    )
  ).map((result) => result.rows),
);
await step("types", () =>
  rows("SELECT $1::int[] AS a, $2::jsonb AS j, $3::timestamptz AS t, $4::numeric AS n, $5::bytea AS b", [
    [1, 2],
    { a: 1 },
    new Date(0),
    "1.50",
    Buffer.from("abc"),
  ]),
);
await step("counts by status", () =>
  rows("SELECT status, count(*) FROM tickets GROUP BY status ORDER BY status"),
);
await step("json of one ticket's messages", () =>
  rows(
    "SELECT t.id, (SELECT json_agg(m ORDER BY m.id) FROM ticket_messages m WHERE m.ticket_id = t.id) AS messages FROM tickets t WHERE t.id = $1",
    [7],
  ),
);
await step("insert returning", () =>
  rows("INSERT INTO tickets (customer_id, subject) VALUES ($1, $2) RETURNING id, status", [7, "New"]),
);
await step(
  "update",
  async () => (await client.query("UPDATE tickets SET status = $1 WHERE id = $2", ["closed", 7])).rowCount,
);
await step(
  "update of all columns",
  async () =>
    (
      await client.query("UPDATE tickets SET customer_id = $1, subject = $2, status = $3 WHERE id = $4", [
        8,
        "Ticket 7",
        "open",
        7,
      ])
    ).rowCount,
);
await step("upsert", () =>
  rows(
    "INSERT INTO tickets (id, customer_id, subject, status) VALUES (7, 8, 'Ticket 7', 'pending') ON CONFLICT (id) DO UPDATE SET status = excluded.status RETURNING id, status",
  ),
);
await step("transaction, savepoint, rollback", async () => {
  await client.query("BEGIN");
  await client.query(
    "INSERT INTO ticket_messages (ticket_id, author, body) VALUES (7, 'agent', 'in a transaction')",
  );
  await client.query("SAVEPOINT s");
  const code = await sqlstate(() => client.query("SELECT 1 / 0"));
  await client.query("ROLLBACK TO s");
  const [{ count }] = await rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7");
  await client.query("ROLLBACK");
  return [code, count, await rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")];
});
await step("row lock", async () => {
  await client.query("BEGIN");
  const locked = await rows("SELECT id, status FROM tickets WHERE id = $1 FOR UPDATE", [9]);
  await client.query("COMMIT");
  return locked;
});
await step("wrong statement", () => sqlstate(() => client.query("SELEC 1")));
await step("unique violation", () =>
  sqlstate(() => client.query("INSERT INTO tickets (id, customer_id, subject) VALUES (1, 2, 'x')")),
);
await step("cursor", async () => {
  const cursor = client.query(new Cursor("SELECT id, subject FROM tickets ORDER BY id LIMIT 90"));
  const parts = [];
  for (let part = await cursor.read(25); part.length > 0; part = await cursor.read(25))
    parts.push(part.length);
  await cursor.close();
  return parts;
});
await step("stream", async () => {
  let count = 0;
  for await (const _ of client.query(
    new QueryStream("SELECT id FROM tickets ORDER BY id LIMIT 90", [], { batchSize: 10 }),
  ))
    count++;
  return count;
});
await step("copy out", async () => {
  let text = "";
  for await (const part of client.query(
    copy.to("COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT"),
  ))
    text += part;
  return text.split("\n").map((line) => line.split("\t"));
});
await step("copy in", async () => {
  await pipeline(
    Readable.from(["7\tagent\tcopied\n7\tagent\tcopied too\n"]),
    client.query(copy.from("COPY ticket_messages (ticket_id, author, body) FROM STDIN")),
  );
  return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7");
});
await step(
  "explain",
  async () => (await rows("EXPLAIN (COSTS OFF) SELECT * FROM tickets WHERE id = 7")).length > 0,
);
await step("session settings", async () => {
  await client.query("SET application_name = 'desk'; SET statement_timeout = '5s'");
  return [
    await rows("SHOW application_name"),
    await rows("SELECT current_setting('statement_timeout') AS t"),
  ];
});
await step("cancel by timeout", () =>
  sqlstate(async () => {
    await client.query("SET statement_timeout = '100ms'");
    await client.query("SELECT pg_sleep(5)");
  }),
);
await client.query("RESET statement_timeout").catch(() => {});
await step("notifications", async () => {
  const heard = new Promise((done) =>
    client.once("notification", ({ channel, payload, processId }) =>
      done([channel, payload, processId === client.processID]),
    ),
  );
  await client.query("LISTEN desk; NOTIFY desk, 'hello'");
  return heard;
});
await step("temporary table", async () => {
  await client.query("CREATE TEMP TABLE scratch AS SELECT 1 AS a");
  return rows("SELECT * FROM scratch");
});
await step("advisory lock", () => rows("SELECT pg_try_advisory_lock(1), pg_advisory_unlock(1)"));
await step("two connections of a pool", async () => {
  const pool = new pg.Pool({ connectionString: URI, max: 2 });
  const results = await Promise.all(
    [1, 2, 3, 4].map((id) => pool.query("SELECT id, phone FROM customers WHERE id = $1", [id])),
  );
  await pool.end();
  return results.map((result) => result.rows);
});
await client.end();
