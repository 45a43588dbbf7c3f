import { asc, count, eq, inArray, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { bigint, pgTable, text } from "drizzle-orm/pg-core";
import pg from "pg";
import { commentByDriver, day, NAMING, served, sqlstate, URI } from "./day.mjs";

const key = () => bigint("id", { mode: "number" }).primaryKey().generatedByDefaultAsIdentity();
const number = (name) => bigint(name, { mode: "number" }).notNull();
const customers = pgTable("customers", {
  id: key(),
  name: text("name").notNull(),
  email: text("email").notNull(),
  phone: text("phone").notNull(),
});
const tickets = pgTable("tickets", {
  id: key(),
  customerId: number("customer_id"),
  assignee: text("assignee"),
  subject: text("subject").notNull(),
  status: text("status").notNull().default("open"),
});
const messages = pgTable("ticket_messages", {
  id: key(),
  ticketId: number("ticket_id"),
  customerId: number("customer_id"),
  author: text("author").notNull(),
  body: text("body").notNull(),
});
const schema = {
  customers,
  tickets,
  messages,
  ticketsRelations: relations(tickets, ({ one, many }) => ({
    customer: one(customers, { fields: [tickets.customerId], references: [customers.id] }),
    messages: many(messages),
  })),
  messagesRelations: relations(messages, ({ one }) => ({
    ticket: one(tickets, { fields: [messages.ticketId], references: [tickets.id] }),
  })),
};

// Drizzle writes no comments itself.
if (NAMING === "comment") commentByDriver(pg);
const db = drizzle(new pg.Pool({ connectionString: URI, max: 2 }), { schema });

/** As the documents of Supabase have it for "claims". */
function as(person, work) {
  // Drizzle asks once it is awaited, which has to be in here.
  if (NAMING === "comment") return served.run(person, async () => await work(db));
  return db.transaction(async (tx) => {
    if (NAMING === "setting") await tx.execute(sql`select set_config('app.agent', ${person}, true)`);
    if (NAMING === "claims") {
      const claims = JSON.stringify({ sub: person, role: "support_staff" });
      await tx.execute(sql`select set_config('request.jwt.claims', ${claims}, true)`);
      await tx.execute(sql`set local role ${sql.raw("support_staff")}`);
    }
    return work(tx);
  });
}

const TICKET = { id: true, customerId: true, subject: true, status: true };
const customer = { columns: { id: true, name: true, email: true } };
const MESSAGES = { columns: { id: true, body: true }, orderBy: asc(messages.id) };
const find = (person, where) =>
  as(person, (at) => at.select().from(customers).where(where).orderBy(customers.id));

await day({
  queue: (person, { limit, offset }) =>
    as(person, (at) =>
      at.query.tickets.findMany({
        columns: TICKET,
        where: (t, { and }) => and(eq(t.assignee, person), eq(t.status, "open")),
        orderBy: asc(tickets.id),
        limit,
        offset,
        with: { customer },
      }),
    ),
  find: (person, { email }) => find(person, eq(customers.email, email)),
  findAnyCase: (person, { email }) => find(person, eq(sql`lower(${customers.email})`, email.toLowerCase())),
  findSeveral: (person, { emails }) => find(person, inArray(customers.email, emails)),
  findByPhone: (person, { phone }) => find(person, eq(customers.phone, phone)),
  ticket: (person, { id }) =>
    as(person, (at) =>
      at.query.tickets.findFirst({
        columns: TICKET,
        where: eq(tickets.id, id),
        with: { customer, messages: MESSAGES },
      }),
    ),
  tickets: (person, { ids }) =>
    as(person, (at) =>
      at.query.tickets.findMany({
        columns: TICKET,
        where: inArray(tickets.id, ids),
        orderBy: asc(tickets.id),
        with: { messages: MESSAGES },
      }),
    ),
  note: (person, { id, body }) =>
    as(person, async (at) => {
      const [ticket] = await at
        .select({ id: tickets.id, customerId: tickets.customerId })
        .from(tickets)
        .where(eq(tickets.id, id));
      const row = { ticketId: id, customerId: ticket.customerId, author: "agent", body };
      const made = await at.insert(messages).values(row).returning({ id: messages.id });
      return { ...ticket, made: made.length };
    }),
  close: (person, { id }) =>
    as(person, (at) =>
      at
        .update(tickets)
        .set({ status: "closed" })
        .where(eq(tickets.id, id))
        .returning({ id: tickets.id, customerId: tickets.customerId, status: tickets.status }),
    ),
  counts: (person) =>
    as(person, (at) =>
      at
        .select({ status: tickets.status, n: count() })
        .from(tickets)
        .where(eq(tickets.assignee, person))
        .groupBy(tickets.status)
        .orderBy(tickets.status),
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (at) => {
        shown = await at.select().from(customers).where(eq(customers.id, id));
        await at.execute(sql`select 1 / 0`);
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(person, (at) =>
      at
        .select({ id: tickets.id, customerId: tickets.customerId })
        .from(tickets)
        .where(eq(tickets.id, id))
        .for("update"),
    ),
});
await db.$client.end();
