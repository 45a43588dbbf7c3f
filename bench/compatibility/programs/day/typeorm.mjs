import "reflect-metadata";
import { DataSource, EntitySchema, In, Raw } from "typeorm";
import { day, NAMING, sqlstate, URI } from "./day.mjs";

const id = { type: "bigint", primary: true, generated: "identity", generatedIdentity: "BY DEFAULT" };
const customerId = { name: "customer_id", type: "bigint" };
const Customer = new EntitySchema({
  name: "customers",
  columns: { id, name: { type: "text" }, email: { type: "text" }, phone: { type: "text" } },
});
const Ticket = new EntitySchema({
  name: "tickets",
  columns: {
    id,
    customerId,
    assignee: { type: "text", nullable: true },
    subject: { type: "text" },
    status: { type: "text", default: "open" },
  },
  relations: {
    customer: { type: "many-to-one", target: "customers", joinColumn: { name: "customer_id" } },
    messages: { type: "one-to-many", target: "ticket_messages", inverseSide: "ticket" },
  },
});
const Message = new EntitySchema({
  name: "ticket_messages",
  columns: { id, customerId, author: { type: "text" }, body: { type: "text" } },
  relations: {
    ticket: {
      type: "many-to-one",
      target: "tickets",
      joinColumn: { name: "ticket_id" },
      inverseSide: "messages",
    },
  },
});
const source = new DataSource({
  type: "postgres",
  url: URI,
  entities: [Customer, Ticket, Message],
  synchronize: false,
  poolSize: 2,
  installExtensions: false,
});
await source.initialize();

/** In a transaction that says first for whom it is; `named`: as an option of each find. */
function as(person, work) {
  const named = NAMING === "comment" ? { comment: `user='${encodeURIComponent(person)}'` } : {};
  const use = (manager) =>
    work(
      { customers: manager.getRepository(Customer), tickets: manager.getRepository(Ticket), manager },
      named,
    );
  if (NAMING === "comment") return use(source.manager);
  return source.transaction(async (manager) => {
    if (NAMING === "setting") await manager.query("SELECT set_config('app.agent', $1, true)", [person]);
    if (NAMING === "role") await manager.query(`SET LOCAL ROLE "${person}"`);
    return use(manager);
  });
}

const find = (person, where) =>
  as(person, ({ customers }, named) => customers.find({ where, order: { id: "ASC" }, ...named }));

await day({
  queue: (person, { limit, offset }) =>
    as(person, ({ tickets }, named) =>
      tickets.find({
        where: { assignee: person, status: "open" },
        relations: { customer: true },
        order: { id: "ASC" },
        take: limit,
        skip: offset,
        ...named,
      }),
    ),
  find: (person, { email }) => find(person, { email }),
  findAnyCase: (person, { email }) =>
    find(person, { email: Raw((column) => `lower(${column}) = lower(:email)`, { email }) }),
  findSeveral: (person, { emails }) => find(person, { email: In(emails) }),
  findByPhone: (person, { phone }) => find(person, { phone }),
  ticket: (person, { id }) =>
    as(person, ({ tickets }, named) =>
      tickets.findOne({
        where: { id },
        relations: { customer: true, messages: true },
        order: { messages: { id: "ASC" } },
        ...named,
      }),
    ),
  tickets: (person, { ids }) =>
    as(person, ({ tickets }, named) =>
      tickets.find({
        where: { id: In(ids) },
        relations: { messages: true },
        order: { id: "ASC", messages: { id: "ASC" } },
        ...named,
      }),
    ),
  note: (person, { id, body }) =>
    as(person, async ({ tickets, manager }, named) => {
      const ticket = await tickets.findOne({ where: { id }, ...named });
      const row = { ticket, customerId: ticket.customerId, author: "agent", body };
      await manager.getRepository(Message).save(row);
      return ticket;
    }),
  close: (person, { id }) =>
    as(person, async ({ tickets }, named) => {
      const ticket = await tickets.findOne({ where: { id }, ...named });
      ticket.status = "closed";
      return tickets.save(ticket);
    }),
  counts: (person) =>
    as(person, ({ tickets }, { comment }) => {
      const query = tickets
        .createQueryBuilder("t")
        .select("t.status", "status")
        .addSelect("count(*)", "n")
        .where("t.assignee = :person", { person })
        .groupBy("t.status")
        .orderBy("t.status");
      return (comment === undefined ? query : query.comment(comment)).getRawMany();
    }),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async ({ customers, manager }, named) => {
        shown = await customers.find({ where: { id }, ...named });
        await manager.query("SELECT 1 / 0");
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    source.transaction(async (manager) => {
      if (NAMING === "setting") await manager.query("SELECT set_config('app.agent', $1, true)", [person]);
      if (NAMING === "role") await manager.query(`SET LOCAL ROLE "${person}"`);
      const named = NAMING === "comment" ? { comment: `user='${person}'` } : {};
      return manager
        .getRepository(Ticket)
        .findOne({ where: { id }, lock: { mode: "pessimistic_write" }, ...named });
    }),
});
await source.destroy();
