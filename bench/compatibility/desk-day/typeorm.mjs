import "reflect-metadata";
import { Between, DataSource, EntitySchema } from "typeorm";
import { day, URI } from "./plan.mjs";

const Customer = new EntitySchema({
  name: "customers",
  columns: { id: { type: "bigint", primary: true }, name: { type: "text" } },
});
const source = new DataSource({
  type: "postgres",
  url: URI,
  entities: [Customer],
  synchronize: false,
  poolSize: 2,
  installExtensions: false,
});
await source.initialize();
await day((person, from, to) =>
  source.transaction(async (manager) => {
    await manager.query("select set_config('app.agent', $1, true)", [person]);
    return (await manager.find(Customer, { where: { id: Between(from, to) } })).map(({ id }) => id);
  }),
);
await source.destroy();
