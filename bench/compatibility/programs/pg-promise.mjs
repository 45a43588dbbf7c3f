import pgPromise from "pg-promise";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const pgp = pgPromise();
const db = pgp(URI);

await step("any", () =>
  db.any(
    "SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = $<status> ORDER BY t.id LIMIT 20",
    { status: "open" },
  ),
);
await step("oneOrNone by e-mail", () => db.oneOrNone("SELECT * FROM customers WHERE email = $1", EMAIL));
await step("find by e-mail in any case", () => db.any("SELECT * FROM customers WHERE email ILIKE $1", EMAIL));
await step("find by several e-mails", () =>
  db.any("SELECT * FROM customers WHERE email IN ($1:csv) ORDER BY id", [[EMAIL, "customer.8@example.com"]]),
);
await step("prepared statement", () =>
  db.one(
    new pgp.PreparedStatement({
      name: "one",
      text: "SELECT id, phone FROM customers WHERE id = $1",
      values: [7],
    }),
  ),
);
await step("multi", () =>
  db.multi("SELECT count(*) FROM tickets; SELECT id, email FROM customers WHERE id = 7"),
);
await step("insert by helpers", () =>
  db.many(
    `${pgp.helpers.insert(
      [
        { customer_id: 7, subject: "a" },
        { customer_id: 7, subject: "b" },
      ],
      ["customer_id", "subject"],
      "tickets",
    )} RETURNING id`,
  ),
);
await step("update by helpers", () =>
  db
    .result(`${pgp.helpers.update({ customer_id: 8, status: "closed" }, null, "tickets")} WHERE id = 7`)
    .then(({ rowCount }) => rowCount),
);
await step("task", () =>
  db.task(async (t) => [
    await t.one("SELECT count(*) FROM tickets"),
    await t.one("SELECT email FROM customers WHERE id = 1"),
  ]),
);
await step("transaction with a nested one", () =>
  db.tx(async (t) => {
    await t.none("UPDATE tickets SET status = 'open' WHERE id = 7");
    const code = await sqlstate(() => t.tx((inner) => inner.one("SELECT 1 / 0")));
    return [code, await t.one("SELECT status FROM tickets WHERE id = 7")];
  }),
);
await step("each of many", async () => {
  let sum = 0;
  await db.each("SELECT id FROM tickets ORDER BY id LIMIT 90", [], ({ id }) => {
    sum += Number(id);
  });
  return sum;
});
await step("wrong statement", () => sqlstate(() => db.one("SELEC 1")));
await step("a call of a function", () => db.func("lower", ["ABC"]));
pgp.end();
