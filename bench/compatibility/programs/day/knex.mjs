import { AsyncLocalStorage } from "node:async_hooks";
import Knex from "knex";
import { day, NAMING, sqlstate, URI } from "./day.mjs";

const knex = Knex({ client: "pg", connection: URI, pool: { min: 0, max: 2 } });

/**
 * comment() of Knex stands in what reads alone: INSERT, UPDATE and DELETE lose it. So every text gets its comment where
 * Knex hands it to the driver, as sqlcommenter's package for it does.
 */
const served = new AsyncLocalStorage();
if (NAMING === "comment") {
  // Of its class: a transaction has a client of its own.
  const { prototype } = knex.client.constructor;
  const { query } = prototype;
  prototype.query = function commented(connection, asked) {
    const person = served.getStore();
    const whole = typeof asked === "string" ? { sql: asked } : asked;
    if (person !== undefined) whole.sql += ` /*user='${encodeURIComponent(person)}'*/`;
    return query.call(this, connection, whole);
  };
}

/** In a transaction that says first for whom it is. */
function as(person, work) {
  // Knex asks once it is awaited, which has to be in here.
  if (NAMING === "comment") return served.run(person, async () => await work(knex));
  return knex.transaction(async (trx) => {
    if (NAMING === "setting") await trx.raw("SELECT set_config('app.agent', ?, true)", [person]);
    if (NAMING === "role") await trx.raw("SET LOCAL ROLE ??", [person]);
    return await work(trx);
  });
}

const CUSTOMER = ["id", "name", "email", "phone"];
const TICKET = ["id", "customer_id", "subject", "status"];
const customers = (person, where) =>
  as(person, (db) => where(db("customers").select(CUSTOMER).orderBy("id")));

async function withMessages(db, tickets) {
  const ids = tickets.map(({ id }) => id);
  const messages = await db("ticket_messages")
    .select("id", "ticket_id", "body")
    .whereIn("ticket_id", ids)
    .orderBy("id");
  return tickets.map((ticket) => ({
    ...ticket,
    messages: messages.filter((one) => one.ticket_id === ticket.id),
  }));
}

await day({
  queue: (person, { limit, offset }) =>
    as(person, (db) =>
      db("tickets as t")
        .join("customers as c", "c.id", "t.customer_id")
        .select("t.id", "t.customer_id", "t.subject", "c.name", "c.email")
        .where({ "t.assignee": person, "t.status": "open" })
        .orderBy("t.id")
        .limit(limit)
        .offset(offset),
    ),
  find: (person, { email }) => customers(person, (query) => query.where({ email })),
  findAnyCase: (person, { email }) =>
    customers(person, (query) => query.whereRaw("lower(email) = lower(?)", [email])),
  findSeveral: (person, { emails }) => customers(person, (query) => query.whereIn("email", emails)),
  findByPhone: (person, { phone }) => customers(person, (query) => query.where({ phone })),
  ticket: (person, { id }) =>
    as(person, async (db) => {
      const tickets = await db("tickets").select(TICKET).where({ id });
      return withMessages(db, tickets);
    }),
  tickets: (person, { ids }) =>
    as(person, async (db) => {
      const tickets = await db("tickets").select(TICKET).whereIn("id", ids).orderBy("id");
      return withMessages(db, tickets);
    }),
  note: (person, { id, body }) =>
    as(person, async (db) => {
      const [ticket] = await db("tickets").select(TICKET).where({ id });
      const row = { ticket_id: id, customer_id: ticket.customer_id, author: "agent", body };
      const made = await db("ticket_messages").insert(row).returning("id");
      return { ...ticket, made: made.length };
    }),
  close: (person, { id }) =>
    as(person, async (db) => {
      await db("tickets").where({ id }).update({ status: "closed" });
      return db("tickets").select(TICKET).where({ id });
    }),
  counts: (person) =>
    as(person, (db) =>
      db("tickets")
        .select("status")
        .count("* as n")
        .where({ assignee: person })
        .groupBy("status")
        .orderBy("status"),
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (db) => {
        shown = await db("customers").select(CUSTOMER).where({ id });
        await db.raw("SELECT 1 / 0");
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(person, (db) =>
      db.transaction((trx) => trx("tickets").select("id", "customer_id").where({ id }).forUpdate()),
    ),
});
await knex.destroy();
