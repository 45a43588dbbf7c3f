import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { executeMessage, parseMessage, syncMessage } from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { bindTexts, codeIn, query, type Raw, rowsIn } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { watchedApp } from "./watched-app.ts";

/*
 * Rows that a watched role takes from their people where a statement does not say so: through a view that nobody has looked at, by
 * a column from which the key is computed, under a name that means another table now, or by a key that another row had while its
 * reader was shown it.
 */

const POLICY = `
version: 1
classes: { text: { mask: redact }, card: { mask: redact, cost: 5 } }
tables:
  public.clients: { subject: id, columns: { email: text } }
  public.visits: { subject: client, columns: { said: text } }
  public.made_of: { subject: client, columns: { said: text } }
  public.base: { subject: client, columns: { said: text } }
  public.coded: { subject: client, columns: { said: text } }
  public.shelves: { subject: client, columns: { said: text } }
  public.cards: { subject: client, columns: { number: card } }
  public.orders: { subject: client }
  public.notes: { subject: order_id -> public.orders.client, columns: { said: text } }
${watchedApp("{ 1h: 50, 1m: 50 }")}    unnamed: { budget: { 1h: 100000 } }
`;

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE regions (code text PRIMARY KEY);
    INSERT INTO regions VALUES ('eu');
    CREATE TABLE clients (id int PRIMARY KEY, region text DEFAULT 'eu' REFERENCES regions ON DELETE CASCADE, email text);
    INSERT INTO clients (id, email) SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 300) i;
    CREATE TABLE visits (id int PRIMARY KEY, client int REFERENCES clients ON DELETE SET NULL, said text);
    INSERT INTO visits SELECT i, i, 'visit ' || i FROM generate_series(1, 300) i;
    CREATE TABLE made_of (id int PRIMARY KEY, data jsonb, client int GENERATED ALWAYS AS ((data->>'client')::int) STORED, said text);
    INSERT INTO made_of (id, data, said) SELECT i, jsonb_build_object('client', i), 'row ' || i FROM generate_series(1, 300) i;
    CREATE TABLE base (id int PRIMARY KEY, client int, said text);
    CREATE TABLE child (PRIMARY KEY (id)) INHERITS (base);
    INSERT INTO child SELECT i, i, 'child ' || i FROM generate_series(1, 300) i;
    CREATE TABLE coded (code text PRIMARY KEY, client int, said text);
    INSERT INTO coded SELECT chr(i), i, 'coded ' || i FROM generate_series(200, 250) i;
    CREATE TABLE orders (id int PRIMARY KEY, client int);
    INSERT INTO orders SELECT i, i FROM generate_series(1, 300) i;
    CREATE TABLE notes (order_id int, said text);
    INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 300) i;
    CREATE TABLE shelves (id int, place text, client int, said text) PARTITION BY LIST (place);
    CREATE TABLE shelf_a PARTITION OF shelves FOR VALUES IN ('a');
    CREATE TABLE shelf_b PARTITION OF shelves FOR VALUES IN ('b');
    CREATE UNIQUE INDEX ON shelf_a (id);
    CREATE UNIQUE INDEX ON shelf_b (id);
    INSERT INTO shelves SELECT i, 'b', i, 'shelf ' || i FROM generate_series(1, 300) i;
    CREATE TABLE cards (id int PRIMARY KEY, client int, number text, note text);
    INSERT INTO cards SELECT i, i, 'n' || i FROM generate_series(1, 300) i;
    CREATE TABLE calm (b text);
    CREATE TABLE plain (id int, b int);
    INSERT INTO plain SELECT i, i FROM generate_series(1, 300) i;
    CREATE SCHEMA made;
    CREATE VIEW made.twice AS SELECT id, client AS a, client AS b FROM visits;
    CREATE VIEW made.computed AS SELECT id + 0 AS i FROM clients;
    CREATE VIEW made.renamed AS SELECT id AS i, client AS c FROM visits;
    CREATE VIEW made.path AS SELECT set_config('search_path', 'made', false);
    CREATE VIEW made.plain AS SELECT id, client AS b FROM public.visits;
    CREATE VIEW made.mails AS SELECT id, email AS b FROM clients;
    CREATE VIEW made.calm AS SELECT email AS b FROM public.clients;
    ALTER VIEW made.mails OWNER TO helpdesk_app;
    CREATE TABLE made.own (id int, b int);
    CREATE VIEW made.replaced AS SELECT id, b FROM made.own;
    ALTER SCHEMA made OWNER TO helpdesk_app;
    ALTER VIEW made.replaced OWNER TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA public, made TO helpdesk_app;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

let readers = 0;

interface Charged {
  readonly named: number;
  /** Whoever was not named. */
  readonly unnamed: number;
}

/** Each has a budget of their own. */
async function asReader(work: (raw: Raw) => Promise<void>): Promise<Charged> {
  const name = `reader-${readers++}`;
  const before = sluice.chargedTo("helpdesk_app");
  const raw = await sluice.raw("helpdesk_app");
  await raw.ask(query(`SET app.agent = '${name}'`));
  await work(raw);
  await raw.ask(query("ROLLBACK"));
  const over = logouts() + 1;
  raw.socket.end();
  await expect.poll(logouts).toBe(over);
  return { named: sluice.chargedTo(name), unnamed: sluice.chargedTo("helpdesk_app") - before };
}

const logouts = () => sluice.events.filter(({ kind }) => kind === "logout").length;

const BUDGET = 50;
const IDS = Array.from({ length: 60 }, (_, i) => i + 2);
const each = (...statements: readonly string[]) =>
  IDS.flatMap((id) => statements.map((sql) => sql.replaceAll("$", `${id}`)));

const TAKE = each("UPDATE visits SET client = 1 WHERE id = $");
const TAKEN = "SELECT said FROM visits WHERE client = 1";

/** What is done, the last statement being what is read then. */
const THEFTS: Readonly<Record<string, readonly string[]>> = {
  "a new row is shown under a key, and rolled back": [
    ...["BEGIN", "DELETE FROM visits", "INSERT INTO visits SELECT g, 1, '' FROM generate_series(1, 300) g"],
    ...each("SELECT * FROM visits WHERE id = $"),
    ...["ROLLBACK", "BEGIN", ...TAKE, TAKEN],
  ],
  "to a savepoint": [
    ...["BEGIN", "SAVEPOINT a", "DELETE FROM visits WHERE id < 100"],
    ...each("INSERT INTO made.renamed VALUES ($, 1)", "SELECT * FROM visits WHERE id = $"),
    ...["ROLLBACK TO a", ...TAKE, TAKEN],
  ],
  "by an error": [
    ...each(
      "DELETE FROM visits WHERE id = $; INSERT INTO visits VALUES ($, 1, ''); SELECT * FROM visits WHERE id = $; SELECT 1/0",
    ),
    ...["BEGIN", ...TAKE, TAKEN],
  ],
  "by a chain": [
    ...["BEGIN", "ROLLBACK AND CHAIN"],
    ...each(
      "DELETE FROM visits WHERE id = $",
      "INSERT INTO visits VALUES ($, 1, '')",
      "SELECT * FROM visits WHERE id = $",
      "ROLLBACK AND CHAIN",
    ),
    ...[...TAKE, TAKEN],
  ],
  "a row that was shown moves, and is rolled back": [
    "SELECT * FROM visits WHERE id = 1",
    ...each(
      "BEGIN",
      "DELETE FROM visits WHERE id = $",
      "UPDATE visits SET id = $ WHERE id = 1",
      "SELECT * FROM visits WHERE id = $",
      "ROLLBACK",
    ),
    ...["BEGIN", ...TAKE, TAKEN],
  ],
  "a prepared statement makes it": [
    ...["PREPARE i(int) AS INSERT INTO visits VALUES ($1, 1, '')", "BEGIN"],
    ...each("DELETE FROM visits WHERE id = $", "EXECUTE i($)", "SELECT * FROM visits WHERE id = $"),
    ...["ROLLBACK", "BEGIN", ...TAKE, TAKEN],
  ],
  "the key is computed": [
    ...["BEGIN", ...each(`UPDATE made_of SET data = '{"client": 1}' WHERE id = $`)],
    "SELECT said FROM made_of WHERE client = 1",
  ],
  "of one row with such a key ONLY is shown": [
    ...["BEGIN", "INSERT INTO base SELECT g, 1, '' FROM generate_series(1, 300) g"],
    ...each("SELECT * FROM ONLY base WHERE id = $", "UPDATE base SET client = 1 WHERE id = $"),
    "SELECT said FROM base WHERE client = 1 AND said <> ''",
  ],
  "a row comes to the partition where one had such a key": [
    ...each(
      "INSERT INTO shelves VALUES ($, 'a', 1, '')",
      "SELECT * FROM shelf_a WHERE id = $",
      "DELETE FROM shelf_a WHERE id = $",
    ),
    ...each("UPDATE shelves SET place = 'a' WHERE id = $"),
    ...["BEGIN", ...each("UPDATE shelf_a SET client = 1 WHERE id = $")],
    "SELECT said FROM shelf_a WHERE client = 1",
  ],
  "a view shows the key twice": ["BEGIN", ...each("UPDATE made.twice SET b = 1 WHERE id = $"), TAKEN],
  "a view shows no column as it is": [
    ...["BEGIN", ...each("DELETE FROM made.computed WHERE i = $")],
    "SELECT said FROM visits WHERE client IS NULL",
  ],
  "a view of this transaction": [
    ...["BEGIN", "CREATE VIEW made.v AS SELECT id, client AS b FROM visits"],
    ...["UPDATE made.v SET b = 1 WHERE id < 100", "COMMIT", TAKEN],
  ],
  "a view that is another one in this transaction": [
    ...["BEGIN", "CREATE OR REPLACE VIEW made.replaced AS SELECT id, client AS b FROM visits"],
    ...["UPDATE made.replaced SET b = 1 WHERE id < 100", "COMMIT", TAKEN],
  ],
  "a prepared statement of such a view": [
    ...["BEGIN", "CREATE VIEW made.w AS SELECT id, client AS b FROM visits"],
    ...["PREPARE p AS UPDATE made.w SET b = 1 WHERE id < 100", "COMMIT", "EXECUTE p", TAKEN],
  ],
  "a name with a dot": [
    ...[
      "BEGIN",
      'CREATE TEMP TABLE "made.x" (id int)',
      "CREATE VIEW made.x AS SELECT id, client AS b FROM visits",
    ],
    ...["UPDATE made.x SET b = 1 WHERE id < 100", "COMMIT", TAKEN],
  ],
  "a temporary view": [
    ...["CREATE TEMP VIEW t AS SELECT id, client AS b FROM visits", "BEGIN"],
    ...["UPDATE t SET b = 1 WHERE id < 100", TAKEN],
  ],
  "a temporary view that is emptied": [
    ...["CREATE TEMP VIEW t AS SELECT id FROM clients", "BEGIN"],
    ...["DELETE FROM t WHERE id < 100", "SELECT said FROM visits WHERE client IS NULL"],
  ],
  "a temporary view that hides a table": [
    ...["CREATE TEMP VIEW plain AS SELECT id, client AS b FROM visits", "BEGIN"],
    ...["UPDATE plain SET b = 1 WHERE id < 100", TAKEN],
  ],
  "a search_path within the text": [
    ...["BEGIN", "SET LOCAL search_path = made; UPDATE plain SET b = 1 WHERE id < 100"],
    "SELECT said FROM public.visits WHERE client = 1",
  ],
  "a search_path by a function": [
    ...["BEGIN", "SELECT set_config('search_path', 'made', true); UPDATE plain SET b = 1 WHERE id < 100"],
    "SELECT said FROM public.visits WHERE client = 1",
  ],
  "a search_path by a view": ["SELECT FROM made.path WHERE set_config IS NULL; SELECT b FROM plain"],
  "a text in another encoding": [
    ...["BEGIN", "SET LOCAL client_encoding = latin1", "DELETE FROM regions /* é */"],
    "SELECT said FROM visits WHERE client IS NULL",
  ],
  "a TRUNCATE in another encoding": [
    ...["BEGIN", "SET LOCAL client_encoding = latin1", "TRUNCATE orders /* é */"],
    ...["INSERT INTO orders SELECT g, 1 FROM generate_series(1, 300) g", "SELECT said FROM notes"],
  ],
};

const GATHERED = "string_agg(email, ',')";

/** What shows addresses of 300 people, by a name that means a column of one person, or of nobody, when it is judged. */
const READS: Readonly<Record<string, readonly string[]>> = {
  "a temporary view hides a table": [
    ...[`CREATE TEMP VIEW visits AS SELECT ${GATHERED} AS said FROM clients`, "SELECT said FROM visits"],
  ],
  "also by a cursor": [
    `CREATE TEMP VIEW visits AS SELECT 1 AS id, ${GATHERED} AS said FROM clients`,
    ...["BEGIN", "DECLARE c CURSOR FOR SELECT said FROM visits WHERE id = 1", "FETCH c"],
  ],
  "a view is another one in this transaction": [
    ...["BEGIN", `CREATE OR REPLACE VIEW made.mails AS SELECT 1 AS id, ${GATHERED} AS b FROM clients`],
    "SELECT b FROM made.mails",
  ],
  "what was prepared runs": [
    ...["PREPARE p AS SELECT b FROM made.mails WHERE id = 1", "BEGIN"],
    `CREATE OR REPLACE VIEW made.mails AS SELECT 1 AS id, ${GATHERED} AS b FROM clients`,
    "EXECUTE p",
  ],
  "a rollback within the text moves search_path": [
    ...["SET search_path = made", "BEGIN", "SET search_path = public", "ROLLBACK; SELECT b FROM calm"],
  ],
  "a commit does": [
    ...["SET search_path = made", "BEGIN", "SET LOCAL search_path = public", "COMMIT; SELECT b FROM calm"],
  ],
  "a savepoint does": [
    ...["SET search_path = made", "BEGIN", "SAVEPOINT a", "SET LOCAL search_path = public"],
    "ROLLBACK TO a; SELECT b FROM calm",
  ],
  "a rollback brings a temporary view back": [
    ...["CREATE TEMP VIEW plain AS SELECT email AS b FROM clients", "BEGIN", "DROP VIEW pg_temp.plain"],
    "ROLLBACK; SELECT b FROM plain",
  ],
};

describe("whoever takes rows from their people by another name is charged as if they had been read", () => {
  test.each(Object.entries(THEFTS))("%s", async (_name, statements) => {
    let shown = 0;
    const { named, unnamed } = await asReader(async (raw) => {
      for (const sql of statements) shown = rowsIn(await raw.ask(query(sql)));
    });
    expect(named + unnamed).toBeGreaterThanOrEqual(shown);
    // Events count a person each time; the budget, with person 1, does not.
    expect(shown).toBeLessThanOrEqual(Math.max(BUDGET + 1, unnamed));
  });

  test.each(Object.entries(READS))("%s", async (_name, statements) => {
    let shown = 0;
    const { named, unnamed } = await asReader(async (raw) => {
      for (const sql of statements) {
        raw.send(query(sql));
        // A budget may end the connection.
        const answer = await raw.until("Z").catch(() => []);
        shown = answer.reduce(
          (sum, { bytes }) => sum + bytes.toString("latin1").split("@example").length - 1,
          0,
        );
        if (answer.length === 0) break;
      }
    });
    expect(Math.max(BUDGET, named + unnamed) * 3).toBeGreaterThanOrEqual(shown);
  });

  const byCode = (sql: string, code: string) => [
    parseMessage("", Buffer.from(sql)),
    bindTexts("", [code]),
    executeMessage("", 0),
    syncMessage,
  ];

  test("what a parameter means depends on the encoding", async () => {
    // As the server has it; in Latin 1 the same bytes are two characters.
    const code = "\u00f0";
    sluice.statements();
    await asReader(async (raw) => {
      await raw.ask(query(`INSERT INTO coded VALUES (U&'\\00C3\\00B0', 1, '')`));
      await raw.ask(query("SET client_encoding = latin1"));
      expect(rowsIn(await raw.ask(...byCode("SELECT * FROM coded WHERE code = $1", code)))).toBe(1);
      await raw.ask(query("SET client_encoding = utf8"));
      await raw.ask(...byCode("UPDATE coded SET client = 1 WHERE code = $1", code));
    });
    const updates = sluice.statements().filter(({ command }) => command === "UPDATE");
    expect(updates.map(({ people }) => people)).toEqual([1]);
  });
});

describe("values whose class costs five cost that also where they are stored, or their rows are taken", () => {
  test.each([
    ["INSERT INTO calm SELECT number FROM cards WHERE id = $"],
    ["SELECT id FROM cards WHERE id = $", "UPDATE cards SET note = number WHERE id = $"],
    ["UPDATE cards SET client = 1 WHERE id = $"],
  ])("%s", async (...statements) => {
    let stored = 0;
    await asReader(async (raw) => {
      for (const sql of each(...statements)) {
        const answer = await raw.ask(query(sql));
        if (!sql.startsWith("SELECT") && codeIn(answer) === undefined) stored++;
      }
    });
    expect(stored).toBeGreaterThan(0);
    expect(stored).toBeLessThanOrEqual(BUDGET / 5);
  });

  test("a row that was shown with its card is free to save", async () => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("SELECT * FROM cards WHERE id = 290"));
      await raw.ask(query("UPDATE cards SET client = 290, number = 'x' WHERE id = 290"));
    });
    expect(charged.named).toBe(1);
  });
});

test("a row that was shown is free for as long as its person is counted", async () => {
  const brief = await startProxy(world.database, { policy: POLICY.replace("1m: 50", "1s: 50") });
  const raw = await brief.raw("helpdesk_app");
  await raw.ask(query("SET app.agent = 'brief'"));
  await raw.ask(query("SELECT * FROM visits WHERE id = 250"));
  const saved = async () => {
    await raw.ask(query("UPDATE visits SET client = 250 WHERE id = 250"));
    await expect.poll(() => brief.statements().at(-1)?.command).toBe("UPDATE");
    return brief.chargedTo("brief");
  };
  expect(await saved()).toBe(1);
  await expect.poll(saved, { timeout: 10_000 }).toBeGreaterThan(1);
  raw.socket.end();
  await brief.close();
});

test("the log has no text whose strings may end elsewhere", async () => {
  await asReader(async (raw) => {
    await raw.ask(query("BEGIN"));
    await raw.ask(query("SET LOCAL standard_conforming_strings = off"));
    sluice.statements();
    await raw.ask(query("UPDATE visits SET said = 'a\\', client = secret -- ' WHERE id = 2"));
  });
  const updates = sluice.statements().filter(({ rowsWritten }) => rowsWritten === 1);
  expect(updates.map(({ statement }) => statement)).toEqual([""]);
});

test("a view that was replaced is looked at before it is read, also under a name with its schema", async () => {
  let shown = 0;
  const { named } = await asReader(async (raw) => {
    await raw.ask(query("CREATE VIEW made.soon AS SELECT id, b::text AS b FROM made.own"));
    await raw.ask(query("SELECT b FROM made.soon"));
    await raw.ask(query("CREATE OR REPLACE VIEW made.soon AS SELECT id, email AS b FROM public.clients"));
    shown = rowsIn(await raw.ask(query("SELECT b FROM made.soon WHERE id < 20")));
    expect(shown).toBe(19);
  });
  expect(named).toBeGreaterThanOrEqual(shown);
});

async function waiting(): Promise<number | undefined> {
  const { rows } = await world.database.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
  );
  return rows[0]?.n;
}

test("a view that another connection replaces while a text waits is counted by size", async () => {
  let shown = 0;
  const { named, unnamed } = await asReader(async (raw) => {
    const other = await sluice.raw("helpdesk_app");
    await other.ask(query("CREATE VIEW made.late AS SELECT id, b::text AS b FROM made.own"));
    await other.ask(query("SELECT b FROM made.late"));
    await other.ask(query("SELECT pg_advisory_lock(7)"));
    await raw.ask(query("SELECT b FROM made.late"));
    raw.send(query("SELECT FROM pg_advisory_lock(7); SELECT b FROM made.late"));
    await expect.poll(waiting).toBe(1);
    await other.ask(query("CREATE OR REPLACE VIEW made.late AS SELECT id, email AS b FROM public.clients"));
    // Waits for the catalog.
    await other.ask(query("SELECT b FROM made.late WHERE id = 1"));
    await other.ask(query("SELECT pg_advisory_unlock(7)"));
    shown = rowsIn(await raw.until("Z")) - 1;
    other.socket.end();
  });
  expect(named + unnamed).toBeGreaterThanOrEqual(shown);
});

describe("what an application does with names of its own costs nobody", () => {
  test.each([
    ["CREATE TEMP TABLE t (id int)", "INSERT INTO t VALUES (1)", "UPDATE t SET id = 2", "DELETE FROM t"],
    ["BEGIN", "CREATE TEMP TABLE t (id int)", "UPDATE t SET id = 2", "DELETE FROM t", "COMMIT"],
    ["BEGIN", "CREATE TABLE made.t (id int)", "UPDATE made.t SET id = 2", "DELETE FROM made.t", "ROLLBACK"],
    ["CREATE TEMP TABLE t (id int); UPDATE t SET id = 1; DELETE FROM t"],
    ["SET LOCAL app.x = 'y'; UPDATE plain SET b = 1 WHERE id = 2"],
    [
      "SELECT set_config('app.x', 'y', true); UPDATE visits SET said = 'x' WHERE id = 2; SELECT count(*) FROM regclass",
    ],
    ["UPDATE made_of SET data = data, said = 'x'"],
    ["UPDATE made.twice SET id = id"],
    ["UPDATE plain SET b = 1", "DELETE FROM plain WHERE id = 1"],
  ])("%s", async (...statements) => {
    const charged = await asReader(async (raw) => {
      for (const sql of statements) expect(codeIn(await raw.ask(query(sql)))).not.toBe("53400");
    });
    expect(charged).toEqual({ named: 0, unnamed: 0 });
  });

  test("a transaction reads rows and saves them, one after the other", async () => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      for (const id of [201, 202, 203])
        for (const sql of [
          `SELECT * FROM visits WHERE id = ${id}`,
          `UPDATE visits SET client = ${id}, said = '' WHERE id = ${id}`,
          "INSERT INTO made.own VALUES (1, 1)",
        ])
          expect(codeIn(await raw.ask(query(sql)))).toBeUndefined();
    });
    expect(charged).toEqual({ named: 3, unnamed: 0 });
  });
});
