import { createHash } from "node:crypto";
import { Client, DatabaseError, Query } from "pg";
import { uriFor } from "./demo-schema.ts";
import { customerAt } from "./made-up-people.ts";
import type { Screen } from "./screen.ts";
import { type AtTheDesk, atTheDesk } from "./tour-desk.ts";

/** The addresses for the tour: Sluice, and the server behind it for comparison. */
export interface Places {
  readonly host: string;
  readonly port: number;
  readonly serverPort: number;
  readonly database: string;
}

/** The results of the tour, for tests. */
export interface Findings {
  /** What each user saw of the same customer. */
  readonly seen: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly lookedUp: number;
  /** SQLSTATE with which an agent's attempt to assign other agents' tickets to themselves was refused. */
  readonly assigned: string | undefined;
  /** SQLSTATE of each refused dump. */
  readonly dumps: readonly (string | undefined)[];
  /** Rows that arrived before the dump of a range was stopped. */
  readonly rowsOfDump: number;
  /** SQLSTATE of each attempt to read names without reading rows. */
  readonly sideways: readonly (string | undefined)[];
  /** How many people could be read one by one, and what stopped it. */
  readonly peopleRead: number;
  readonly stoppedBy: string | undefined;
  readonly applicationSame: boolean;
  readonly desk: AtTheDesk;
}

/** The customer whom all users look at. */
const SEEN = 7;
const COLUMNS = ["id", "name", "email", "phone", "country"];

/** Shows in a minute what Sluice does, with real clients through the real proxy. */
export async function tour(places: Places, screen: Screen): Promise<Findings> {
  const anna = await connect(places, "anna");
  const ben = await connect(places, "ben");
  const cleo = await connect(places, "cleo");
  const app = await connect(places, "helpdesk_app");
  try {
    const seen = await sameCustomer(new Map(Object.entries({ anna, cleo, helpdesk_app: app })), screen);
    const lookedUp = await lookUp(anna, screen);
    const assigned = await assign(ben, screen);
    const { dumps, rows } = await dump(ben, screen);
    const sideways = await readSideways(ben, screen);
    const { read, stoppedBy } = await drip(anna, screen);
    const applicationSame = await application(app, places, screen);
    const { host, port, database } = places;
    const desk = await atTheDesk(uriFor("helpdesk_web", host, port, database), screen);
    return {
      seen,
      lookedUp,
      assigned,
      dumps,
      rowsOfDump: rows,
      sideways,
      peopleRead: read,
      stoppedBy,
      applicationSame,
      desk,
    };
  } finally {
    await Promise.allSettled([anna, ben, cleo, app].map((client) => client.end()));
  }
}

async function sameCustomer(clients: ReadonlyMap<string, Client>, screen: Screen) {
  screen.heading("1. The same customer, asked for by an agent, a lead and the application");
  const sql = `SELECT ${COLUMNS.join(", ")} FROM customers WHERE id = ${SEEN}`;
  const seen = new Map<string, Record<string, string>>();
  for (const [user, client] of clients) {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    seen.set(user, textOf(rows[0] ?? {}));
  }
  screen.statement("each", sql);
  const titles = { anna: "anna (agent)", cleo: "cleo (lead)", helpdesk_app: "helpdesk_app (application)" };
  screen.table(
    ["", ...Object.values(titles)],
    COLUMNS.map((column) => [column, ...[...seen.values()].map((row) => row[column] ?? "(null)")]),
  );
  return seen;
}

async function lookUp(agent: Client, screen: Screen): Promise<number> {
  screen.heading("2. A customer calls and says their e-mail address: an agent may search by the exact value");
  const sql = `SELECT ${COLUMNS.join(", ")} FROM customers WHERE email = '${customerAt(SEEN).email}'`;
  screen.statement("anna", sql);
  const { rows } = await agent.query<Record<string, unknown>>(sql);
  showRows(rows, screen);
  return rows.length;
}

/** Agents see the text of their own tickets: an agent who could assign tickets to themselves would see all of them. */
async function assign(agent: Client, screen: Screen): Promise<string | undefined> {
  screen.heading("3. Another agent takes over other agents' tickets, to read what customers wrote");
  await agent.query("BEGIN");
  const sql = "UPDATE tickets SET assignee = 'ben' WHERE id BETWEEN 1 AND 500";
  screen.statement("ben", sql);
  const { error } = await attempt(agent, sql);
  showError(error, screen);
  await agent.query("ROLLBACK");
  screen.quiet("A ticket that nobody has is taken by: SELECT take_ticket(…)");
  return error?.code;
}

async function dump(agent: Client, screen: Screen) {
  screen.heading("4. The agent wants all customers");
  const dumps: (string | undefined)[] = [];
  for (const sql of [
    "COPY customers TO STDOUT",
    "SELECT * FROM customers",
    "SELECT string_agg(name, ', ') FROM customers WHERE id BETWEEN 1 AND 5000",
  ]) {
    screen.statement("ben", sql);
    const { error } = await attempt(agent, sql);
    showError(error, screen);
    dumps.push(error?.code);
  }
  const range = "SELECT * FROM customers WHERE id BETWEEN 1 AND 5000";
  screen.statement("ben", range);
  const { rows, error } = await attempt(agent, range);
  screen.quiet(`${rows} of 5000 rows came`);
  showError(error, screen);
  dumps.push(error?.code);
  return { dumps, rows };
}

/**
 * Each of these would reveal names without a row of any person: as digits of one sum, or letter by letter as numbers in
 * errors.
 */
async function readSideways(agent: Client, screen: Screen): Promise<readonly (string | undefined)[]> {
  screen.heading(
    "5. The agent wants the names without the rows: in the digits of a sum, in errors, in a plan",
  );
  const codes: (string | undefined)[] = [];
  for (const sql of [
    "SELECT sum((lpad(ascii(name)::text, 3, '0') || 'e' || (id * 3)::text)::numeric) FROM customers WHERE id BETWEEN 1 AND 1000",
    "SELECT get_bit(decode('00', 'hex'), 100 + ascii(name)) FROM customers WHERE id = 8 AND name > ''",
    "EXPLAIN ANALYZE SELECT 1 FROM customers WHERE id BETWEEN 1 AND 50 AND name LIKE 'A%'",
  ]) {
    screen.statement("ben", sql);
    const { error } = await attempt(agent, sql);
    showError(error, screen);
    codes.push(error?.code);
  }
  return codes;
}

async function drip(agent: Client, screen: Screen) {
  screen.heading("6. An agent takes them one by one");
  screen.statement("anna", "SELECT name, phone FROM customers WHERE id = …");
  let read = 0;
  for (let id = 1001; id <= 1200; id++) {
    const { rows, error } = await attempt(agent, `SELECT name, phone FROM customers WHERE id = ${id}`);
    if (error) {
      screen.progress(`  ${read} more people read, then:`, "done");
      showError(error, screen);
      await stillReadable(agent, screen);
      return { read, stoppedBy: error.code };
    }
    read += rows;
    screen.progress(`  ${read} more people read`, "running");
  }
  screen.progress(`  ${read} more people read, and nothing stopped it`, "done");
  return { read, stoppedBy: undefined };
}

/** The agent can continue to work with customers who are already counted. */
async function stillReadable(agent: Client, screen: Screen): Promise<void> {
  const sql = `SELECT name FROM customers WHERE id = ${SEEN}`;
  screen.statement("anna", sql);
  const { rows, error } = await attempt(agent, sql);
  if (error) screen.bad(`ERROR ${error.code}: ${error.message}`);
  else screen.good(`${rows} row: people who are counted already may be read again by their id`);
}

async function application(app: Client, places: Places, screen: Screen): Promise<boolean> {
  screen.heading("7. The application notices nothing");
  const sql = "SELECT * FROM customers ORDER BY id";
  screen.statement("helpdesk_app", sql);
  const direct = await connect({ ...places, port: places.serverPort }, "helpdesk_app");
  try {
    const without = await readAll(direct, sql);
    const through = await readAll(app, sql);
    const same = without.hash === through.hash;
    const times = `${without.milliseconds} ms directly, ${through.milliseconds} ms through Sluice`;
    if (same) screen.good(`the same ${through.rows} rows, value for value: ${times}`);
    else screen.bad(`not the same: ${without.rows} rows directly, ${through.rows} through Sluice`);
    await transaction(app, screen);
    return same;
  } finally {
    await direct.end();
  }
}

async function transaction(app: Client, screen: Screen): Promise<void> {
  const statements = [
    "BEGIN",
    "INSERT INTO tickets (customer_id, subject, body, region) VALUES (7, 'a test', 'of writing', 'eu')",
    "UPDATE customers SET phone = '+1 200 555 0100' WHERE id = 7",
    "ROLLBACK",
  ];
  for (const sql of statements) await app.query(sql);
  screen.good("and a transaction that inserts, updates and rolls back went as always");
}

async function readAll(client: Client, sql: string) {
  const start = performance.now();
  const { rows } = await client.query<unknown[]>({ text: sql, rowMode: "array" });
  const milliseconds = Math.round(performance.now() - start);
  const hash = createHash("sha256");
  for (const row of rows) hash.update(JSON.stringify(row));
  return { rows: rows.length, milliseconds, hash: hash.digest("hex") };
}

/** Sends a statement that may be refused: returns the rows that arrived, and the error if there was one. */
function attempt(client: Client, sql: string): Promise<{ rows: number; error?: DatabaseError }> {
  return new Promise((resolve, reject) => {
    let rows = 0;
    const query = client.query(new Query(sql));
    query.on("row", () => {
      rows += 1;
    });
    query.on("end", () => resolve({ rows }));
    query.on("error", (error) => (error instanceof DatabaseError ? resolve({ rows, error }) : reject(error)));
  });
}

async function connect(places: Places, user: string): Promise<Client> {
  const uri = uriFor(user, places.host, places.port, places.database);
  const client = new Client({ connectionString: uri, application_name: "sluice tour" });
  // A connection that is lost later fails its waiting query; without a listener the error would end the process.
  client.on("error", () => {});
  await client.connect();
  return client;
}

function showRows(rows: readonly Record<string, unknown>[], screen: Screen): void {
  const first = rows[0];
  if (!first) {
    screen.bad("no row");
    return;
  }
  screen.table(
    Object.keys(first),
    rows.map((row) => Object.values(textOf(row))),
  );
}

function showError(error: DatabaseError | undefined, screen: Screen): void {
  if (!error) {
    screen.bad("went through");
    return;
  }
  screen.good(`ERROR ${error.code}: ${error.message}`);
  if (error.detail) screen.quiet(`DETAIL: ${error.detail}`);
  if (error.hint) screen.quiet(`HINT: ${error.hint}`);
}

function textOf(row: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [column, value === null ? "(null)" : String(value)]),
  );
}
