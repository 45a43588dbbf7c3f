import { Kysely, PostgresDialect, sql } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import pg from "pg";
import { day, NAMING, sqlstate, URI } from "./day.mjs";

const db = new Kysely({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: URI, max: 2 }) }),
});

/** In a transaction that says first for whom it is, or by a comment at the end of each query. */
function as(person, work) {
  if (NAMING === "comment") {
    const remark = sql.raw(`/*user='${encodeURIComponent(person)}'*/`);
    return work(db, (query) => query.modifyEnd(remark));
  }
  return db.transaction().execute(async (trx) => {
    if (NAMING === "setting") await sql`SELECT set_config('app.agent', ${person}, true)`.execute(trx);
    if (NAMING === "role") await sql`SET LOCAL ROLE ${sql.id(person)}`.execute(trx);
    return work(trx, (query) => query);
  });
}

const customers = (person, where) =>
  as(person, (at, named) =>
    named(where(at.selectFrom("customers").select(["id", "name", "email", "phone"]).orderBy("id"))).execute(),
  );
const tickets = (person, ids) =>
  as(person, (at, named) =>
    named(
      at
        .selectFrom("tickets")
        .select((eb) => [
          "id",
          "customer_id",
          "subject",
          "status",
          jsonArrayFrom(
            eb
              .selectFrom("ticket_messages")
              .select(["ticket_messages.id", "body"])
              .whereRef("ticket_messages.ticket_id", "=", "tickets.id")
              .orderBy("ticket_messages.id"),
          ).as("messages"),
        ])
        .where("id", "in", ids)
        .orderBy("id"),
    ).execute(),
  );

await day({
  queue: (person, { limit, offset }) =>
    as(person, (at, named) =>
      named(
        at
          .selectFrom("tickets")
          .innerJoin("customers", "customers.id", "tickets.customer_id")
          .select(["tickets.id", "customer_id", "subject", "name", "email"])
          .where("assignee", "=", person)
          .where("status", "=", "open")
          .orderBy("tickets.id")
          .limit(limit)
          .offset(offset),
      ).execute(),
    ),
  find: (person, { email }) => customers(person, (query) => query.where("email", "=", email)),
  findAnyCase: (person, { email }) =>
    customers(person, (query) =>
      query.where((eb) => eb(eb.fn("lower", ["email"]), "=", email.toLowerCase())),
    ),
  findSeveral: (person, { emails }) => customers(person, (query) => query.where("email", "in", emails)),
  findByPhone: (person, { phone }) => customers(person, (query) => query.where("phone", "=", phone)),
  ticket: (person, { id }) => tickets(person, [id]),
  tickets: (person, { ids }) => tickets(person, ids),
  note: (person, { id, body }) =>
    as(person, async (at, named) => {
      const ticket = await named(
        at.selectFrom("tickets").select(["id", "customer_id"]).where("id", "=", id),
      ).executeTakeFirstOrThrow();
      const row = { ticket_id: id, customer_id: ticket.customer_id, author: "agent", body };
      const made = await named(at.insertInto("ticket_messages").values(row).returning("id")).execute();
      return { ...ticket, made: made.length };
    }),
  close: (person, { id }) =>
    as(person, (at, named) =>
      named(
        at
          .updateTable("tickets")
          .set({ status: "closed" })
          .where("id", "=", id)
          .returning(["id", "customer_id", "status"]),
      ).execute(),
    ),
  counts: (person) =>
    as(person, (at, named) =>
      named(
        at
          .selectFrom("tickets")
          .select((eb) => ["status", eb.fn.countAll().as("n")])
          .where("assignee", "=", person)
          .groupBy("status")
          .orderBy("status"),
      ).execute(),
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (at, named) => {
        shown = await named(
          at.selectFrom("customers").select(["id", "name", "email"]).where("id", "=", id),
        ).execute();
        await sql`SELECT 1 / 0`.execute(at);
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(person, (at, named) =>
      named(
        at.selectFrom("tickets").select(["id", "customer_id"]).where("id", "=", id).forUpdate(),
      ).execute(),
    ),
});
await db.destroy();
