import postgres from "postgres";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const sql = postgres(URI, { max: 2, onnotice: () => {} });
const plain = (rows) => rows.map((row) => ({ ...row }));

await step("list", async () =>
  plain(
    await sql`SELECT t.*, c.name, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = ${"open"} ORDER BY t.id LIMIT 20`,
  ),
);
await step("find by e-mail", async () => plain(await sql`SELECT * FROM customers WHERE email = ${EMAIL}`));
await step("find by e-mail in any case", async () =>
  plain(await sql`SELECT * FROM customers WHERE lower(email) = lower(${EMAIL.toUpperCase()})`),
);
await step("find by several e-mails", async () =>
  plain(
    await sql`SELECT * FROM customers WHERE email IN ${sql([EMAIL, "customer.8@example.com"])} ORDER BY id`,
  ),
);
await step("find by an array", async () =>
  plain(
    await sql`SELECT * FROM customers WHERE email = ANY (${[EMAIL, "customer.8@example.com"]}) ORDER BY id`,
  ),
);
await step("find by e-mail or phone", async () =>
  plain(await sql`SELECT * FROM customers WHERE email = ${EMAIL} OR phone = ${"+1 555 0109"} ORDER BY id`),
);
await step("counts by status", async () =>
  plain(await sql`SELECT status, count(*) FROM tickets GROUP BY status ORDER BY status`),
);
await step("pipelined queries", async () =>
  (await Promise.all([1, 2, 3, 4, 5].map((id) => sql`SELECT id, phone FROM customers WHERE id = ${id}`))).map(
    plain,
  ),
);
await step("insert of an object, returning", async () =>
  plain(await sql`INSERT INTO tickets ${sql({ customer_id: 7, subject: "New" })} RETURNING id, status`),
);
await step(
  "insert of several",
  async () =>
    (
      await sql`INSERT INTO ticket_messages ${sql([1, 2, 3].map((n) => ({ ticket_id: 7, author: "agent", body: `b${n}` })))}`
    ).count,
);
await step(
  "update of an object",
  async () =>
    (
      await sql`UPDATE tickets SET ${sql({ customer_id: 8, subject: "Ticket 7", status: "closed" })} WHERE id = 7`
    ).count,
);
await step("transaction and savepoint", async () =>
  sql.begin(async (tx) => {
    await tx`UPDATE tickets SET status = 'open' WHERE id = 7`;
    const code = await sqlstate(() => tx.savepoint((sp) => sp`SELECT 1 / 0`));
    return [code, plain(await tx`SELECT status FROM tickets WHERE id = 7`)];
  }),
);
await step("rollback", async () => {
  await sql
    .begin(async (tx) => {
      await tx`DELETE FROM ticket_messages WHERE ticket_id = 7`;
      throw new Error("back");
    })
    .catch(() => {});
  return plain(await sql`SELECT count(*) FROM ticket_messages WHERE ticket_id = 7`);
});
await step("cursor", async () => {
  const parts = [];
  await sql`SELECT id FROM tickets ORDER BY id LIMIT 90`.cursor(25, (rows) => void parts.push(rows.length));
  return parts;
});
await step("describe", async () =>
  (await sql`SELECT id, email FROM customers WHERE email = ${EMAIL}`.describe()).columns.map(
    ({ name, type }) => [name, type],
  ),
);
await step("raw values", async () =>
  (await sql`SELECT id, email FROM customers WHERE id = 7`.raw()).map((row) =>
    row.map((value) => value.toString()),
  ),
);
await step("simple protocol", async () =>
  (await sql`SELECT 1 AS a; SELECT count(*) FROM tickets`.simple()).map(plain),
);
await step("copy out", async () => {
  let text = "";
  for await (const part of await sql`COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT`.readable())
    text += part;
  return text
    .trim()
    .split("\n")
    .map((line) => line.split("\t"));
});
await step("copy in", async () => {
  const stream = await sql`COPY ticket_messages (ticket_id, author, body) FROM STDIN`.writable();
  await new Promise((done, fail) => stream.on("finish", done).on("error", fail).end("9\tagent\tcopied\n"));
  return plain(await sql`SELECT count(*) FROM ticket_messages WHERE ticket_id = 9`);
});
await step("wrong statement", () => sqlstate(() => sql`SELEC 1`));
await step("cancel", () =>
  sqlstate(() => {
    const query = sql`SELECT pg_sleep(5)`;
    query.execute();
    setTimeout(() => query.cancel(), 200);
    return query;
  }),
);
await step(
  "listen and notify",
  () =>
    new Promise((done, fail) => {
      sql
        .listen("desk", done)
        .then(() => sql.notify("desk", "hello"))
        .catch(fail);
    }),
);
await step("reserved connection", async () => {
  const reserved = await sql.reserve();
  const found = plain(await reserved`SELECT count(*) FROM customers`);
  reserved.release();
  return found;
});
await sql.end({ timeout: 5 });
