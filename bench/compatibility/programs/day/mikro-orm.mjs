import { EntitySchema, LockMode, MikroORM, raw } from "@mikro-orm/postgresql";
import pg from "pg";
import { commentByDriver, day, NAMING, served, sqlstate, URI } from "./day.mjs";

if (NAMING === "comment") commentByDriver(pg);

const id = { type: "bigint", primary: true, autoincrement: true };
const text = { type: "text" };
const Customer = new EntitySchema({
  name: "Customer",
  tableName: "customers",
  properties: { id, name: text, email: text, phone: text },
});
const Ticket = new EntitySchema({
  name: "Ticket",
  tableName: "tickets",
  properties: {
    id,
    customer: { kind: "m:1", entity: "Customer", fieldName: "customer_id" },
    assignee: { type: "text", nullable: true },
    subject: text,
    status: { type: "text", default: "open" },
    messages: { kind: "1:m", entity: "Message", mappedBy: "ticket", orderBy: { id: "asc" } },
  },
});
const Message = new EntitySchema({
  name: "Message",
  tableName: "ticket_messages",
  properties: {
    id,
    ticket: { kind: "m:1", entity: "Ticket", fieldName: "ticket_id" },
    customerId: { type: "bigint", fieldName: "customer_id" },
    author: text,
    body: text,
  },
});
const orm = await MikroORM.init({
  clientUrl: URI,
  entities: [Customer, Ticket, Message],
  pool: { min: 0, max: 2 },
});

function as(person, work) {
  const em = orm.em.fork();
  // The option `comments` reaches neither what select-in loads nor what flush() writes.
  if (NAMING === "comment") return served.run(person, () => work(em));
  return em.transactional(async (inside) => {
    if (NAMING === "setting") await inside.execute("SELECT set_config('app.agent', ?, true)", [person]);
    if (NAMING === "role") await inside.execute(`SET LOCAL ROLE "${person}"`);
    return work(inside);
  });
}

const find = (person, where) => as(person, (em) => em.find("Customer", where, { orderBy: { id: "asc" } }));
const plainTicket = (ticket, ...more) => ({
  id: ticket.id,
  customer_id: ticket.customer.id,
  subject: ticket.subject,
  status: ticket.status,
  ...Object.assign({}, ...more),
});
const messagesOf = (ticket) => ({ messages: ticket.messages.getItems().map((one) => [one.id, one.body]) });

await day({
  queue: (person, { limit, offset }) =>
    as(person, async (em) => {
      const where = { assignee: person, status: "open" };
      const page = { populate: ["customer"], orderBy: { id: "asc" }, limit, offset };
      const tickets = await em.find("Ticket", where, { ...page });
      return tickets.map((one) => plainTicket(one, { email: one.customer.email, id: one.customer.id }));
    }),
  find: (person, { email }) => find(person, { email }),
  findAnyCase: (person, { email }) =>
    find(person, { [raw((alias) => `lower(${alias}.email)`)]: email.toLowerCase() }),
  findSeveral: (person, { emails }) => find(person, { email: { $in: emails } }),
  findByPhone: (person, { phone }) => find(person, { phone }),
  ticket: (person, { id }) =>
    as(person, async (em) => {
      const options = { populate: ["customer", "messages"], strategy: "joined" };
      const ticket = await em.findOneOrFail("Ticket", { id }, options);
      return plainTicket(ticket, messagesOf(ticket));
    }),
  tickets: (person, { ids }) =>
    as(person, async (em) => {
      const options = { populate: ["messages"], strategy: "select-in", orderBy: { id: "asc" } };
      const tickets = await em.find("Ticket", { id: { $in: ids } }, options);
      return tickets.map((one) => plainTicket(one, messagesOf(one)));
    }),
  note: (person, { id, body }) =>
    as(person, async (em) => {
      const ticket = await em.findOneOrFail("Ticket", { id });
      em.create("Message", { ticket, customerId: ticket.customer.id, author: "agent", body });
      await em.flush();
      return plainTicket(ticket);
    }),
  close: (person, { id }) =>
    as(person, async (em) => {
      const ticket = await em.findOneOrFail("Ticket", { id });
      ticket.status = "closed";
      await em.flush();
      return plainTicket(ticket);
    }),
  counts: (person) => as(person, (em) => em.count("Ticket", { assignee: person, status: "open" })),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (em) => {
        shown = await em.find("Customer", { id });
        await em.execute("SELECT 1 / 0");
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(person, (em) =>
      em.transactional(async (inside) =>
        plainTicket(await inside.findOneOrFail("Ticket", { id }, { lockMode: LockMode.PESSIMISTIC_WRITE })),
      ),
    ),
});
await orm.close(true);
