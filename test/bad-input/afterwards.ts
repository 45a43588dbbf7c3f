import pg from "pg";
import { expect } from "vitest";
import { PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import type { TestSluice } from "../harness/sluice.ts";
import { RawClient } from "./raw-client.ts";

/** Whatever was done to it: no session is left over, here or at the server, and a new client is served. */
export async function servesAsBefore(sluice: TestSluice, database: TestDatabase): Promise<void> {
  RawClient.destroyAll();
  const leftOver = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND usename = ANY($2)";
  const backends = () => database.query(leftOver, [database.database, Object.keys(PASSWORDS)]);
  await expect.poll(() => sluice.sessions()).toBe(0);
  await expect.poll(() => sluice.metric("sluice_client_connections")).toBe(0);
  await expect.poll(async () => (await backends()).rowCount).toBe(0);
  for (const user of ["anna", "helpdesk_app"] as const) {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    await client.connect();
    try {
      const { rows } = await client.query("SELECT name FROM customers WHERE id = $1", [7]);
      expect(rows).toEqual([{ name: "Alice Ng 7" }]);
    } finally {
      await client.end();
    }
  }
}
