import { DataTypes, QueryTypes, Sequelize } from "sequelize";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PASSWORDS } from "../harness/postgres.ts";
import { type Helpdesk, openHelpdesk } from "./helpdesk.ts";

let helpdesk: Helpdesk;
beforeAll(async () => {
  helpdesk = await openHelpdesk("clients sequelize");
});
afterAll(() => helpdesk.close());

async function withModels<Result>(uri: string, act: (models: Models) => Promise<Result>): Promise<Result> {
  const sequelize = new Sequelize(uri, { dialect: "postgres", logging: false, pool: { max: 1 } });
  try {
    return await act(modelsOn(sequelize));
  } finally {
    await sequelize.close();
  }
}

type Models = ReturnType<typeof modelsOn>;

function modelsOn(sequelize: Sequelize) {
  const options = { timestamps: false, underscored: true } as const;
  const key = { type: DataTypes.BIGINT, primaryKey: true } as const;
  const Customer = sequelize.define(
    "customer",
    { id: key, name: DataTypes.TEXT, email: DataTypes.TEXT, country: DataTypes.TEXT },
    { ...options, tableName: "customers" },
  );
  const Ticket = sequelize.define(
    "ticket",
    {
      id: key,
      subject: DataTypes.TEXT,
      body: DataTypes.TEXT,
      status: DataTypes.TEXT,
      region: DataTypes.TEXT,
      createdAt: DataTypes.DATE,
    },
    { ...options, tableName: "tickets" },
  );
  Customer.hasMany(Ticket);
  Ticket.belongsTo(Customer);
  return { sequelize, Customer, Ticket };
}

async function introspect({ sequelize }: Models) {
  const query = sequelize.getQueryInterface();
  return {
    tables: (await query.showAllTables()).map(String).sort(),
    customers: await query.describeTable("customers"),
    indexes: await query.showIndex("tickets"),
    keys: await query.getForeignKeyReferencesForTable("tickets"),
  };
}

test("a role that sees everything gets the same bytes: introspection", async () => {
  const { customers } = await helpdesk.sameBothWays((uri) => withModels(uri, introspect));
  expect(customers.email).toMatchObject({ type: "TEXT", allowNull: false });
});

test("a role that sees everything gets the same bytes: finders, includes, counts, a transaction", async () => {
  const found = await helpdesk.sameBothWays((uri) =>
    withModels(uri, async ({ sequelize, Customer, Ticket }) => {
      const alice = await Customer.findOne({ where: { email: "alice.ng.7@example.com" }, include: Ticket });
      const page = await Customer.findAndCountAll({ where: { country: "DE" }, limit: 5, order: ["id"] });
      const failed = await sequelize
        .transaction(async (transaction) => {
          const values = {
            id: 900001,
            customerId: 7,
            subject: "s",
            body: "b",
            status: "open",
            region: "eu",
            createdAt: 0,
          };
          const ticket = await Ticket.create(values, { transaction });
          await ticket.update({ status: "closed" }, { transaction });
          await Ticket.destroy({ where: { id: 900001 }, transaction });
          throw new Error("back");
        })
        .catch((error: Error) => error.message);
      const raw = await sequelize.query("SELECT :id::int AS id", {
        replacements: { id: 7 },
        type: QueryTypes.SELECT,
      });
      return { alice: alice?.toJSON(), count: page.count, failed, raw };
    }),
  );
  expect(found).toMatchObject({
    alice: { name: "Alice Ng 7", tickets: [{ id: "6" }, { id: "1006" }] },
    failed: "back",
  });
});

test("an agent's introspection tells the same as without Sluice", async () => {
  const direct = await withModels(helpdesk.database.uriFor("anna", PASSWORDS.anna), introspect);
  const guarded = await withModels(helpdesk.uriFor("anna"), introspect);
  expect(direct.customers.email).toMatchObject({ type: "TEXT" });
  expect(guarded).toEqual(direct);
});

test("an agent's finders, includes and updates work on masks", async () => {
  const { alice, changed } = await withModels(helpdesk.uriFor("anna"), async ({ Customer, Ticket }) => {
    const customer = await Customer.findOne({ where: { email: "alice.ng.7@example.com" }, include: Ticket });
    const [count] = await Ticket.update({ status: "pending" }, { where: { id: 6 } });
    return { alice: customer?.toJSON(), changed: count };
  });
  expect(alice).toMatchObject({
    email: "a***@example.com",
    tickets: [
      { id: "6", body: "[redacted]" },
      { id: "1006", body: "[redacted]" },
    ],
  });
  expect(changed).toBe(1);
});
