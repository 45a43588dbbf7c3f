import pg from "pg";
import { controlConnection } from "../app/control.ts";
import type { Database } from "../audit/people-table.ts";
import { parseUpstream } from "../wire/upstream-uri.ts";
import { misused, type Wrong } from "./command.ts";

/** Has `work` ask a database, in one transaction that writes nothing. */
export async function withDatabase<T>(
  uri: string,
  work: (database: Database, client: pg.Client) => Promise<T>,
): Promise<T | Wrong> {
  const target = parseUpstream(uri, process.env);
  if (!target.ok) return misused(`--upstream: ${target.problem}`);
  const { database } = target.upstream;
  const client = new pg.Client({
    ...controlConnection(target.upstream),
    ...(database === undefined ? {} : { database }),
    application_name: "sluice audit",
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    return await work({ query: (text, values) => client.query(text, values && [...values]) }, client);
  } finally {
    await client.end().catch(() => {});
  }
}
