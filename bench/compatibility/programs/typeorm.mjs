import "reflect-metadata";
import { DataSource, EntitySchema, ILike, In } from "typeorm";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const id = { type: "bigint", primary: true, generated: "identity", generatedIdentity: "BY DEFAULT" };
const Customer = new EntitySchema({
  name: "customers",
  columns: {
    id,
    name: { type: "text" },
    email: { type: "text" },
    phone: { type: "text", nullable: true },
    country: { type: "text" },
  },
  relations: { tickets: { type: "one-to-many", target: "tickets", inverseSide: "customer" } },
});
const Ticket = new EntitySchema({
  name: "tickets",
  columns: {
    id,
    customerId: { name: "customer_id", type: "bigint" },
    assignee: { type: "text", nullable: true },
    subject: { type: "text" },
    note: { type: "text", nullable: true },
    status: { type: "text", default: "open" },
  },
  relations: {
    customer: {
      type: "many-to-one",
      target: "customers",
      joinColumn: { name: "customer_id" },
      inverseSide: "tickets",
    },
    messages: { type: "one-to-many", target: "ticket_messages", inverseSide: "ticket" },
  },
});
const Message = new EntitySchema({
  name: "ticket_messages",
  columns: { id, author: { type: "text" }, body: { type: "text" } },
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
await step("initialize", () => source.initialize().then(() => true));
const [customers, tickets, messages] = [Customer, Ticket, Message].map((entity) =>
  source.getRepository(entity),
);

await step("find with a relation", () =>
  tickets.find({ where: { status: "open" }, relations: { customer: true }, order: { id: "ASC" }, take: 20 }),
);
await step("findOneBy e-mail", () => customers.findOneBy({ email: EMAIL }));
await step("ILike", () => customers.findBy({ email: ILike(EMAIL) }));
await step("In", () =>
  customers.find({ where: { email: In([EMAIL, "customer.8@example.com"]) }, order: { id: "ASC" } }),
);
await step("or", () =>
  customers.find({ where: [{ email: EMAIL }, { phone: "+1 555 0109" }], order: { id: "ASC" } }),
);
await step("deep relations", () =>
  customers.findOne({
    where: { email: EMAIL },
    relations: { tickets: { messages: true } },
    order: { tickets: { id: "ASC", messages: { id: "ASC" } } },
  }),
);
await step("findAndCount", () =>
  tickets.findAndCount({ where: { status: "open" }, take: 5, order: { id: "ASC" } }),
);
await step("query builder with getManyAndCount", () =>
  source
    .getRepository(Ticket)
    .createQueryBuilder("t")
    .leftJoinAndSelect("t.messages", "m")
    .where("t.id < :id", { id: 10 })
    .orderBy("t.id")
    .addOrderBy("m.id")
    .take(5)
    .getManyAndCount(),
);
await step("group", () =>
  tickets
    .createQueryBuilder("t")
    .select("t.status", "status")
    .addSelect("count(*)", "n")
    .groupBy("t.status")
    .orderBy("t.status")
    .getRawMany(),
);
await step("save of a new one", () =>
  tickets.save({ customerId: 7, subject: "New" }).then(({ id: made, status }) => [made, status]),
);
await step("save of a changed one", async () => {
  const ticket = await tickets.findOneByOrFail({ id: 7 });
  ticket.status = "closed";
  return (await tickets.save(ticket)).status;
});
await step("update", () => tickets.update({ id: 8 }, { status: "closed" }).then(({ affected }) => affected));
await step("upsert", () =>
  tickets
    .upsert({ id: 7, customerId: 8, subject: "Ticket 7", status: "open" }, ["id"])
    .then(({ identifiers }) => identifiers.length),
);
await step("cascade by hand in a transaction", () =>
  source.transaction(async (manager) => {
    const ticket = await manager.getRepository(Ticket).save({ customerId: 7, subject: "Two" });
    await manager.getRepository(Message).save([
      { ticket, author: "agent", body: "a" },
      { ticket, author: "agent", body: "b" },
    ]);
    return manager.getRepository(Message).countBy({ ticket: { id: ticket.id } });
  }),
);
await step("row lock", () =>
  source.transaction((manager) =>
    manager.getRepository(Ticket).findOne({ where: { id: 9 }, lock: { mode: "pessimistic_write" } }),
  ),
);
await step("remove", async () =>
  messages
    .remove(await messages.find({ where: { ticket: { id: 7 } }, take: 1, order: { id: "ASC" } }))
    .then((gone) => gone.length),
);
await step("stream", async () => {
  let rows = 0;
  for await (const _ of await tickets.createQueryBuilder("t").orderBy("t.id").limit(90).stream()) rows++;
  return rows;
});
await step("error", () => sqlstate(() => source.query("SELECT 1 / 0")));
await step("schema builder's look", () =>
  source.driver
    .createSchemaBuilder()
    .log()
    .then(({ upQueries }) => upQueries.length),
);
await source.destroy();
