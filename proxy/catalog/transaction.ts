import pg, { type Client } from "pg";

/**
 * Runs queries over the system catalogs that all see one moment. The empty search_path keeps what users may
 * have put into other schemas out of their way (Postgres docs, "Schemas", on secure usage patterns). Compiling
 * (jit) such queries takes longer than running them.
 */
export async function inSnapshot<T>(client: Client, work: (client: Client) => Promise<T>): Promise<T> {
  await client.query(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL jit = off",
  );
  const result = await work(client).catch(async (error: unknown) => {
    // After an error that is not the server's the connection is of no use, and would not answer.
    if (error instanceof pg.DatabaseError) await client.query("ROLLBACK");
    throw error;
  });
  // Nothing was written.
  await client.query("ROLLBACK");
  return result;
}
