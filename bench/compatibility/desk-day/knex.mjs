import knex from "knex";
import { day, URI } from "./plan.mjs";

const db = knex({ client: "pg", connection: URI, pool: { min: 0, max: 2 } });
await day((person, from, to) =>
  db.transaction(async (trx) => {
    await trx.raw("select set_config('app.agent', ?, true)", [person]);
    return (await trx("customers").select("id").whereBetween("id", [from, to])).map(({ id }) => id);
  }),
);
await db.destroy();
