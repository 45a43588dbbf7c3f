import type { Client } from "pg";

/**
 * Runs queries over the system catalogs that all see one moment. The empty search_path keeps what users may
 * have put into other schemas out of their way (Postgres docs, "Schemas", on secure usage patterns). Compiling
 * (jit) such queries takes longer than running them.
 */
export async function inSnapshot<T>(client: Client, work: (client: Client) => Promise<T>): Promise<T> {
  await client.query(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL jit = off",
  );
  try {
    return await work(client);
  } finally {
    // Nothing was written. If this fails the connection is gone, and `work` has failed too.
    await client.query("ROLLBACK").catch(() => undefined);
  }
}
