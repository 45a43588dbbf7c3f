import { createHash } from "node:crypto";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { POLICY } from "../clients/policy.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { servesAsBefore } from "./afterwards.ts";
import { bind, execute, frame, int32, parse, query, RawClient, startup, sync, text } from "./raw-client.ts";

let database: TestDatabase;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("random bytes");
  await supportSchema(database.uri);
  sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    flags: ["--max-message", "1MB", "--login-timeout", "1s"],
  });
});
afterAll(async () => {
  await sluice?.close();
  await database.drop();
});
afterEach(() => servesAsBefore(sluice, database));

/** Random, and the same at every run. */
function noise(seed: string, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) =>
    createHash("sha256").update(`${seed} ${i}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, length);
}

const SEEDS = Array.from({ length: 20 }, (_, i) => `seed ${i}`);
const endings = (user: keyof typeof PASSWORDS) => sluice.uriFor(user, PASSWORDS[user]);

test("noise in place of a startup packet ends the connection without a word of the database", async () => {
  for (const seed of SEEDS) {
    const client = new RawClient(sluice.port);
    client.say(noise(seed, 300));
    const seen = await client.end();
    expect(seen.at(-1)).toBe("end");
    expect(seen.slice(0, -1).every((message) => /^E FATAL (08P01|0A000|28000)$/.test(message))).toBe(true);
  }
});

test("noise in place of a password ends the login", async () => {
  for (const seed of SEEDS.slice(0, 8)) {
    const client = new RawClient(sluice.port);
    client.say(startup({ user: "anna", database: database.database }));
    await client.expect("R");
    client.say(noise(seed, 200));
    expect(await client.end()).toEqual(["E FATAL 08P01", "end"]);
  }
});

test("noise in the SCRAM exchange, in right frames, ends the login", async () => {
  for (const seed of SEEDS.slice(0, 8)) {
    const client = new RawClient(sluice.port);
    client.say(startup({ user: "anna", database: database.database }));
    await client.expect("R");
    client.say(frame("p", text("SCRAM-SHA-256"), int32(40), noise(seed, 40)));
    const [refused, end] = await client.end();
    expect(refused).toMatch(/^E FATAL (08P01|28P01)$/);
    expect(end).toBe("end");
  }
});

describe.each(["anna", "helpdesk_app"] as const)("in a session of %s", (user) => {
  test("noise ends the session, and says that it broke the protocol", async () => {
    for (const seed of SEEDS) {
      const client = await RawClient.loggedIn(endings(user));
      client.say(noise(seed, 500));
      // Noise may begin with the head of a message whose end never comes.
      client.socket.end();
      const seen = await client.end();
      expect(seen.filter((message) => message !== "end" && message !== "E FATAL 08P01")).toEqual([]);
    }
  });

  test("noise in right frames never brings a row", async () => {
    const types = ["Q", "P", "B", "D", "E", "C", "F", "H", "S", "d", "c", "f"];
    for (const [i, seed] of SEEDS.entries()) {
      const client = await RawClient.loggedIn(endings(user));
      client.say(
        ...types.map((_, n) => frame(types[(n + i) % types.length] ?? "S", noise(`${seed} ${n}`, 7 * n))),
        sync,
      );
      client.socket.end();
      const seen = await client.end();
      expect(seen.filter((message) => message.startsWith("D"))).toEqual([]);
    }
  });

  test("right messages one byte at a time are right messages", async () => {
    const client = await RawClient.loggedIn(endings(user));
    const said = [
      parse("", "SELECT name FROM customers WHERE id = 7"),
      bind("", ""),
      execute(""),
      sync,
      query("SELECT 1"),
    ];
    for (const byte of Buffer.concat(said)) {
      if (!client.socket.write(Buffer.of(byte))) await once(client.socket, "drain");
    }
    expect(await client.until(2)).toEqual(["1", "2", "D", "C", "Z I", "T", "D", "C", "Z I"]);
    client.say(frame("X"));
    await client.end();
  });

  test("a message cut off by the client's end does nothing", async () => {
    const client = await RawClient.loggedIn(endings(user));
    const update = query("UPDATE tickets SET status = 'cut off' WHERE id = 7");
    client.say(update.subarray(0, -1));
    client.socket.end();
    await client.end();
    await servesAsBefore(sluice, database);
    const { rowCount } = await database.query("SELECT 1 FROM tickets WHERE status = 'cut off'");
    expect(rowCount).toBe(0);
  });
});

test("a client that says nothing is let go after the time for login", async () => {
  const silent = new RawClient(sluice.port);
  const waiting = new RawClient(sluice.port);
  waiting.say(startup({ user: "anna", database: database.database }));
  await waiting.expect("R");
  expect(await silent.end()).toEqual(["end"]);
  expect((await waiting.end()).at(-1)).toBe("end");
});

test("a client that vanishes in the middle of a result takes its statement with it", async () => {
  const client = await RawClient.loggedIn(endings("helpdesk_app"));
  client.say(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"));
  await client.expect("T");
  client.socket.destroy();
  await servesAsBefore(sluice, database);
});

test("a client that does not read holds nobody up, and may go", async () => {
  const client = await RawClient.loggedIn(endings("helpdesk_app"));
  client.say(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"));
  await client.expect("T");
  client.socket.pause();
  const other = await RawClient.loggedIn(endings("anna"));
  other.say(query("SELECT 1"), frame("X"));
  expect(await other.end()).toEqual(["T", "D", "C", "Z I", "end"]);
  client.socket.destroy();
});

test("a client that vanishes in the middle of COPY has copied nothing", async () => {
  const client = await RawClient.loggedIn(endings("helpdesk_app"));
  client.say(query("COPY payments (id, customer_id, amount_cents, currency, paid_at) FROM STDIN"));
  await client.expect("G");
  client.say(frame("d", Buffer.from("900001\t7\t100\tEUR\t2024-02-01\n")));
  client.socket.destroy();
  await servesAsBefore(sluice, database);
  const { rowCount } = await database.query("SELECT 1 FROM payments WHERE id = 900001");
  expect(rowCount).toBe(0);
});
