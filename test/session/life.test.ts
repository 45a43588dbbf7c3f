import { once } from "node:events";
import { connect, type Socket } from "node:net";
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  bindMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { psql } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { fieldOf, query, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

let world: World;
let debian: World;
beforeAll(async () => {
  [world, debian] = [await makeWorld(), await makeWorld("debian")];
});
afterAll(async () => {
  await world?.close();
  await debian?.close();
});

const execute = executeMessage("", 0);

async function as<T>(
  user: string,
  work: (client: pg.Client) => Promise<T>,
  sluice: TestProxy = world.sluice,
): Promise<T> {
  const client = await sluice.connect(user);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

describe("ends", () => {
  test("a client that leaves ends its session on the server too, and the log says so", async () => {
    await as("anna", async (client) => {
      await client.query("select 1");
    });
    await expect
      .poll(async () => {
        const { rows } = await world.database.query("select 1 from pg_stat_activity where usename = 'anna'");
        return rows.length;
      })
      .toBe(0);
    expect(world.sluice.events.at(-1)).toMatchObject({ kind: "logout", user: "anna", role: "agent" });
  });

  test.each(["anna", "helpdesk_app"])(
    "a server process that is killed mid-result is told to %s as 08006",
    async (user) => {
      const client = await world.sluice.raw(user);
      client.send(query("select pg_backend_pid()"));
      const [, row] = await client.until("Z");
      const pid = Number(row?.bytes.toString("utf8", 11));
      // Slow enough that the client has read whatever came before the end.
      const endless = `select repeat('x', 8000), (select count(*) from generate_series(1, 20000 + g % 2))
        from generate_series(1, 1000000) g`;
      client.send(query(endless));
      expect((await client.next())?.type).toBe("T");
      expect((await client.next())?.type).toBe("D");
      await world.database.query("select pg_terminate_backend($1)", [pid]);
      const seen = await client.until("E");
      // The server itself said why, as long as it could.
      expect(shortOf(seen.slice(-1))).toMatch(/E\((57P01|08006)\)/);
      await client.closed();
    },
  );

  test("a server whose connection breaks without a word is told as 08006, with what it means", async () => {
    const crashing = await makeWorld();
    try {
      const client = await crashing.sluice.raw("anna");
      client.send(query("select pg_sleep(0)")); // refused: the session is at rest afterwards
      await client.until("Z");
      process.kill(crashing.server.pid, "SIGQUIT");
      const [error] = (await client.until("E")).slice(-1);
      // An immediate shutdown warns its sessions; a broken connection cannot.
      expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "C")).toMatch(/57P0[12]|08006/);
      await client.closed();
    } finally {
      await crashing.sluice.close();
      await crashing.server.stop().catch(() => undefined);
    }
  });

  test("a client that says goodbye in the middle of its result is let go", async () => {
    const client = await world.sluice.raw("helpdesk_app");
    client.send(query("select g from generate_series(1, 1000000) g"), terminateMessage);
    client.socket.destroy();
    await expect
      .poll(() => world.sluice.events.at(-1))
      .toMatchObject({ kind: "logout", user: "helpdesk_app" });
  });

  test("all that a client sent before it closed is carried out", async () => {
    const client = await world.sluice.raw("helpdesk_app");
    client.send(query("create table left_behind (id int)"), query("insert into left_behind values (1)"));
    client.socket.end(terminateMessage);
    await client.closed();
    await expect
      .poll(async () => (await world.database.query("select to_regclass('left_behind') as t")).rows[0]?.t)
      .toBe("left_behind");
  });

  test("a session is drained between transactions, and cut off in time", async () => {
    const drained = await makeWorld();
    const client = await drained.sluice.connect("anna");
    await client.query("begin");
    const said = once(client, "error");
    const closing = drained.sluice.close();
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    await client.query("commit");
    expect((await said)[0]).toMatchObject({ code: "57P01" });
    await closing;
    await drained.database.drop();
    await drained.server.stop();
  });
});

describe("a slow client", () => {
  test.each(["anna", "helpdesk_app"])("holds the server back, not memory (%s)", async (user) => {
    const socket: Socket = connect({ host: "127.0.0.1", port: world.sluice.port });
    await once(socket, "connect");
    const packet = startupMessage(
      new Map([
        ["user", user],
        ["database", world.database.database],
      ]),
    );
    socket.write(packet);
    await once(socket, "data");
    socket.pause();
    const before = process.memoryUsage();
    // 400 MB, if somebody took them.
    socket.write(query("select repeat('x', 100000) from generate_series(1, 4000)"));
    await expect
      .poll(async () => {
        const sql = "select wait_event from pg_stat_activity where usename = $1 and state = 'active'";
        return (await world.database.query(sql, [user])).rows[0]?.wait_event;
      })
      .toBe("ClientWrite");
    const grown = process.memoryUsage();
    expect(grown.external + grown.arrayBuffers - before.external - before.arrayBuffers).toBeLessThan(
      64_000_000,
    );
    socket.destroy();
  });
});

describe("search_path", () => {
  beforeAll(async () => {
    for (const { database, sluice } of [world, debian]) {
      await database.query("create schema other; grant usage, create on schema other to helpdesk_app, anna");
      const app = await sluice.connect("helpdesk_app");
      await app.query("create table public.place as select 'public' as word");
      await app.query("create table other.place as select 'other' as word");
      await app.query("grant select on public.place, other.place to anna");
      await app.end();
      // The catalog is read anew after DDL that passed, on another connection.
      const asks = () => as("anna", (client) => client.query("table other.place"), sluice);
      await vi.waitUntil(() => asks().then(Boolean, () => false));
    }
  });

  // 18 reports it, 15 must be asked.
  test.each(["npm", "debian"])("is followed wherever a session moves it (%s)", async (version) => {
    const { sluice } = version === "npm" ? world : debian;
    const client = await sluice.connect("anna");
    const seen = async () => (await client.query("select word from place")).rows[0]?.word;
    expect(await seen()).toBe("public");
    await client.query("set search_path = other, public");
    expect(await seen()).toBe("other");
    await client.query("begin");
    await client.query("set local search_path = public");
    expect(await seen()).toBe("public");
    await client.query("rollback");
    expect(await seen()).toBe("other");
    await client.query("begin; savepoint a");
    await client.query("select set_config('search_path', 'public', false)");
    expect(await seen()).toBe("public");
    await client.query("rollback to a");
    expect(await seen()).toBe("other");
    await client.query("commit");
    await client.query("reset all");
    expect(await seen()).toBe("public");
    await client.end();
  });

  test.each(["npm", "debian"])("moves for the next message of a pipeline too (%s)", async (version) => {
    const { sluice } = version === "npm" ? world : debian;
    const client = await sluice.raw("anna");
    const step = (sql: string) => [parseMessage("", Buffer.from(sql)), bindMessage("", ""), execute];
    client.send(...step("set search_path = other, public"), ...step("select word from place"), syncMessage);
    expect((await client.answer()).replaceAll("S ", "")).toBe("1 2 C(SET) 1 2 D(other) C(SELECT 1) Z(I)");
    client.socket.destroy();
  });

  test("SET TRANSACTION still comes first in a block", async () => {
    await as(
      "anna",
      async (client) => {
        await client.query("begin");
        await client.query("set search_path = public");
        await client.query("set transaction isolation level serializable");
        const { rows } = await client.query("show transaction_isolation");
        expect(rows).toEqual([{ transaction_isolation: "serializable" }]);
        await client.query("rollback");
      },
      debian.sluice,
    );
  });
});

describe("a policy that is loaded while sessions run", () => {
  test("masks for a statement that was prepared before", async () => {
    world.sluice.setPolicy(POLICY.replace("sees: [],", "sees: [email],"));
    const client = await world.sluice.connect("anna");
    const named = { name: "by id", text: "select email from customers where id = $1", values: [7] };
    expect((await client.query(named)).rows[0]?.email).toBe("alice.ng.7@example.com");
    await client.query("prepare by_sql as select email from customers where id = 7");
    await client.query("begin; declare c cursor for select id from customers");
    world.sluice.setPolicy(POLICY);
    expect((await client.query(named)).rows[0]?.email).toBe("a***@example.com");
    await expect(client.query("execute by_sql")).rejects.toMatchObject({ code: "26000" });
    await client.query("rollback");
    await client.end();
  });

  test("closes cursors and portals that would show what is masked now, and no others", async () => {
    world.sluice.setPolicy(POLICY.replace("sees: [],", "sees: [email],"));
    const client = await world.sluice.connect("anna");
    await client.query("begin");
    await client.query("declare clear cursor for select email from customers");
    await client.query("declare harmless cursor for select id from tickets");
    expect((await client.query("fetch 1 from clear")).rows).toHaveLength(1);
    world.sluice.setPolicy(POLICY);
    expect((await client.query("fetch 2 from harmless")).rows).toHaveLength(2);
    await client.query("savepoint before");
    await expect(client.query("fetch 1 from clear")).rejects.toMatchObject({
      code: "42501",
      hint: "Open it again.",
    });
    await client.query("rollback to before; close clear; rollback");
    await client.end();
    world.sluice.setPolicy(POLICY.replace("sees: [],", "sees: [email],"));
    const raw = await world.sluice.raw("anna");
    const sql = Buffer.from("select email from customers");
    raw.send(parseMessage("", sql), bindMessage("p", ""), executeMessage("p", 1), flushMessage);
    expect(shortOf(await raw.until("s"))).toMatch(/^1 2 D\(\S+@example\.com\) s$/);
    world.sluice.setPolicy(POLICY);
    raw.send(executeMessage("p", 1), syncMessage);
    expect(await raw.answer()).toBe("E(42501) Z(I)");
    raw.socket.destroy();
  });

  test("ends sessions whose treatment it changes, and those without a role", async () => {
    const client = await world.sluice.connect("anna");
    world.sluice.setPolicy(POLICY.replace("users: [anna]", "users: [somebody]"));
    await expect(client.query("select 1")).rejects.toMatchObject({ code: "28000" });
    world.sluice.setPolicy(POLICY.replace("version: 1", "version: 1\nmode: observe"));
    const watched = await world.sluice.connect("anna");
    world.sluice.setPolicy(POLICY);
    await expect(watched.query("select 1")).rejects.toMatchObject({ code: "57P01" });
  });

  test("that only observes changes nothing, and says what it would have done", async () => {
    world.sluice.setPolicy(POLICY.replace("version: 1", "version: 1\nmode: observe"));
    world.sluice.statements();
    try {
      await as("anna", async (client) => {
        expect((await client.query("select email from customers order by id")).rows.length).toBe(1010);
        expect((await client.query("select rolname from pg_authid limit 0")).rows).toEqual([]);
        expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
      });
    } catch (error) {
      // anna herself may not read pg_authid: the server says so, not the policy.
      expect(error).toMatchObject({ code: "42501" });
    } finally {
      world.sluice.setPolicy(POLICY);
    }
    expect(world.sluice.statements()).toMatchObject([
      { decision: "observe", rows: 1010 },
      { decision: "observe", sqlstate: "42501" },
    ]);
  });
});

describe("clients", () => {
  test("postgres.js pipelines over one connection, and each answer is its question's", async () => {
    const sql = postgres(world.sluice.uri("anna"), { max: 1, onnotice: () => {} });
    const asked = Array.from(
      { length: 50 },
      (_, i) => sql`select ${i}::int as n, email from customers where id = ${i + 1}`,
    );
    const answers = await Promise.all(asked);
    expect(answers.map(([row]) => row?.n)).toEqual(asked.map((_, i) => i));
    expect(answers.every((rows) => rows.columns.length === 2)).toBe(true);
    const [dump, next] = await Promise.allSettled([sql`select email from customers`, sql`select 1 as one`]);
    expect(dump).toMatchObject({ status: "rejected", reason: { code: "54000" } });
    // postgres.js counts the rows before an error into the next result, whoever sent the error.
    expect(next.status === "fulfilled" && next.value.at(-1)).toEqual({ one: 1 });
    await sql.end();
  });

  test("pg reads by cursor-like portions through a pool, an error leaves the connection usable", async () => {
    const pool = new pg.Pool({ connectionString: world.sluice.uri("anna"), max: 1 });
    await expect(pool.query("select email from customers")).rejects.toMatchObject({ code: "54000" });
    await expect(pool.query("select secret from customers")).rejects.toMatchObject({ code: "42703" });
    expect((await pool.query("select count(*)::int as n from customers")).rows).toEqual([{ n: 1010 }]);
    await pool.end();
  });

  test("psql copies in and out, and shows the rule of a refusal", async () => {
    const uri = world.sluice.uri("anna");
    const out = await psql(
      ["-c", "\\copy (select id, email from customers where id < 3 order by id) to stdout"],
      { uri },
    );
    expect(out).toMatchObject({ stdout: "1\tb***@example.com\n2\tc***@example.com\n", code: 0 });
    const input = "9001\t7\t\\N\ts\tb\topen\teu\t2024-01-01\n\\.\n";
    const copied = await psql(["-c", "\\copy tickets from stdin"], { uri, input });
    expect(copied).toMatchObject({ stdout: "COPY 1\n", code: 0 });
    const bad = await psql(["-c", "\\copy tickets from stdin", "-c", "select 1 as one"], {
      uri,
      input: "no row\n\\.\n",
    });
    expect(bad.stderr).toMatch(/missing data|invalid input/);
    expect(bad.stdout).toMatch(/one/);
    const refused = await psql(["-c", "select * from customers", "-c", "\\errverbose"], { uri });
    expect(refused.stderr + refused.stdout).toMatch(/CONSTRAINT NAME: {2}roles\.agent\.rows/);
  });

  test("DETAIL and CONTEXT of the server stay with the server", async () => {
    await as("anna", async (client) => {
      const clash = "insert into tickets select * from tickets where id = 1";
      const error = await client.query(clash).catch((refused: pg.DatabaseError) => refused);
      expect(error).toMatchObject({ code: expect.stringMatching(/^(23505|42501)$/) });
      expect(error).not.toHaveProperty("detail", expect.stringMatching(/\(id\)=/));
    });
    await as("helpdesk_app", async (client) => {
      await expect(
        client.query("insert into customers select * from customers where id = 1"),
      ).rejects.toMatchObject({
        code: "23505",
        detail: expect.stringMatching(/\(id\)=\(1\)/),
      });
    });
  });

  test("the application sees what the server sends, and each statement leaves its event", async () => {
    world.sluice.statements();
    await as("helpdesk_app", async (client) => {
      await client.query("select id from customers where id < 4");
      await client.query({ name: "n", text: "select $1::int as n", values: [1] });
      await client.query("create table fresh (id int); insert into fresh values (1), (2)");
      await client.query("grant select on fresh to anna");
      await expect(client.query("select nothing")).rejects.toMatchObject({ code: "42703" });
    });
    const [read, bound, made, written, , failed] = world.sluice.statements();
    expect(read).toMatchObject({
      command: "SELECT",
      decision: "allow",
      rows: 3,
      relations: ["public.customers"],
    });
    expect(bound).toMatchObject({ command: "SELECT", rows: 1, statement: "select $1::int as n" });
    expect(made).toMatchObject({ command: "CREATE TABLE", decision: "allow" });
    expect(written).toMatchObject({ command: "INSERT" });
    expect(failed).toMatchObject({ decision: "allow", sqlstate: "42703" });
    // DDL that passed is known to the next guarded session.
    await expect
      .poll(() =>
        as("anna", (client) => client.query("select * from fresh")).then(
          ({ rowCount }) => rowCount,
          () => 0,
        ),
      )
      .toBe(2);
  });
});
