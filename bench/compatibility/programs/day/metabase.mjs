import { createHash } from "node:crypto";
import pg from "pg";
import { day, sqlstate, URI } from "./day.mjs";

/* Questions of Metabase: its remark before each, names in quotes, a LIMIT of 1048575, literals or parameters. */

const pool = new pg.Pool({ connectionString: URI, max: 2 });

async function ask(person, text, values) {
  const hash = createHash("sha256").update(text).digest("hex");
  const remark = `-- Metabase:: userID: ${person} queryType: MBQL queryHash: ${hash}\n`;
  return (await pool.query(`${remark}${text}`, values)).rows;
}

const CUSTOMERS =
  'SELECT "public"."customers"."id" AS "id", "public"."customers"."name" AS "name", "public"."customers"."email" AS "email", "public"."customers"."phone" AS "phone" FROM "public"."customers"';
const TICKETS =
  'SELECT "public"."tickets"."id" AS "id", "public"."tickets"."customer_id" AS "customer_id", "public"."tickets"."subject" AS "subject" FROM "public"."tickets"';

/** A question over another question; to `require_filter` of guarded people only a plain join shows what holds the customers. */
const ofQuestion = (person) =>
  `SELECT "source"."id" AS "id", "source"."customer_id" AS "customer_id", "source"."subject" AS "subject", "Customers"."email" AS "email" FROM (${TICKETS} WHERE ("public"."tickets"."assignee" = '${person}') AND ("public"."tickets"."status" = 'open')) "source" LEFT JOIN "public"."customers" AS "Customers" ON "source"."customer_id" = "Customers"."id" ORDER BY "source"."id" ASC`;
const ofTable = (person) =>
  `${TICKETS.replace(" FROM", ', "Customers"."email" AS "email" FROM')} LEFT JOIN "public"."customers" AS "Customers" ON "public"."tickets"."customer_id" = "Customers"."id" WHERE ("public"."tickets"."assignee" = '${person}') AND ("public"."tickets"."status" = 'open') ORDER BY "public"."tickets"."id" ASC`;
const queue = process.env.DAY_GUARDED === "" ? ofQuestion : ofTable;

await day({
  queue: (person, { limit, offset }) => ask(person, `${queue(person)} LIMIT ${limit} OFFSET ${offset}`),
  find: (person, { email }) =>
    ask(person, `${CUSTOMERS} WHERE "public"."customers"."email" = $1 LIMIT 1048575`, [email]),
  findAnyCase: (person, { email }) =>
    ask(
      person,
      `${CUSTOMERS} WHERE LOWER("public"."customers"."email") = '${email.toLowerCase()}' LIMIT 1048575`,
    ),
  findSeveral: (person, { emails }) =>
    ask(
      person,
      `${CUSTOMERS} WHERE ${emails.map((_, i) => `("public"."customers"."email" = $${i + 1})`).join(" OR ")} ORDER BY "id" ASC LIMIT 1048575`,
      emails,
    ),
  findByPhone: (person, { phone }) =>
    ask(person, `${CUSTOMERS} WHERE "public"."customers"."phone" = $1 LIMIT 1048575`, [phone]),
  ticket: (person, { id }) => ask(person, `${TICKETS} WHERE "public"."tickets"."id" = ${id} LIMIT 1048575`),
  tickets: (person, { ids }) =>
    ask(
      person,
      `${TICKETS} WHERE ${ids.map((id) => `("public"."tickets"."id" = ${id})`).join(" OR ")} ORDER BY "id" ASC LIMIT 1048575`,
    ),
  // A question writes nothing.
  note: () => "",
  close: () => "",
  counts: (person) =>
    ask(
      person,
      `SELECT "public"."tickets"."status" AS "status", COUNT(*) AS "count" FROM "public"."tickets" WHERE "public"."tickets"."assignee" = '${person}' GROUP BY "public"."tickets"."status" ORDER BY "public"."tickets"."status" ASC`,
    ),
  fail: async (person, { id }) => {
    const shown = await ask(person, `${CUSTOMERS} WHERE "public"."customers"."id" = ${id}`);
    return { state: await sqlstate(() => ask(person, "SELECT 1 / 0")), shown };
  },
  lock: (person, { id }) => ask(person, `${TICKETS} WHERE "public"."tickets"."id" = ${id}`),
});
await pool.end();
