import { col, DataTypes, fn, Op, Sequelize, where } from "sequelize";
import { EMAIL, sqlstate, step, URI } from "./steps.mjs";

const sequelize = new Sequelize(URI, { dialect: "postgres", logging: false, pool: { max: 2 } });
const options = { timestamps: false, underscored: true };
const key = { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true, autoIncrementIdentity: true };
const Customer = sequelize.define(
  "customer",
  { id: key, name: DataTypes.TEXT, email: DataTypes.TEXT, phone: DataTypes.TEXT, country: DataTypes.TEXT },
  { ...options, tableName: "customers" },
);
const Ticket = sequelize.define(
  "ticket",
  {
    id: key,
    assignee: DataTypes.TEXT,
    subject: DataTypes.TEXT,
    note: DataTypes.TEXT,
    status: { type: DataTypes.TEXT, defaultValue: "open" },
  },
  { ...options, tableName: "tickets" },
);
const Message = sequelize.define(
  "message",
  { id: key, author: DataTypes.TEXT, body: DataTypes.TEXT },
  { ...options, tableName: "ticket_messages" },
);
Customer.hasMany(Ticket);
Ticket.belongsTo(Customer);
Ticket.hasMany(Message);
Message.belongsTo(Ticket);

await step("authenticate", () => sequelize.authenticate().then(() => true));
await step("findAll with include", () =>
  Ticket.findAll({ where: { status: "open" }, include: Customer, order: ["id"], limit: 20 }),
);
await step("findOne by e-mail, deep include", () =>
  Customer.findOne({
    where: { email: EMAIL },
    include: { model: Ticket, include: Message },
    order: [
      [Ticket, "id"],
      [Ticket, Message, "id"],
    ],
  }),
);
await step("lower(email)", () => Customer.findAll({ where: where(fn("lower", col("email")), EMAIL) }));
await step("iLike", () => Customer.findAll({ where: { email: { [Op.iLike]: EMAIL } } }));
await step("in and or", () =>
  Customer.findAll({
    where: { [Op.or]: [{ email: [EMAIL, "customer.8@example.com"] }, { phone: "+1 555 0109" }] },
    order: ["id"],
  }),
);
await step("separate include", () =>
  Ticket.findAll({
    where: { id: [5, 6, 7] },
    include: { model: Message, separate: true, order: ["id"] },
    order: ["id"],
  }),
);
await step("findAndCountAll", () =>
  Ticket.findAndCountAll({ where: { status: "open" }, limit: 5, order: ["id"] }),
);
await step("count by group", () =>
  Ticket.count({ group: ["status"] }).then((rows) =>
    rows.toSorted((a, b) => a.status.localeCompare(b.status)),
  ),
);
await step("create", () =>
  Ticket.create({ customerId: 7, subject: "New" }).then(({ id, status }) => [id, status]),
);
await step("save", async () => {
  const ticket = await Ticket.findByPk(7);
  return (await ticket.update({ status: "closed" })).status;
});
await step("save of all fields", async () => {
  const ticket = await Ticket.findByPk(7, { attributes: ["id", "customerId", "subject", "status"] });
  ticket.status = "pending";
  return (await ticket.save({ fields: ["customerId", "subject", "status"] })).status;
});
await step("update", () => Ticket.update({ status: "open" }, { where: { id: 8 } }));
await step("upsert", () =>
  Ticket.upsert(
    { id: 7, customerId: 8, subject: "Ticket 7", status: "open" },
    { returning: ["id"], fields: ["status"] },
  ).then(([{ id }]) => id),
);
await step("bulkCreate", () =>
  Message.bulkCreate([1, 2, 3].map((n) => ({ ticketId: 7, author: "agent", body: `b${n}` }))).then(
    (rows) => rows.length,
  ),
);
await step("findOrCreate", () =>
  Ticket.findOrCreate({ where: { customerId: 7, subject: "Found" }, defaults: { status: "open" } }).then(
    ([{ status }, isNew]) => [status, isNew],
  ),
);
await step("transaction", () =>
  sequelize.transaction(async (transaction) => {
    await Ticket.update({ status: "pending" }, { where: { id: 7 }, transaction });
    return Ticket.findByPk(7, { transaction, lock: true }).then(({ status }) => status);
  }),
);
await step("destroy", () => Message.destroy({ where: { ticketId: 7, author: "agent" } }));
await step("error", () => sqlstate(() => sequelize.query("SELECT 1 / 0")));
await step("introspection", async () => [
  await sequelize.getQueryInterface().describeTable("customers"),
  (await sequelize.getQueryInterface().showAllTables()).length,
]);
await sequelize.close();
