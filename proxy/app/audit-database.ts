import pg from "pg";
import type { Database } from "../audit/people-table.ts";
import { WrongQuestion } from "../audit/question-words.ts";
import { parseUpstream } from "../wire/upstream-uri.ts";
import { controlConnection } from "./control.ts";

/** Has `work` ask a database, in one transaction that writes nothing. */
export async function withDatabase<T>(
  uri: string,
  work: (database: Database) => Promise<T>,
  /** Milliseconds that each of its statements may take; left out: however long it takes. */
  patience?: number,
): Promise<T> {
  const target = parseUpstream(uri, process.env);
  if (!target.ok) throw new WrongQuestion(`--upstream: ${target.problem}`);
  const { database } = target.upstream;
  const client = new pg.Client({
    ...controlConnection(target.upstream),
    ...(database === undefined ? {} : { database }),
    application_name: "sluice audit",
  });
  client.on("error", () => {});
  try {
    await client.connect();
    if (patience !== undefined) await client.query(`SET statement_timeout = ${patience}`);
    await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    return await work({ query: (text, values) => client.query(text, values && [...values]) });
  } finally {
    await client.end().catch(() => {});
  }
}
