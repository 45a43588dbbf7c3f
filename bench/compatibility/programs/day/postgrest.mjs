import pg from "pg";
import { day, sqlstate, URI } from "./day.mjs";

/*
 * The statements of PostgREST 12: a transaction, one SELECT that sets the role and the claims, and one that makes the whole
 * answer in the database. Named statements, as its library prepares them.
 */

const pool = new pg.Pool({ connectionString: URI, max: 2 });
const named = new Map();

function prepared(text) {
  if (!named.has(text)) named.set(text, String(named.size));
  return named.get(text);
}

async function as(person, work) {
  const client = await pool.connect();
  const run = (text, values = []) => client.query({ name: prepared(text), text, values });
  try {
    await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
    await run(
      "select set_config('search_path', $1, true), set_config('role', $2, true), set_config('request.jwt.claims', $3, true), set_config('request.method', $4, true), set_config('request.path', $5, true), set_config('request.headers', $6, true), set_config('request.cookies', $7, true)",
      [
        '"public"',
        "support_staff",
        JSON.stringify({ role: "support_staff", sub: person }),
        "GET",
        "/tickets",
        '{"accept":"*/*"}',
        "{}",
      ],
    );
    const result = await work(run);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

/** What a GET asks. */
const get = (source) =>
  `WITH pgrst_source AS (${source}) SELECT null::bigint AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, coalesce(json_agg(_postgrest_t), '[]') AS body, nullif(current_setting('response.headers', true), '') AS response_headers, nullif(current_setting('response.status', true), '') AS response_status, '' AS response_inserted FROM ( SELECT * FROM pgrst_source ) _postgrest_t`;
const asked = (person, source, values) =>
  as(person, async (run) => (await run(get(source), values)).rows[0].body);

const CUSTOMERS =
  'SELECT "public"."customers"."id", "public"."customers"."name", "public"."customers"."email", "public"."customers"."phone" FROM "public"."customers" WHERE';
const TICKETS =
  'SELECT "public"."tickets"."id", "public"."tickets"."customer_id", "public"."tickets"."subject", "public"."tickets"."status"';
const WITH_MESSAGES = `${TICKETS}, COALESCE("tickets_ticket_messages_1"."tickets_ticket_messages_1", '[]') AS "ticket_messages" FROM "public"."tickets" LEFT JOIN LATERAL ( SELECT json_agg("tickets_ticket_messages_1") AS "tickets_ticket_messages_1" FROM (SELECT "ticket_messages_1"."id", "ticket_messages_1"."body" FROM "public"."ticket_messages" AS "ticket_messages_1" WHERE "ticket_messages_1"."ticket_id" = "public"."tickets"."id" ORDER BY "ticket_messages_1"."id") AS "tickets_ticket_messages_1" ) AS "tickets_ticket_messages_1" ON TRUE WHERE`;

await day({
  queue: (person, { limit, offset }) =>
    asked(
      person,
      `${TICKETS}, row_to_json("tickets_customer_1".*) AS "customer" FROM "public"."tickets" LEFT JOIN LATERAL ( SELECT "customers_1"."id", "customers_1"."name", "customers_1"."email" FROM "public"."customers" AS "customers_1" WHERE "customers_1"."id" = "public"."tickets"."customer_id" ) AS "tickets_customer_1" ON TRUE WHERE "public"."tickets"."assignee" = $1 AND "public"."tickets"."status" = $2 ORDER BY "public"."tickets"."id" LIMIT $3 OFFSET $4`,
      [person, "open", limit, offset],
    ),
  find: (person, { email }) => asked(person, `${CUSTOMERS} "public"."customers"."email" = $1`, [email]),
  findAnyCase: (person, { email }) =>
    asked(person, `${CUSTOMERS} "public"."customers"."email" ILIKE $1`, [email]),
  findSeveral: (person, { emails }) =>
    asked(person, `${CUSTOMERS} "public"."customers"."email" = ANY ($1) ORDER BY "public"."customers"."id"`, [
      emails,
    ]),
  findByPhone: (person, { phone }) =>
    asked(person, `${CUSTOMERS} "public"."customers"."phone" = $1`, [phone]),
  ticket: (person, { id }) => asked(person, `${WITH_MESSAGES} "public"."tickets"."id" = $1`, [id]),
  tickets: (person, { ids }) =>
    asked(person, `${WITH_MESSAGES} "public"."tickets"."id" = ANY ($1) ORDER BY "public"."tickets"."id"`, [
      ids,
    ]),
  note: (person, { id, body }) =>
    as(person, async (run) => {
      const [ticket] = (
        await run(get(`${TICKETS} FROM "public"."tickets" WHERE "public"."tickets"."id" = $1`), [id])
      ).rows[0].body;
      const payload = JSON.stringify({
        ticket_id: id,
        customer_id: ticket.customer_id,
        author: "agent",
        body,
      });
      await run(
        `WITH pgrst_source AS (INSERT INTO "public"."ticket_messages"("author", "body", "customer_id", "ticket_id") SELECT "pgrst_body"."author", "pgrst_body"."body", "pgrst_body"."customer_id", "pgrst_body"."ticket_id" FROM (SELECT $1::json AS json_data) pgrst_payload, LATERAL (SELECT "author", "body", "customer_id", "ticket_id" FROM json_to_record(pgrst_payload.json_data) AS _("author" text, "body" text, "customer_id" bigint, "ticket_id" bigint) ) pgrst_body RETURNING 1) SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, array[]::text[] AS header, ''::text AS body FROM (SELECT 1 FROM pgrst_source) _postgrest_t`,
        [payload],
      );
      return ticket;
    }),
  close: (person, { id }) =>
    as(person, async (run) => {
      const text = `WITH pgrst_source AS (UPDATE "public"."tickets" SET "status" = $1 WHERE "public"."tickets"."id" = $2 RETURNING "public"."tickets"."id", "public"."tickets"."customer_id", "public"."tickets"."status") SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, array[]::text[] AS header, coalesce(json_agg(_postgrest_t), '[]') AS body FROM (SELECT * FROM pgrst_source) _postgrest_t`;
      return (await run(text, ["closed", id])).rows[0].body;
    }),
  counts: (person) =>
    asked(
      person,
      'SELECT "public"."tickets"."status", COUNT(*) FROM "public"."tickets" WHERE "public"."tickets"."assignee" = $1 GROUP BY "public"."tickets"."status" ORDER BY "public"."tickets"."status"',
      [person],
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (run) => {
        shown = (await run(get(`${CUSTOMERS} "public"."customers"."id" = $1`), [id])).rows[0].body;
        await run("SELECT 1 / 0");
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(
      person,
      async (run) => (await run("SELECT id, customer_id FROM tickets WHERE id = $1 FOR UPDATE", [id])).rows,
    ),
});
await pool.end();
