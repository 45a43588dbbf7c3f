import { between, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { bigint, pgTable } from "drizzle-orm/pg-core";
import pg from "pg";
import { day, URI } from "./plan.mjs";

const customers = pgTable("customers", { id: bigint({ mode: "number" }).primaryKey() });
const pool = new pg.Pool({ connectionString: URI, max: 2 });
const db = drizzle(pool);
await day((person, from, to) =>
  db.transaction(async (tx) => {
    await tx.execute(sql`select set_config('app.agent', ${person}, true)`);
    return (
      await tx
        .select()
        .from(customers)
        .where(between(customers.id, from, to))
    ).map(({ id }) => id);
  }),
);
await pool.end();
