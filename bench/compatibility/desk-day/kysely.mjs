import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { day, URI } from "./plan.mjs";

const db = new Kysely({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: URI, max: 2 }) }),
});
await day((person, from, to) =>
  db.transaction().execute(async (tx) => {
    await sql`select set_config('app.agent', ${person}, true)`.execute(tx);
    const page = tx.selectFrom("customers").select("id").where("id", ">=", from).where("id", "<=", to);
    return (await page.execute()).map(({ id }) => id);
  }),
);
await db.destroy();
