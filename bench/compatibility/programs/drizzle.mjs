import { count, eq, inArray, or, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { bigint, pgTable, text, timestamp } from "drizzle-orm/pg-core";
import pg from "pg";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const key = () => bigint("id", { mode: "number" }).primaryKey().generatedByDefaultAsIdentity();
const customers = pgTable("customers", {
  id: key(),
  name: text("name").notNull(),
  email: text("email").notNull(),
  phone: text("phone"),
  country: text("country").notNull(),
});
const tickets = pgTable("tickets", {
  id: key(),
  customerId: bigint("customer_id", { mode: "number" }).notNull(),
  assignee: text("assignee"),
  subject: text("subject").notNull(),
  note: text("note"),
  status: text("status").notNull().default("open"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
});
const messages = pgTable("ticket_messages", {
  id: key(),
  ticketId: bigint("ticket_id", { mode: "number" }).notNull(),
  author: text("author").notNull(),
  body: text("body").notNull(),
});
const schema = {
  customers,
  tickets,
  messages,
  customersRelations: relations(customers, ({ many }) => ({ tickets: many(tickets) })),
  ticketsRelations: relations(tickets, ({ one, many }) => ({
    customer: one(customers, { fields: [tickets.customerId], references: [customers.id] }),
    messages: many(messages),
  })),
  messagesRelations: relations(messages, ({ one }) => ({
    ticket: one(tickets, { fields: [messages.ticketId], references: [tickets.id] }),
  })),
};
const pool = new pg.Pool({ connectionString: URI, max: 2 });
const db = drizzle(pool, { schema });

await step("list with a join", () =>
  db
    .select({ id: tickets.id, note: tickets.note, email: customers.email })
    .from(tickets)
    .innerJoin(customers, eq(customers.id, tickets.customerId))
    .where(eq(tickets.status, "open"))
    .orderBy(tickets.id)
    .limit(20),
);
await step("find by e-mail", () => db.query.customers.findFirst({ where: eq(customers.email, EMAIL) }));
await step("find by e-mail in any case", () =>
  db
    .select()
    .from(customers)
    .where(eq(sql`lower(${customers.email})`, EMAIL)),
);
await step("find by several e-mails", () =>
  db
    .select()
    .from(customers)
    .where(inArray(customers.email, [EMAIL, "customer.8@example.com"]))
    .orderBy(customers.id),
);
await step("find by e-mail or phone", () =>
  db
    .select()
    .from(customers)
    .where(or(eq(customers.email, EMAIL), eq(customers.phone, "+1 555 0109")))
    .orderBy(customers.id),
);
await step("relational query: one ticket with its messages and customer", () =>
  db.query.tickets.findFirst({ where: eq(tickets.id, 7), with: { messages: true, customer: true } }),
);
await step("relational query: a page of tickets with messages", () =>
  db.query.tickets.findMany({
    orderBy: tickets.id,
    limit: 10,
    columns: { id: true, subject: true },
    with: { messages: { orderBy: messages.id }, customer: { columns: { name: true, email: true } } },
  }),
);
await step("relational query: a customer with tickets with messages", () =>
  db.query.customers.findFirst({
    where: eq(customers.email, EMAIL),
    with: { tickets: { orderBy: tickets.id, with: { messages: { orderBy: messages.id } } } },
  }),
);
await step("counts", () =>
  db
    .select({ status: tickets.status, n: count() })
    .from(tickets)
    .groupBy(tickets.status)
    .orderBy(tickets.status),
);
await step("$count", () => db.$count(tickets, eq(tickets.status, "open")));
await step("insert returning", () =>
  db
    .insert(tickets)
    .values({ customerId: 7, subject: "New", createdAt: new Date(0) })
    .returning({ id: tickets.id, status: tickets.status }),
);
await step("update", () =>
  db.update(tickets).set({ status: "closed" }).where(eq(tickets.id, 7)).returning({ id: tickets.id }),
);
await step("update of all columns", () =>
  db
    .update(tickets)
    .set({ customerId: 8, subject: "Ticket 7", status: "open" })
    .where(eq(tickets.id, 7))
    .then(({ rowCount }) => rowCount),
);
await step("upsert", () =>
  db
    .insert(tickets)
    .values({ id: 7, customerId: 8, subject: "Ticket 7", createdAt: new Date(0) })
    .onConflictDoUpdate({ target: tickets.id, set: { status: "pending" } })
    .returning({ id: tickets.id }),
);
await step("transaction with a nested one", () =>
  db.transaction(async (tx) => {
    await tx.insert(messages).values({ ticketId: 7, author: "agent", body: "x" });
    const code = await sqlstate(() => tx.transaction((inner) => inner.execute(sql`SELECT 1 / 0`)));
    return [code, await tx.$count(messages, eq(messages.ticketId, 7))];
  }),
);
await step("row lock", () =>
  db.transaction((tx) => tx.select({ id: tickets.id }).from(tickets).where(eq(tickets.id, 9)).for("update")),
);
await step("prepared", () =>
  db
    .select()
    .from(customers)
    .where(eq(customers.id, sql.placeholder("id")))
    .prepare("p1")
    .execute({ id: 7 }),
);
await step("error", () => sqlstate(() => db.execute(sql`SELECT 1 / 0`)));
await pool.end();
