import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { executeMessage, parseMessage, syncMessage } from "../../proxy/wire/frontend-messages.ts";
import { knows } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { bindTexts, codeIn, query, type Raw, rowsIn } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { watchedApp } from "./watched-app.ts";

/*
 * A watched role counts the person whom a row names. A thief takes that name away first, or writes another one there, row by
 * row if need be, and reads the rows as nobody's or as those of one person.
 */

const POLICY = `
version: 1
classes: { text: { mask: redact } }
tables:
  public.clients: { subject: id, columns: { email: text } }
  public.visits: { subject: client, columns: { said: text } }
  public.calls: { subject: client, columns: { said: text } }
  public.lines: { subject: call -> public.calls.client, columns: { said: text } }
  public.orders: { subject: client, columns: { said: text } }
  public.slips: { subject: client, columns: { said: text } }
  public.parts: { subject: client, columns: { said: text } }
  public.order_notes: { subject: order_id -> public.orders.client, columns: { said: text } }
${watchedApp("{ 1h: 50 }")}`;

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE regions (code text PRIMARY KEY);
    INSERT INTO regions VALUES ('eu'), ('us');
    CREATE TABLE clients (id int PRIMARY KEY, region text REFERENCES regions ON DELETE CASCADE, email text, country text);
    INSERT INTO clients SELECT i, 'eu', 'p' || i || '@example.com', 'XX' FROM generate_series(1, 300) i;
    CREATE TABLE visits (id int PRIMARY KEY, client int REFERENCES clients ON DELETE SET NULL, said text);
    INSERT INTO visits SELECT i, i, 'visit ' || i FROM generate_series(1, 300) i;
    CREATE TABLE calls (id int PRIMARY KEY, client int, said text);
    INSERT INTO calls SELECT i, i, 'call ' || i FROM generate_series(1, 300) i;
    CREATE TABLE lines (call int REFERENCES calls ON DELETE CASCADE, said text);
    INSERT INTO lines SELECT i, 'line ' || i FROM generate_series(1, 300) i;
    CREATE TABLE orders (id int PRIMARY KEY, client int, said text);
    INSERT INTO orders SELECT i, i, '' FROM generate_series(1, 300) i;
    CREATE TABLE order_notes (order_id int, said text);
    INSERT INTO order_notes SELECT i, 'note ' || i FROM generate_series(1, 300) i;
    CREATE TABLE slots (id int PRIMARY KEY);
    INSERT INTO slots SELECT generate_series(1, 300);
    CREATE TABLE slips (id int PRIMARY KEY REFERENCES slots ON UPDATE CASCADE, client int, said text);
    INSERT INTO slips SELECT i, i, 'slip ' || i FROM generate_series(1, 300) i;
    CREATE TABLE parts (id int PRIMARY KEY, client int, said text) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (-1000) TO (1000);
    INSERT INTO parts SELECT i, i, 'part ' || i FROM generate_series(1, 300) i;
    CREATE VIEW all_visits AS SELECT id AS visit, client FROM visits;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

let readers = 0;

/** Each has a budget of their own. Gives how many people they were charged. */
async function asReader(work: (raw: Raw, name: string) => Promise<void>): Promise<number> {
  const name = `reader-${readers++}`;
  const raw = await sluice.raw("helpdesk_app");
  await raw.ask(query(`SET app.agent = '${name}'`));
  await work(raw, name);
  const over = logouts() + 1;
  raw.socket.end();
  await expect.poll(logouts).toBe(over);
  return sluice.chargedTo(name);
}

const logouts = () => sluice.events.filter(({ kind }) => kind === "logout").length;

/** By a driver: the numbers are parameters. */
function prepared(sql: string): readonly Buffer[] {
  const numbers: string[] = [];
  const text = sql.replace(/\b\d+\b/g, (number) => `$${numbers.push(number)}`);
  return [parseMessage("", Buffer.from(text)), bindTexts("", numbers), executeMessage("", 0), syncMessage];
}

/** Written for each of so many rows, and what is read then. */
const MOVES: readonly (readonly [string | readonly string[], string])[] = [
  ["DELETE FROM clients WHERE id = $", "SELECT said FROM visits WHERE client IS NULL"],
  ["UPDATE visits SET client = NULL WHERE id = $", "SELECT said FROM visits WHERE client IS NULL"],
  ["UPDATE calls SET client = 1 WHERE id = $", "SELECT said FROM calls WHERE client = 1"],
  ["UPDATE calls SET client = 1 WHERE client = $", "SELECT said FROM calls WHERE client = 1"],
  [
    "INSERT INTO calls VALUES ($, 1) ON CONFLICT (id) DO UPDATE SET client = excluded.client",
    "SELECT said FROM calls WHERE client = 1",
  ],
  [
    "INSERT INTO calls VALUES ($, 1) ON CONFLICT (id) DO UPDATE SET client = excluded.client",
    "SELECT l.said FROM lines l JOIN calls c ON c.id = l.call WHERE c.client = 1",
  ],
  [
    "MERGE INTO calls c USING (VALUES ($)) v (i) ON c.id = v.i::int WHEN MATCHED THEN UPDATE SET client = 1",
    "SELECT said FROM calls WHERE client = 1",
  ],
  [
    ["DELETE FROM orders WHERE id = $", "INSERT INTO orders VALUES ($, 1)"],
    "SELECT said FROM order_notes WHERE order_id BETWEEN 2 AND 41",
  ],
  [
    ["UPDATE orders SET id = -id WHERE id = $", "INSERT INTO orders VALUES ($, 1)"],
    "SELECT said FROM order_notes WHERE order_id BETWEEN 2 AND 41",
  ],
];

const IDS = Array.from({ length: 40 }, (_, i) => i + 2);

describe("whoever takes rows from their people, one by one, is charged as if they had been read", () => {
  const forms = MOVES.flatMap(([writes, read]) => [
    { how: "simple", writes: [writes].flat(), read, send: (sql: string) => [query(sql)] },
    { how: "prepared", writes: [writes].flat(), read, send: prepared },
  ]).filter(({ writes }) => knows(...writes));
  test.each(forms)("$how: $writes", async ({ writes, read, send }) => {
    let shown = 0;
    const charged = await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      for (const id of IDS)
        for (const write of writes)
          expect(codeIn(await raw.ask(...send(write.replace("$", `${id}`))))).toBeUndefined();
      shown = rowsIn(await raw.ask(query(read)));
      await raw.ask(query("ROLLBACK"));
      expect(shown).toBeGreaterThanOrEqual(IDS.length);
    });
    expect(charged).toBeGreaterThanOrEqual(IDS.length);
  });
});

/** A table, and how each of so many rows gets the key of a row that was shown. */
const SWAPS: readonly (readonly [table: string, move: string, back: string])[] = [
  ["visits", "UPDATE visits SET id = 1 WHERE id = $", "UPDATE visits SET id = -$ WHERE id = 1"],
  ["visits", "UPDATE all_visits SET visit = 1 WHERE visit = $", "UPDATE visits SET id = -$ WHERE id = 1"],
  [
    "visits",
    "INSERT INTO visits VALUES ($, 1) ON CONFLICT (id) DO UPDATE SET id = 1",
    "UPDATE visits SET id = -$ WHERE id = 1",
  ],
  [
    "visits",
    "MERGE INTO visits v USING (VALUES ($)) n (i) ON v.id = n.i WHEN MATCHED THEN UPDATE SET id = 1",
    "UPDATE visits SET id = -$ WHERE id = 1",
  ],
  ["slips", "UPDATE slots SET id = 1 WHERE id = $", "UPDATE slots SET id = -$ WHERE id = 1"],
  ["parts", "UPDATE parts SET id = 1 WHERE id = $", "UPDATE parts SET id = -$ WHERE id = 1"],
  ["parts", "UPDATE parts_1 SET id = 1 WHERE id = $", "UPDATE parts SET id = -$ WHERE id = 1"],
];

describe("nor do rows go for nothing under the key of one that was shown", () => {
  test.each(SWAPS.filter(([, move]) => knows(move)))("%s: %s", async (table, move, back) => {
    let shown = 0;
    const ids = IDS.slice(0, 20);
    const charged = await asReader(async (raw) => {
      const each = ids.flatMap((id) =>
        [move, `UPDATE ${table} SET client = 1 WHERE id = 1`, back].map((sql) => sql.replace("$", `${id}`)),
      );
      const first = [`SELECT * FROM ${table} WHERE id = 1`, back.replace("$", "1")];
      for (const sql of ["BEGIN", ...first, ...each])
        expect(codeIn(await raw.ask(query(sql)))).toBeUndefined();
      shown = rowsIn(await raw.ask(query(`SELECT said FROM ${table} WHERE client = 1`)));
      await raw.ask(query("ROLLBACK"));
      expect(shown).toBe(ids.length + 1);
    });
    expect(charged).toBeGreaterThanOrEqual(shown);
  });
});

const LIST = IDS.map((id) => `(${id}, 1)`).join(", ");

describe("nor all at once", () => {
  test.each([
    "DELETE FROM clients",
    "DELETE FROM clients WHERE id < 100",
    "DELETE FROM regions WHERE code = 'eu'",
    "WITH gone AS (DELETE FROM clients WHERE id < 100) SELECT 1",
    "UPDATE visits SET client = NULL",
    `INSERT INTO calls VALUES ${LIST}, ${LIST.replaceAll("(", "(10")} ON CONFLICT (id) DO UPDATE SET client = excluded.client`,
    "DELETE FROM orders WHERE id < 100",
    "TRUNCATE orders",
    "TRUNCATE regions CASCADE",
  ])("%s", async (sql) => {
    await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      const code = codeIn(await raw.ask(query(sql)));
      await raw.ask(query("ROLLBACK"));
      expect(code).toBe("53400");
    });
  });
});

describe("what a write leaves behind in a table's size, and its tag, tell of values", () => {
  test.each([
    "UPDATE clients SET email = email || repeat('x', 100 * ascii(substr(email, 2))) WHERE id = $",
    "UPDATE clients SET email = email WHERE id = $ AND email LIKE '%1%'",
    "UPDATE clients SET email = email WHERE id = $ AND email LIKE '%1%' RETURNING 1",
  ])("%s", async (sql) => {
    let told = 0;
    const charged = await asReader(async (raw) => {
      for (let id = 10; id < 20; id++) {
        await raw.ask(query("BEGIN"));
        const answer = await raw.ask(query(sql.replace("$", `${id}`)));
        expect(codeIn(answer)).toBeUndefined();
        if (answer.some(({ bytes }) => bytes.includes("UPDATE 1\0"))) told++;
        await raw.ask(query("ROLLBACK"));
      }
    });
    expect(charged).toBeGreaterThanOrEqual(told);
  });

  test("of many rows at once", async () => {
    await asReader(async (raw) => {
      const sql = "UPDATE clients SET email = email || repeat('x', 100 * ascii(substr(email, 2)))";
      expect(codeIn(await raw.ask(query(sql)))).toBe("53400");
    });
  });

  test.each([
    "SELECT max(ctid) FROM clients",
    "SELECT count(*) FROM clients WHERE ctid = '(0,1)'",
    "SELECT max(xmin::text::bigint) FROM clients",
    "SELECT id + 0, max(ctid) FROM clients WHERE id < 20 GROUP BY 1",
  ])("places of rows are no plain figure: %s", async (sql) => {
    let shown = 0;
    const charged = await asReader(async (raw) => {
      shown = rowsIn(await raw.ask(query(sql)));
      expect(shown).toBeGreaterThan(0);
    });
    expect(charged).toBeGreaterThanOrEqual(shown);
  });
});

describe("what a help desk does costs whom it has read", () => {
  const SAVE = "UPDATE calls SET client = $1, said = $2 WHERE id = $3";
  const save = (id: number, client: number) => [
    parseMessage("", Buffer.from(SAVE)),
    bindTexts("", [`${client}`, "said anew", `${id}`]),
    executeMessage("", 0),
    syncMessage,
  ];

  test("a ticket is read, and saved with all its columns", async () => {
    const charged = await asReader(async (raw) => {
      for (const id of [201, 202, 203]) {
        expect(rowsIn(await raw.ask(query(`SELECT * FROM calls WHERE id = ${id} LIMIT 21`)))).toBe(1);
        expect(codeIn(await raw.ask(...save(id, id)))).toBeUndefined();
      }
    });
    expect(charged).toBe(3);
  });

  test("also when it was read by a prepared statement, and is saved by a text", async () => {
    const charged = await asReader(async (raw) => {
      expect(rowsIn(await raw.ask(...prepared("SELECT * FROM calls WHERE id = 204")))).toBe(1);
      const text = "UPDATE calls SET client = 205 WHERE id = 204";
      expect(codeIn(await raw.ask(query(text)))).toBeUndefined();
    });
    expect(charged).toBe(1);
  });

  test("also on another of the application's connections", async () => {
    const charged = await asReader(async (raw, name) => {
      expect(rowsIn(await raw.ask(query("SELECT * FROM calls WHERE id = 206")))).toBe(1);
      const other = await sluice.raw("helpdesk_app");
      await other.ask(query(`SET app.agent = '${name}'`));
      expect(codeIn(await other.ask(...save(206, 206)))).toBeUndefined();
      const over = logouts() + 1;
      other.socket.end();
      await expect.poll(logouts).toBe(over);
    });
    expect(charged).toBe(1);
  });

  test("a customer who was read is deleted", async () => {
    const charged = await asReader(async (raw) => {
      expect(rowsIn(await raw.ask(query("SELECT * FROM clients WHERE id = 290")))).toBe(1);
      expect(codeIn(await raw.ask(query("DELETE FROM clients WHERE id = 290")))).toBeUndefined();
    });
    expect(charged).toBe(1);
  });

  test("all rows of one customer are moved, or deleted", async () => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      for (const sql of [
        "UPDATE calls SET client = 8 WHERE client IN (7, 8)",
        "ROLLBACK",
        "BEGIN",
        "UPDATE calls SET client = 8 WHERE client = 7",
        "DELETE FROM orders WHERE client = 7",
      ])
        expect(codeIn(await raw.ask(query(sql)))).toBeUndefined();
      await raw.ask(query("UPDATE orders SET client = 280 WHERE id BETWEEN 281 AND 290"));
      await raw.ask(query("DELETE FROM orders WHERE client = 280"));
      await raw.ask(query("ROLLBACK"));
    });
    expect(charged).toBe(2 + 1 + 1 + 10 + 1);
  });

  test("nobody was read where a ticket was not there, nor by another reader", async () => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("SELECT * FROM calls WHERE id = 210 AND said = 'none'"));
      await raw.ask(query("SELECT count(*) FROM calls WHERE id = 210"));
      await raw.ask(...save(210, 210));
      await raw.ask(...save(201, 201));
    });
    expect(charged).toBe(2);
  });

  test.each([
    "SELECT v.id FROM visits v LEFT JOIN calls c ON c.id = $ AND false LIMIT 1",
    "SELECT v.id FROM visits v LEFT JOIN calls c ON c.id = $ AND c.said = 'none' WHERE v.id = 9",
    "SELECT v.id FROM calls c RIGHT JOIN visits v ON c.id = $ AND false LIMIT 1",
    "SELECT v.id FROM calls c FULL JOIN visits v ON c.id = -v.id AND c.id = $ WHERE v.id = 9",
    "SELECT v.id FROM visits v WHERE v.id = 9 AND EXISTS (SELECT FROM calls c WHERE c.id = $)",
    "SELECT v.id, (SELECT 1 FROM calls c WHERE c.id = $) FROM visits v WHERE v.id = 9",
    "SELECT v.id FROM visits v, calls c WHERE v.id = 9 AND c.id = $",
    "SELECT 1 FROM calls c WHERE c.id = $ LIMIT 0",
    "SELECT NULL FROM calls c WHERE c.id = $",
    "SELECT c.id FROM calls c WHERE c.id = $ UNION ALL SELECT 1",
    "SELECT count(*) FROM calls c WHERE c.id = $",
    "SELECT c.id FROM calls c WHERE c.id = 1 OR c.id = $",
    "WITH c AS (SELECT * FROM calls WHERE id = $) SELECT 1",
    "SELECT v.id FROM visits v JOIN LATERAL (SELECT FROM calls WHERE id = $) c ON true WHERE v.id = 9",
  ])("no row was shown where its person was not counted: %s", async (sql) => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      for (const id of IDS.slice(0, 10)) {
        expect(codeIn(await raw.ask(query(sql.replace("$", `${id}`))))).toBeUndefined();
        await raw.ask(query(`UPDATE calls SET client = 1 WHERE id = ${id}`));
      }
      await raw.ask(query("ROLLBACK"));
    });
    expect(charged).toBeGreaterThanOrEqual(10);
  });

  test("a save goes on when the budget is used up, of what was read", async () => {
    await asReader(async (raw) => {
      await raw.ask(query("SELECT * FROM calls WHERE id = 211"));
      await raw.ask(query("SELECT * FROM calls"));
      expect(codeIn(await raw.ask(query("SELECT * FROM calls WHERE id = 212")))).toBe("53400");
      expect(codeIn(await raw.ask(...save(211, 211)))).toBeUndefined();
      expect(codeIn(await raw.ask(...save(212, 212)))).toBe("53400");
    });
  });

  test.each([
    "UPDATE clients SET email = lower(email)",
    "UPDATE calls SET client = client, said = upper(said) WHERE id < 100",
    "INSERT INTO calls VALUES (1000, 1, '') ON CONFLICT (id) DO UPDATE SET id = excluded.id, said = excluded.said",
    "INSERT INTO calls VALUES (1001, 1, '') ON CONFLICT (id) DO NOTHING",
    "DELETE FROM visits WHERE id = 1",
    "TRUNCATE order_notes, lines",
    "SELECT count(*) FROM clients",
    "SELECT max(id) FROM clients",
  ])("free: %s", async (sql) => {
    const charged = await asReader(async (raw) => {
      await raw.ask(query("BEGIN"));
      expect(codeIn(await raw.ask(query(sql)))).toBeUndefined();
      await raw.ask(query("ROLLBACK"));
    });
    expect(charged).toBe(0);
  });
});
