import { connect } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Helpdesk, openHelpdesk } from "./helpdesk.ts";

let helpdesk: Helpdesk;
beforeAll(async () => {
  helpdesk = await openHelpdesk("clients pg");
});
afterAll(() => helpdesk.close());

/** What it knows of its session and its types leave out: pg/lib/client.js, pg/lib/query.js. */
type Client = pg.Client & { readonly processID: number; readonly secretKey: number };
type QueryConfig = pg.QueryConfig & { readonly rows?: number; readonly binary?: boolean };

async function withClient<Result>(uri: string, act: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: uri, application_name: "trial" }) as Client;
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

/** Rows and columns, or the fields of the error. */
async function outcome(client: Client, query: string | QueryConfig, values?: readonly unknown[]) {
  try {
    const { rows, fields, command, rowCount } = await client.query({
      ...(typeof query === "string" ? { text: query } : query),
      ...(values === undefined ? {} : { values: [...values] }),
    } as pg.QueryConfig);
    return {
      rows,
      names: fields.map(({ name, dataTypeID, format }) => [name, dataTypeID, format]),
      command,
      rowCount,
    };
  } catch (error) {
    const { code, message, constraint } = error as pg.DatabaseError;
    return { code, message, constraint };
  }
}

const parts = (text: string, rows: number): QueryConfig => ({ text, rows, values: [] });

describe("node-postgres as a role that sees everything gets the same bytes:", () => {
  const same = <Result>(act: (client: Client) => Promise<Result>) =>
    helpdesk.sameBothWays((uri) => withClient(uri, act));

  test("simple, extended, named and binary queries", async () => {
    const [simple] = await same(async (client) => [
      await outcome(client, "SELECT * FROM ONLY customers ORDER BY id LIMIT 3"),
      await outcome(client, "SELECT * FROM customers WHERE id = $1", [7]),
      await outcome(client, { name: "by email", text: "SELECT * FROM customers WHERE email = $1" }, [
        "alice.ng.7@example.com",
      ]),
      await outcome(client, { name: "by email", text: "SELECT * FROM customers WHERE email = $1" }, [
        "nobody@example.com",
      ]),
      await outcome(
        client,
        { text: "SELECT id, name, birth_date FROM customers WHERE id = $1", binary: true },
        [7],
      ),
      await outcome(client, "SELECT $1::text[], $2::jsonb, $3::bytea", [
        ["a", "b,c"],
        { a: 1 },
        Buffer.from([0, 255]),
      ]),
      await outcome(client, "SELECT 1; SELECT 2"),
      await outcome(client, ""),
    ]);
    expect(simple?.rowCount).toBe(3);
  });

  test("a result in parts (Execute with a row count)", async () => {
    const result = await same((client) => outcome(client, parts("SELECT * FROM tickets ORDER BY id", 300)));
    expect(result.rows).toHaveLength(2000);
  });

  test("errors, in transactions and out of them", async () => {
    const results = await same(async (client) => [
      await outcome(client, "SELECT nothing FROM customers"),
      await outcome(client, "SELECT nothing FROM customers WHERE id = $1", [1]),
      await outcome(client, "BEGIN"),
      await outcome(client, "INSERT INTO payments SELECT * FROM payments WHERE id = $1", [7]),
      await outcome(client, "SELECT 1"),
      await outcome(client, "ROLLBACK"),
      await outcome(client, "BEGIN"),
      await outcome(client, "SAVEPOINT here"),
      await outcome(client, "SELECT 1/$1::int", [0]),
      await outcome(client, "ROLLBACK TO here"),
      await outcome(client, "UPDATE tickets SET status = 'open' WHERE id = $1 RETURNING id, status", [7]),
      await outcome(client, "ROLLBACK"),
      await outcome(client, "SELECT $1::int", ["no number"]),
    ]);
    expect(results.map(({ code }) => code).filter(Boolean)).toEqual([
      "42703",
      "42703",
      "23505",
      "25P02",
      "22012",
      "22P02",
    ]);
  });

  test("a statement that runs too long is cancelled by the key that the client was given", async () => {
    const results = await same(async (client) => {
      const slow = outcome(client, "SELECT pg_sleep(30)");
      await runs("SELECT pg_sleep(30)");
      await cancel(client);
      return [await slow, await outcome(client, "SELECT 'still here' AS state")];
    });
    expect(results[0]).toMatchObject({ code: "57014" });
  });
});

async function runs(sql: string): Promise<void> {
  const active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $1";
  await expect.poll(async () => (await helpdesk.database.query(active, [sql])).rowCount).toBe(1);
}

/** For hours, and nothing that an agent may not do. */
const SLOW = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b";

/** As libpq does: on a connection of its own, and done when the server closes it. */
function cancel({ host, port, processID, secretKey }: Client): Promise<void> {
  const packet = Buffer.alloc(16);
  for (const [i, word] of [16, 80877102, processID, secretKey].entries()) packet.writeInt32BE(word, 4 * i);
  return new Promise((resolve) => {
    const socket = connect(port, host, () => socket.write(packet));
    socket.on("error", () => undefined).on("close", () => resolve());
    socket.resume();
  });
}

describe("node-postgres as an agent notices nothing but masks:", () => {
  const anna = <Result>(act: (client: Client) => Promise<Result>) => withClient(helpdesk.uriFor("anna"), act);
  const masked = { id: "7", name: "Alice Ng 7", email: "a***@example.com" };
  const sql = "SELECT id, name, email FROM customers WHERE email = $1";
  const address = "alice.ng.7@example.com";

  test("prepared statements and binary results have the columns that were asked for", async () => {
    const results = await anna(async (client) => [
      await outcome(client, sql, [address]),
      await outcome(client, { name: "one", text: sql }, [address]),
      await outcome(client, { name: "one", text: sql }, [address]),
      await outcome(client, { name: "one", text: sql }, ["nobody@example.com"]),
      await outcome(client, { text: sql, binary: true }, [address]),
    ]);
    expect(results.map(({ rows }) => rows)).toEqual([[masked], [masked], [masked], [], [expect.anything()]]);
    expect(results[4]?.rows?.[0]).toMatchObject({ name: masked.name, email: masked.email });
    for (const { names } of results) expect(names?.map(([name]) => name)).toEqual(["id", "name", "email"]);
  });

  test("whole rows have the table's columns and no other", async () => {
    const { rows } = await anna((client) => client.query("SELECT * FROM customers WHERE id = 7"));
    const columns = await helpdesk.database.query("SELECT * FROM customers LIMIT 0");
    expect(Object.keys(rows[0] as object)).toEqual(columns.fields.map(({ name }) => name));
  });

  test("a result in parts comes whole below the limit, and stops at it", async () => {
    const [few, many] = await anna(async (client) => [
      await outcome(client, parts("SELECT id, email FROM customers WHERE id <= 40 ORDER BY id", 7)),
      // Last: after an error in a part, pg 8.23 never sends the Sync that would let the session go on.
      await outcome(client, parts("SELECT id, email FROM customers ORDER BY id", 7)),
    ]);
    expect(few?.rows).toHaveLength(40);
    expect(few?.names?.map(([name]) => name)).toEqual(["id", "email"]);
    expect(many).toMatchObject({ code: "54000", constraint: "roles.agent.rows" });
  });

  test("a limit inside a block leaves a failed block, as an error of the server would", async () => {
    const results = await anna(async (client) => [
      await outcome(client, "BEGIN"),
      await outcome(client, "SELECT * FROM customers"),
      await outcome(client, "SELECT 1"),
      await outcome(client, "ROLLBACK"),
      await outcome(client, "SELECT 1"),
    ]);
    expect(results.map(({ code, command }) => code ?? command)).toEqual([
      "BEGIN",
      "54000",
      "25P02",
      "ROLLBACK",
      "SELECT",
    ]);
  });

  test("a used-up budget is an error that names the policy line", async () => {
    const results = await withClient(helpdesk.uriFor("ben"), async (client) => [
      await outcome(client, "SELECT id FROM customers WHERE id = ANY($1)", [[1, 2, 3, 4, 5]]),
      await outcome(client, "SELECT id FROM customers WHERE id = $1", [6]),
      await outcome(client, "SELECT id FROM customers WHERE id = $1", [5]),
    ]);
    expect(results).toMatchObject([
      { rowCount: 5 },
      { code: "53400", constraint: "roles.trainee.budget.1d" },
      { rowCount: 1 },
    ]);
  });

  test("what the role may not do is an error, and the session goes on", async () => {
    const results = await anna(async (client) => [
      await outcome(client, "SELECT * FROM payments"),
      await outcome(client, { name: "two", text: "DELETE FROM customers WHERE id = $1" }, [7]),
      await outcome(client, "UPDATE tickets SET status = 'pending' WHERE id = $1", [7]),
    ]);
    expect(results).toMatchObject([{ code: "42501" }, { code: "42501" }, { command: "UPDATE", rowCount: 1 }]);
  });

  test("a statement that runs too long is cancelled by the key that the client was given", async () => {
    const [slow] = await anna(async (client) => {
      const counting = outcome(client, SLOW);
      await runs(SLOW);
      await cancel(client);
      return [await counting, await outcome(client, "SELECT 1")];
    });
    expect(slow).toMatchObject({ code: "57014" });
  });
});

test("a session knows its own notifications by the process id that it was told", async () => {
  await withClient(helpdesk.uriFor("helpdesk_app"), async (client) => {
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    expect(rows[0]?.pid).toBe(client.processID);
    const heard = new Promise<number>((resolve) =>
      client.once("notification", ({ processId }) => resolve(processId)),
    );
    await client.query("LISTEN own; NOTIFY own");
    expect(await heard).toBe(client.processID);
  });
  await withClient(helpdesk.uriFor("anna"), async (client) => {
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    expect(rows[0]?.pid).toBe(client.processID);
  });
});
