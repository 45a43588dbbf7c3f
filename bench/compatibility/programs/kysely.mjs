import { Kysely, PostgresDialect, sql } from "kysely";
import { jsonArrayFrom, jsonObjectFrom } from "kysely/helpers/postgres";
import pg from "pg";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const db = new Kysely({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: URI, max: 2 }) }),
});
const plain = ({ numUpdatedRows, numDeletedRows }) => String(numUpdatedRows ?? numDeletedRows);

await step("list with a join", () =>
  db
    .selectFrom("tickets")
    .innerJoin("customers", "customers.id", "tickets.customer_id")
    .select(["tickets.id", "tickets.subject", "tickets.note", "customers.email"])
    .where("tickets.status", "=", "open")
    .orderBy("tickets.id")
    .limit(20)
    .execute(),
);
await step("find by e-mail", () =>
  db.selectFrom("customers").selectAll().where("email", "=", EMAIL).executeTakeFirst(),
);
await step("find by e-mail in any case", () =>
  db
    .selectFrom("customers")
    .selectAll()
    .where((eb) => eb(eb.fn("lower", ["email"]), "=", EMAIL))
    .executeTakeFirst(),
);
await step("find by several e-mails", () =>
  db
    .selectFrom("customers")
    .selectAll()
    .where("email", "in", [EMAIL, "customer.8@example.com"])
    .orderBy("id")
    .execute(),
);
await step("find by e-mail or phone", () =>
  db
    .selectFrom("customers")
    .selectAll()
    .where((eb) => eb.or([eb("email", "=", EMAIL), eb("phone", "=", "+1 555 0109")]))
    .orderBy("id")
    .execute(),
);
await step("jsonArrayFrom and jsonObjectFrom", () =>
  db
    .selectFrom("tickets")
    .select((eb) => [
      "tickets.id",
      jsonArrayFrom(
        eb
          .selectFrom("ticket_messages")
          .select(["id", "body"])
          .whereRef("ticket_messages.ticket_id", "=", "tickets.id")
          .orderBy("id"),
      ).as("messages"),
      jsonObjectFrom(
        eb
          .selectFrom("customers")
          .select(["name", "email"])
          .whereRef("customers.id", "=", "tickets.customer_id"),
      ).as("customer"),
    ])
    .where("tickets.id", "in", [5, 6, 7])
    .orderBy("tickets.id")
    .execute(),
);
await step("counts", () =>
  db
    .selectFrom("tickets")
    .select((eb) => ["status", eb.fn.countAll().as("n")])
    .groupBy("status")
    .having((eb) => eb(eb.fn.countAll(), ">", 1))
    .orderBy("status")
    .execute(),
);
await step("with", () =>
  db
    .with("mine", (q) => q.selectFrom("tickets").selectAll().where("assignee", "=", "anna"))
    .selectFrom("mine")
    .select(["id", "note"])
    .orderBy("id")
    .limit(5)
    .execute(),
);
await step("insert returning", () =>
  db.insertInto("tickets").values({ customer_id: 7, subject: "New" }).returning(["id", "status"]).execute(),
);
await step("update", () =>
  db.updateTable("tickets").set({ status: "closed" }).where("id", "=", 7).executeTakeFirst().then(plain),
);
await step("update of all columns", () =>
  db
    .updateTable("tickets")
    .set({ customer_id: 8, subject: "Ticket 7", status: "open" })
    .where("id", "=", 7)
    .executeTakeFirst()
    .then(plain),
);
await step("upsert", () =>
  db
    .insertInto("tickets")
    .values({ id: 7, customer_id: 8, subject: "Ticket 7", status: "closed" })
    .onConflict((oc) => oc.column("id").doUpdateSet((eb) => ({ status: eb.ref("excluded.status") })))
    .returning("id")
    .execute(),
);
await step("transaction rolled back", async () => {
  await db
    .transaction()
    .execute(async (tx) => {
      await tx.deleteFrom("ticket_messages").where("ticket_id", "=", 7).execute();
      throw new Error("back");
    })
    .catch(() => {});
  return db
    .selectFrom("ticket_messages")
    .select((eb) => eb.fn.countAll().as("n"))
    .where("ticket_id", "=", 7)
    .execute();
});
await step("row lock", () =>
  db
    .transaction()
    .execute((tx) => tx.selectFrom("tickets").select("id").where("id", "=", 9).forUpdate().execute()),
);
await step("stream", async () => {
  const ids = await db.selectFrom("tickets").select("id").orderBy("id").limit(90).execute();
  return ids.length;
});
await step("raw", () =>
  sql`SELECT id, phone FROM customers WHERE id = ${7}`.execute(db).then(({ rows }) => rows),
);
await step("error", () => sqlstate(() => sql`SELECT 1 / 0`.execute(db)));
await step("introspection", () =>
  db.introspection
    .getTables()
    .then((tables) => tables.map(({ name, columns }) => [name, columns.map((column) => column.name)])),
);
await db.destroy();
