import { createHash } from "node:crypto";
import { Client } from "pg";
import { CONSTRAINTS, DEMO_USERS, TABLES } from "./demo-schema.ts";
import { copyIn, copyLine } from "./load-rows.ts";
import { type Amounts, customerAt, messageAt, paymentAt, ticketAt } from "./made-up-people.ts";

/** Called periodically while rows are inserted. */
export type Progress = (table: string, done: number, total: number) => void;

export const DATABASE = "support";

/** What a database is filled with. Of the rows a few of each table stand for all: they are made by the same code. */
const CONTENTS: readonly unknown[] = [
  ...[TABLES, CONSTRAINTS, DEMO_USERS],
  ...Array.from({ length: 20 }, (_, id) => {
    const few: Amounts = { customers: 20, tickets: 20, messages: 20, payments: 20 };
    return [customerAt(id + 1), ticketAt(id + 1, 20), messageAt(id + 1, few), paymentAt(id + 1, 20)];
  }),
];

/** Differs whenever the contents do: a database of an earlier edition is made again. */
export function editionOf(contents = CONTENTS): string {
  return createHash("sha256").update(JSON.stringify(contents)).digest("hex").slice(0, 12);
}

/**
 * Creates the support database with its roles, unless an earlier start has completed it. `server` is the superuser's
 * URI of any database of the server. An interrupted fill starts over.
 */
export async function fill(
  server: string,
  amounts: Amounts,
  progress: Progress,
): Promise<"filled" | "reused"> {
  const marker = `sluice demo, edition ${editionOf()}, ${Object.values(amounts).join("/")}`;
  return withClient(uriOf(server, "postgres"), async (control) => {
    if ((await markerOf(control)) === marker) return "reused";
    await control.query(`DROP DATABASE IF EXISTS ${DATABASE} WITH (FORCE)`);
    await makeRoles(control);
    await control.query(`CREATE DATABASE ${DATABASE}`);
    await withClient(uriOf(server, DATABASE), (client) => fillTables(client, amounts, progress));
    // Last, and on the database itself: a database without the comment is incomplete.
    await control.query(`COMMENT ON DATABASE ${DATABASE} IS '${marker}'`);
    return "filled";
  });
}

/** The same server, another database. */
export function uriOf(server: string, database: string): string {
  const uri = new URL(server);
  uri.pathname = `/${database}`;
  return uri.href;
}

async function markerOf(control: Client): Promise<string | null> {
  const { rows } = await control.query<{ marker: string | null }>(
    "SELECT shobj_description(oid, 'pg_database') AS marker FROM pg_database WHERE datname = $1",
    [DATABASE],
  );
  return rows[0]?.marker ?? null;
}

async function makeRoles(control: Client): Promise<void> {
  const groups = new Set(DEMO_USERS.map((user) => user.group));
  const { rows } = await control.query<{ rolname: string }>("SELECT rolname FROM pg_roles");
  const there = new Set(rows.map((row) => row.rolname));
  for (const group of groups) {
    if (!there.has(group)) await control.query(`CREATE ROLE ${group} NOLOGIN`);
  }
  for (const { name, password, group } of DEMO_USERS) {
    const verb = there.has(name) ? "ALTER" : "CREATE";
    await control.query(`${verb} ROLE ${name} LOGIN PASSWORD ${control.escapeLiteral(password)}`);
    await control.query(`GRANT ${group} TO ${name}`);
  }
}

async function fillTables(client: Client, amounts: Amounts, progress: Progress): Promise<void> {
  // Nothing here must survive a crash: without the marker the database is made again.
  await client.query("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'");
  await client.query(TABLES);
  const { customers } = amounts;
  const rows = async (table: string, total: number, line: (id: number) => string) => {
    await copyIn(
      client,
      table,
      numbered(total, line, (done) => progress(table, done, total)),
    );
    await client.query(`ALTER TABLE ${table} ALTER id RESTART WITH ${total + 1}`);
  };
  await rows("customers", customers, (id) => copyLine(Object.values(customerAt(id))));
  await rows("tickets", amounts.tickets, (id) => copyLine(Object.values(ticketAt(id, customers))));
  await rows("ticket_messages", amounts.messages, (id) => copyLine(Object.values(messageAt(id, amounts))));
  await rows("payments", amounts.payments, (id) => copyLine(Object.values(paymentAt(id, customers))));
  for (const [index, statement] of CONSTRAINTS.entries()) {
    await client.query(statement);
    progress("indexes", index + 1, CONSTRAINTS.length);
  }
}

function* numbered(total: number, line: (id: number) => string, told: (done: number) => void) {
  for (let id = 1; id <= total; id++) {
    yield line(id);
    if (id % 5000 === 0 || id === total) told(id);
  }
}

async function withClient<T>(uri: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: uri });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
