import pg, { type Client } from "pg";

/**
 * Runs queries over the system catalogs that all see the same moment. The empty search_path excludes objects that users
 * may have put into other schemas (Postgres docs, "Schemas", on secure usage patterns). JIT is off because compiling
 * such queries takes longer than running them.
 */
export async function inSnapshot<T>(client: Client, work: (client: Client) => Promise<T>): Promise<T> {
  await client.query(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL jit = off",
  );
  const result = await work(client).catch(async (error: unknown) => {
    // After an error that is not the server's, the connection is unusable and would not answer.
    if (error instanceof pg.DatabaseError) await client.query("ROLLBACK");
    throw error;
  });
  // Nothing was written, so a rollback is enough.
  await client.query("ROLLBACK");
  return result;
}
