import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  flushMessage,
  parseMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { startProxy } from "../harness/proxy.ts";
import { fieldOf, query, type Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

const LIMIT = 800;
const ROLES = ["anna", "helpdesk_app"] as const;

let world: World;
beforeAll(async () => {
  const settings = { idleSessionTimeout: LIMIT, idleInTransactionTimeout: LIMIT, statementTimeout: LIMIT };
  world = await makeWorld("npm", { settings });
});
afterAll(() => world?.close());

/** As long as nobody stops it, and allowed to everybody. */
const ENDLESS = "select count(*) from generate_series(1, 1000000000) a";
const backendOf = async (client: Raw) => {
  client.send(query("select pg_backend_pid()"));
  const row = (await client.until("Z")).find(({ type }) => type === "D");
  return Number(row?.bytes.toString("utf8", 11));
};

describe.each(ROLES)("for %s", (user) => {
  test("a session that says nothing ends with 57P05, one that works goes on", async () => {
    const [quiet, busy] = [await world.sluice.raw(user), await world.sluice.raw(user)];
    const since = performance.now();
    let over = false;
    const ended = quiet.until("E").then((messages) => {
      over = true;
      return messages;
    });
    while (!over || performance.now() - since < 2 * LIMIT) {
      busy.send(query("select 1"));
      expect(await busy.answer()).toMatch(/Z\(I\)$/);
    }
    expect(shortOf(await ended)).toBe("E(57P05)");
    await quiet.closed();
    busy.socket.destroy();
  });

  test("a transaction that is left open ends its session with 25P03, a failed one too", async () => {
    const [open, failed] = [await world.sluice.raw(user), await world.sluice.raw(user)];
    const since = performance.now();
    open.send(query("begin"));
    failed.send(query("begin; select nothing"));
    await Promise.all([open.until("Z"), failed.until("Z")]);
    expect(shortOf(await open.until("E"))).toBe("E(25P03)");
    expect(performance.now() - since).toBeGreaterThanOrEqual(LIMIT);
    expect(shortOf(await failed.until("E"))).toBe("E(25P03)");
  });

  test("a pipeline without its Sync is an open transaction", async () => {
    const client = await world.sluice.raw(user);
    client.send(
      parseMessage("", Buffer.from("select 1")),
      bindMessage("", ""),
      executeMessage("", 0),
      flushMessage,
    );
    expect(shortOf(await client.until("E"))).toBe("1 2 D(1) C(SELECT 1) E(25P03)");
  });

  test("answers that a server keeps to itself, for want of a Sync, are no statement that runs", async () => {
    const client = await world.sluice.raw(user);
    client.send(parseMessage("", Buffer.from("select 1")), bindMessage("", ""), executeMessage("", 0));
    expect(shortOf(await client.until("E"))).toBe("1 2 D(1) C(SELECT 1) E(25P03)");
  });

  test("a statement that runs too long is cancelled with 57014, and the session goes on", async () => {
    const client = await world.sluice.connect(user);
    world.sluice.statements();
    const since = performance.now();
    await expect(client.query(ENDLESS)).rejects.toMatchObject({
      code: "57014",
      message: "canceling statement due to statement timeout",
      hint: expect.stringContaining("--statement-timeout"),
    });
    expect(performance.now() - since).toBeGreaterThanOrEqual(LIMIT);
    await expect(client.query({ text: ENDLESS, name: "endless" })).rejects.toMatchObject({ code: "57014" });
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    await client.end();
    expect(world.sluice.statements()).toMatchObject([{ sqlstate: "57014" }, { sqlstate: "57014" }, {}]);
  });

  test("a client can lower the limit of its statements, and not lift it", async () => {
    const client = await world.sluice.connect(user);
    await client.query("set statement_timeout = 0");
    await expect(client.query(ENDLESS)).rejects.toMatchObject({ hint: expect.stringContaining("proxy") });
    await client.query("set statement_timeout = '50ms'");
    const own = await client.query(ENDLESS).catch((error: unknown) => error);
    expect(own).toMatchObject({ code: "57014", message: "canceling statement due to statement timeout" });
    expect(own).not.toMatchObject({ hint: expect.anything() });
    await client.end();
  });
});

test("the statements of one message share the limit: a server answers them together", async () => {
  const client = await world.sluice.connect("helpdesk_app");
  const naps = `select pg_sleep(${LIMIT / 2000});`;
  await expect(client.query(naps.repeat(4))).rejects.toMatchObject({ code: "57014" });
  await client.query(naps);
  await client.end();
});

test("limits hold over a pool, and give its one connection back", async () => {
  const settings = {
    idleSessionTimeout: 4 * LIMIT,
    idleInTransactionTimeout: LIMIT,
    statementTimeout: LIMIT,
  };
  const pooled = await makeWorld("npm", { settings, pool: { size: 1 } });
  try {
    const [holder, other] = [
      await pooled.sluice.raw("helpdesk_app"),
      await pooled.sluice.raw("helpdesk_app"),
    ];
    holder.send(query(ENDLESS));
    expect(await holder.answer()).toBe("T(count) E(57014) Z(I)");
    other.send(query("select 1"));
    expect(await other.answer()).toMatch(/Z\(I\)$/);
    holder.send(query("begin"));
    await holder.until("Z");
    // Waits for the connection that the transaction holds, as long as that may be held.
    other.send(query("select 2"));
    expect(shortOf(await holder.until("E"))).toBe("E(25P03)");
    expect(await other.answer()).toBe("T(?column?) D(2) C(SELECT 1) Z(I)");
    expect(shortOf(await other.until("E"))).toBe("E(57P05)");
  } finally {
    await pooled.close();
  }
});

describe("a statement that cannot be cancelled ends its session in time", () => {
  test.concurrent("when its server is frozen: 08006, with a hint", async () => {
    const frozen = await makeWorld("npm", { settings: { statementTimeout: LIMIT } });
    const clients = await Promise.all(ROLES.map((user) => frozen.sluice.raw(user)));
    const pids = [frozen.server.pid, ...(await Promise.all(clients.map(backendOf)))];
    try {
      for (const pid of pids) process.kill(pid, "SIGSTOP");
      for (const client of clients) client.send(query("select 1"));
      for (const client of clients) {
        const [error] = (await client.until("E")).slice(-1);
        expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "C")).toBe("08006");
        expect(fieldOf(error?.bytes ?? Buffer.alloc(0), "H")).toMatch(/Connect again/);
        await client.closed();
      }
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
      await frozen.close();
    }
  });

  test.concurrent.each(ROLES)("when %s stops sending the data of a COPY: 57014", async (user) => {
    const client = await world.sluice.raw(user);
    client.send(query("copy tickets from stdin"));
    expect(shortOf(await client.until("E"))).toBe("G E(57014)");
    await client.closed();
  });

  test.concurrent("when its client does not read the result", async () => {
    const client = await world.sluice.raw("helpdesk_app");
    const pid = await backendOf(client);
    client.socket.pause();
    client.send(query("select repeat('x', 100000) from generate_series(1, 4000)"));
    await expect
      .poll(
        async () => (await world.database.query("select 1 from pg_stat_activity where pid = $1", [pid])).rows,
        {
          timeout: 20_000,
        },
      )
      .toEqual([]);
    client.socket.destroy();
    await once(client.socket, "close");
  });
});

test("a session that ends as it begins is not watched on", async () => {
  const settings = { idleSessionTimeout: LIMIT };
  const sluice = await startProxy(world.database, { policy: POLICY, settings });
  try {
    const hasty = await sluice.bare();
    const { database } = world.database;
    hasty.send(
      startupMessage([
        ["user", "helpdesk_app"],
        ["database", database],
      ]),
    );
    await hasty.until("R");
    // The proxy reads the catalog now, for the first time, and begins the session when it has it.
    hasty.send(Buffer.from("z\0\0\0\x04", "latin1"));
    expect(shortOf(await hasty.until("E"))).toMatch(/E\(08P01\)$/);
    await hasty.closed();
    const quiet = await sluice.raw("helpdesk_app");
    expect(shortOf(await quiet.until("E"))).toBe("E(57P05)");
    expect(sluice.log.filter((line) => line.includes("ended by a time limit"))).toHaveLength(1);
  } finally {
    await sluice.close();
  }
});
