import { EntitySchema, MikroORM } from "@mikro-orm/postgresql";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const id = { type: "bigint", primary: true, autoincrement: true };
const Customer = new EntitySchema({
  name: "Customer",
  tableName: "customers",
  properties: {
    id,
    name: { type: "text" },
    email: { type: "text" },
    phone: { type: "text", nullable: true },
    country: { type: "text" },
    tickets: { kind: "1:m", entity: "Ticket", mappedBy: "customer", orderBy: { id: "asc" } },
  },
});
const Ticket = new EntitySchema({
  name: "Ticket",
  tableName: "tickets",
  properties: {
    id,
    customer: { kind: "m:1", entity: "Customer", fieldName: "customer_id" },
    assignee: { type: "text", nullable: true },
    subject: { type: "text" },
    note: { type: "text", nullable: true },
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
    author: { type: "text" },
    body: { type: "text" },
  },
});
const orm = await MikroORM.init({
  clientUrl: URI,
  entities: [Customer, Ticket, Message],
  pool: { min: 0, max: 2 },
  debug: false,
});
const em = () => orm.em.fork();

await step("find with populate", () =>
  em()
    .find("Ticket", { status: "open" }, { populate: ["customer"], orderBy: { id: "asc" }, limit: 20 })
    .then((all) => all.map((one) => [one.id, one.note, one.customer.email])),
);
await step("findOne by e-mail", () => em().findOne("Customer", { email: EMAIL }));
await step("$ilike", () => em().find("Customer", { email: { $ilike: EMAIL } }));
await step("$in", () =>
  em().find("Customer", { email: { $in: [EMAIL, "customer.8@example.com"] } }, { orderBy: { id: "asc" } }),
);
await step("$or", () =>
  em().find("Customer", { $or: [{ email: EMAIL }, { phone: "+1 555 0109" }] }, { orderBy: { id: "asc" } }),
);
for (const strategy of ["joined", "select-in"]) {
  await step(`deep populate, ${strategy}`, () =>
    em()
      .findOne("Customer", { id: 7 }, { populate: ["tickets.messages"], strategy })
      .then((one) =>
        one.tickets
          .getItems()
          .map((ticket) => [ticket.id, ticket.messages.getItems().map(({ body }) => body)]),
      ),
  );
}
await step("findAndCount", () =>
  em()
    .findAndCount("Ticket", { status: "open" }, { limit: 5, orderBy: { id: "asc" } })
    .then(([all, count]) => [all.length, count]),
);
await step("persist and flush, with children", async () => {
  const fork = em();
  const ticket = fork.create("Ticket", {
    customer: fork.getReference("Customer", "7"),
    subject: "New",
    status: "open",
  });
  fork.create("Message", { ticket, author: "agent", body: "one" });
  await fork.persistAndFlush(ticket);
  return ticket.id;
});
await step("change and flush", async () => {
  const fork = em();
  const ticket = await fork.findOneOrFail("Ticket", { id: "7" });
  ticket.status = "closed";
  await fork.flush();
  return em().count("Ticket", { id: "7", status: "closed" });
});
await step("upsert", () =>
  em()
    .upsert("Ticket", { id: "7", customer: "8", subject: "Ticket 7", status: "open" })
    .then(({ id: same }) => same),
);
await step("nativeUpdate", () => em().nativeUpdate("Ticket", { id: "8" }, { status: "closed" }));
await step("insertMany", () =>
  em()
    .insertMany(
      "Message",
      [1, 2].map((n) => ({ ticket: "7", author: "agent", body: `b${n}` })),
    )
    .then((keys) => keys.length),
);
await step("transaction", () =>
  em().transactional(async (fork) => {
    const ticket = await fork.findOneOrFail("Ticket", { id: "9" }, { lockMode: 4 });
    ticket.status = "pending";
    return ticket.id;
  }),
);
await step("query builder", () =>
  em()
    .createQueryBuilder("Ticket", "t")
    .select(["t.status"])
    .groupBy("t.status")
    .orderBy({ "t.status": "asc" })
    .execute("all"),
);
await step("remove", async () => em().nativeDelete("Message", { ticket: "7", author: "agent" }));
await step("error", () => sqlstate(() => em().execute("SELECT 1 / 0")));
await orm.close(true);
