import "reflect-metadata";
import pg from "pg";
import { DataSource, EntitySchema, In, Raw } from "typeorm";
import { commentByDriver, day, NAMING, served, sqlstate, URI } from "./day.mjs";

if (NAMING === "comment") commentByDriver(pg);
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
  // As docs/applications.md says for guarded people: relations are asked for table by table.
  relationLoadStrategy: process.env.DAY_GUARDED === "" ? "join" : "query",
});
await source.initialize();

/** In a transaction that says first for whom it is; or by a comment, which TypeORM itself writes in SELECT alone. */
function as(person, work) {
  const use = (manager) =>
    work({ customers: manager.getRepository(Customer), tickets: manager.getRepository(Ticket), manager });
  if (NAMING === "comment") return served.run(person, () => use(source.manager));
  return source.transaction(async (manager) => {
    if (NAMING === "setting") await manager.query("SELECT set_config('app.agent', $1, true)", [person]);
    if (NAMING === "role") await manager.query(`SET LOCAL ROLE "${person}"`);
    return use(manager);
  });
}

const find = (person, where) =>
  as(person, ({ customers }) => customers.find({ where, order: { id: "ASC" } }));

/** Asked for table by table, relations cannot be ordered by TypeORM (42703, directly as well). */
function inOrder(ticket) {
  return { ...ticket, messages: ticket.messages.toSorted((a, b) => a.id - b.id) };
}

await day({
  queue: (person, { limit, offset }) =>
    as(person, ({ tickets }) =>
      tickets.find({
        where: { assignee: person, status: "open" },
        relations: { customer: true },
        order: { id: "ASC" },
        take: limit,
        skip: offset,
      }),
    ),
  find: (person, { email }) => find(person, { email }),
  findAnyCase: (person, { email }) =>
    find(person, { email: Raw((column) => `lower(${column}) = lower(:email)`, { email }) }),
  findSeveral: (person, { emails }) => find(person, { email: In(emails) }),
  findByPhone: (person, { phone }) => find(person, { phone }),
  ticket: (person, { id }) =>
    as(person, async ({ tickets }) =>
      inOrder(await tickets.findOne({ where: { id }, relations: { customer: true, messages: true } })),
    ),
  tickets: (person, { ids }) =>
    as(person, async ({ tickets }) => {
      const where = { id: In(ids) };
      return (await tickets.find({ where, relations: { messages: true }, order: { id: "ASC" } })).map(
        inOrder,
      );
    }),
  note: (person, { id, body }) =>
    as(person, async ({ tickets, manager }) => {
      const ticket = await tickets.findOne({ where: { id } });
      const row = { ticket, customerId: ticket.customerId, author: "agent", body };
      await manager.getRepository(Message).save(row);
      return ticket;
    }),
  close: (person, { id }) =>
    as(person, async ({ tickets }) => {
      const ticket = await tickets.findOne({ where: { id } });
      ticket.status = "closed";
      return tickets.save(ticket);
    }),
  counts: (person) =>
    as(person, ({ tickets }) =>
      tickets
        .createQueryBuilder("t")
        .select("t.status", "status")
        .addSelect("count(*)", "n")
        .where("t.assignee = :person", { person })
        .groupBy("t.status")
        .orderBy("t.status")
        .getRawMany(),
    ),
  fail: async (person, { id }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async ({ customers, manager }) => {
        shown = await customers.find({ where: { id } });
        await manager.query("SELECT 1 / 0");
      }),
    );
    return { state, shown };
  },
  lock: (person, { id }) =>
    as(person, ({ manager }) =>
      manager.transaction((inside) =>
        inside.getRepository(Ticket).findOne({ where: { id }, lock: { mode: "pessimistic_write" } }),
      ),
    ),
});
await source.destroy();
