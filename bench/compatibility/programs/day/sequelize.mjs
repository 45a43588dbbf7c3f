import { AsyncLocalStorage } from "node:async_hooks";
import { col, where as compare, DataTypes, fn, Op, Sequelize } from "sequelize";
import { day, NAMING, sqlstate, URI } from "./day.mjs";

const sequelize = new Sequelize(URI, { dialect: "postgres", logging: false, pool: { max: 2 } });
const { BIGINT, TEXT } = DataTypes;
const options = { timestamps: false };
const id = { type: BIGINT, primaryKey: true, autoIncrement: true };
const Customer = sequelize.define(
  "customer",
  { id, name: TEXT, email: TEXT, phone: TEXT },
  { tableName: "customers", ...options },
);
const Ticket = sequelize.define(
  "ticket",
  { id, customer_id: BIGINT, assignee: TEXT, subject: TEXT, status: TEXT },
  { tableName: "tickets", ...options },
);
const Message = sequelize.define(
  "message",
  { id, ticket_id: BIGINT, customer_id: BIGINT, author: TEXT, body: TEXT },
  { tableName: "ticket_messages", ...options },
);
Ticket.belongsTo(Customer, { foreignKey: "customer_id" });
Ticket.hasMany(Message, { foreignKey: "ticket_id" });

/** What sqlcommenter's package for Sequelize does: every text that is run gets a comment. */
const served = new AsyncLocalStorage();
if (NAMING === "comment") {
  const { run } = sequelize.dialect.Query.prototype;
  sequelize.dialect.Query.prototype.run = function commented(text, ...rest) {
    const person = served.getStore();
    const remark =
      person === undefined || text.includes("/*") ? "" : ` /*user='${encodeURIComponent(person)}'*/`;
    return run.call(this, text.replace(/;$/, "") + remark, ...rest);
  };
}

function as(person, work) {
  if (NAMING === "comment") return served.run(person, () => work({}));
  return sequelize.transaction(async (transaction) => {
    if (NAMING === "setting")
      await sequelize.query("SELECT set_config('app.agent', $1, true)", { bind: [person], transaction });
    if (NAMING === "role") await sequelize.query(`SET LOCAL ROLE "${person}"`, { transaction });
    return work({ transaction });
  });
}

const find = (person, where) => as(person, (inside) => Customer.findAll({ where, order: ["id"], ...inside }));

await day({
  queue: (person, { limit, offset }) =>
    as(person, (inside) =>
      Ticket.findAll({
        where: { assignee: person, status: "open" },
        include: [Customer],
        order: ["id"],
        limit,
        offset,
        ...inside,
      }),
    ),
  find: (person, { email }) => find(person, { email }),
  findAnyCase: (person, { email }) => find(person, compare(fn("lower", col("email")), email.toLowerCase())),
  findSeveral: (person, { emails }) => find(person, { email: { [Op.in]: emails } }),
  findByPhone: (person, { phone }) => find(person, { phone }),
  ticket: (person, { id: key }) =>
    as(person, (inside) =>
      Ticket.findByPk(key, { include: [Customer, Message], order: [[Message, "id", "asc"]], ...inside }),
    ),
  tickets: (person, { ids }) =>
    as(person, (inside) =>
      Ticket.findAll({
        where: { id: ids },
        include: [{ model: Message, separate: true, order: ["id"] }],
        order: ["id"],
        ...inside,
      }),
    ),
  note: (person, { id: key, body }) =>
    as(person, async (inside) => {
      const ticket = await Ticket.findByPk(key, inside);
      await Message.create(
        { ticket_id: key, customer_id: ticket.customer_id, author: "agent", body },
        inside,
      );
      return ticket;
    }),
  close: (person, { id: key }) =>
    as(person, async (inside) => {
      const ticket = await Ticket.findByPk(key, inside);
      return ticket.update({ status: "closed" }, inside);
    }),
  counts: (person) =>
    as(person, (inside) =>
      Ticket.count({ where: { assignee: person }, group: ["status"], ...inside }).then((all) =>
        all.sort((a, b) => (a.status < b.status ? -1 : 1)),
      ),
    ),
  fail: async (person, { id: key }) => {
    let shown;
    const state = await sqlstate(() =>
      as(person, async (inside) => {
        shown = await Customer.findByPk(key, inside);
        await sequelize.query("SELECT 1 / 0", inside);
      }),
    );
    return { state, shown };
  },
  lock: (person, { id: key }) =>
    served.run(person, () =>
      sequelize.transaction(async (transaction) => {
        if (NAMING === "setting")
          await sequelize.query("SELECT set_config('app.agent', $1, true)", { bind: [person], transaction });
        if (NAMING === "role") await sequelize.query(`SET LOCAL ROLE "${person}"`, { transaction });
        return Ticket.findByPk(key, {
          attributes: ["id", "customer_id"],
          lock: transaction.LOCK.UPDATE,
          transaction,
        });
      }),
    ),
});
await sequelize.close();
