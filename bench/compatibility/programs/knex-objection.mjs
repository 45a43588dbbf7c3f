import Knex from "knex";
import { Model } from "objection";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const knex = Knex({ client: "pg", connection: URI, pool: { min: 0, max: 2 } });
class Message extends Model {
  static tableName = "ticket_messages";
}
class Ticket extends Model {
  static tableName = "tickets";
  static get relationMappings() {
    return {
      customer: {
        relation: Model.BelongsToOneRelation,
        modelClass: Customer,
        join: { from: "tickets.customer_id", to: "customers.id" },
      },
      messages: {
        relation: Model.HasManyRelation,
        modelClass: Message,
        join: { from: "tickets.id", to: "ticket_messages.ticket_id" },
      },
    };
  }
}
class Customer extends Model {
  static tableName = "customers";
  static get relationMappings() {
    return {
      tickets: {
        relation: Model.HasManyRelation,
        modelClass: Ticket,
        join: { from: "customers.id", to: "tickets.customer_id" },
      },
    };
  }
}
Model.knex(knex);

await step("knex: list with a join", () =>
  knex("tickets as t")
    .join("customers as c", "c.id", "t.customer_id")
    .select("t.id", "t.note", "c.email")
    .where("t.status", "open")
    .orderBy("t.id")
    .limit(20),
);
await step("knex: find by e-mail", () => knex("customers").where({ email: EMAIL }).first());
await step("knex: find by e-mail in any case", () =>
  knex("customers").whereRaw("lower(email) = ?", [EMAIL]).first(),
);
await step("knex: whereILike", () => knex("customers").whereILike("email", EMAIL).first());
await step("knex: find by several e-mails", () =>
  knex("customers").whereIn("email", [EMAIL, "customer.8@example.com"]).orderBy("id"),
);
await step("knex: find by e-mail or phone", () =>
  knex("customers").where("email", EMAIL).orWhere("phone", "+1 555 0109").orderBy("id"),
);
await step("knex: counts", () =>
  knex("tickets").select("status").count("* as n").groupBy("status").orderBy("status"),
);
await step("knex: insert returning", () =>
  knex("tickets").insert({ customer_id: 7, subject: "New" }).returning(["id", "status"]),
);
await step("knex: update", () => knex("tickets").where("id", 7).update({ status: "closed" }));
await step("knex: upsert", () =>
  knex("tickets")
    .insert({ id: 7, customer_id: 8, subject: "Ticket 7", status: "open" })
    .onConflict("id")
    .merge(["status"])
    .returning("id"),
);
await step("knex: batchInsert", () =>
  knex
    .batchInsert(
      "ticket_messages",
      [1, 2, 3].map((n) => ({ ticket_id: 7, author: "agent", body: `b${n}` })),
      2,
    )
    .returning("id"),
);
await step("knex: transaction", () =>
  knex.transaction(async (trx) => {
    await trx("tickets").where("id", 7).update({ status: "pending" });
    const code = await sqlstate(() => trx.transaction((inner) => inner.raw("SELECT 1 / 0")));
    return [code, await trx("tickets").where("id", 7).select("status")];
  }),
);
await step("knex: row lock", () =>
  knex.transaction((trx) => trx("tickets").where("id", 9).forUpdate().select("id")),
);
await step("knex: stream", async () => {
  let rows = 0;
  for await (const _ of knex("tickets").select("id").orderBy("id").limit(90).stream()) rows++;
  return rows;
});
await step("knex: columnInfo, hasTable", async () => [
  await knex("customers").columnInfo(),
  await knex.schema.hasTable("tickets"),
]);
await step("objection: graph of a customer", () =>
  Customer.query()
    .findOne({ email: EMAIL })
    .withGraphFetched("tickets(ordered).messages(ordered)")
    .modifiers({ ordered: (q) => q.orderBy("id") }),
);
await step("objection: joined graph", () =>
  Ticket.query().withGraphJoined("[customer, messages]").where("tickets.id", 8).orderBy("messages.id"),
);
await step("objection: insertGraph", () =>
  Ticket.query()
    .insertGraph({
      customer_id: 7,
      subject: "Graph",
      messages: [
        { author: "agent", body: "one" },
        { author: "agent", body: "two" },
      ],
    })
    .then(({ messages }) => messages.length),
);
await step("objection: patch of all columns", async () => {
  const ticket = await Ticket.query().findById(11);
  return ticket
    .$query()
    .patch({ customer_id: ticket.customer_id, subject: ticket.subject, status: "closed" });
});
await step("objection: page", () => Ticket.query().orderBy("id").page(2, 10));
await step("error", () => sqlstate(() => knex.raw("SELECT 1 / 0")));
await knex.destroy();
