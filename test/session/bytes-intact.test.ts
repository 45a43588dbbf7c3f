import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { fieldOf, type Message, Raw, valuesOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * Bytes that pass are lent to sockets, and the memory that they lie in is read into again. Where a server or a client
 * takes them slowly, they must still be what was sent.
 */

const POLICY = (app: string) => `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna], reads: all, writes: all, sees: [], budget: { 1d: 1000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, ${app} }
`;

let world: World;
const sluices = new Map<string, TestProxy>();
beforeAll(async () => {
  world = await makeWorld();
  await world.database.query("create table kept (n int, value text); grant all on kept to public");
  const watched = POLICY("watch: true, budget: { 1h: 1000000 }");
  for (const [name, policy] of [
    ["open", POLICY("budget: none")],
    ["watched", watched],
  ] as const) {
    sluices.set(`session, ${name}`, await startProxy(world.database, { policy }));
    sluices.set(`pool, ${name}`, await startProxy(world.database, { policy, pool: { size: 1 } }));
  }
});
afterAll(async () => {
  for (const sluice of sluices.values()) await sluice.close();
  await world?.close();
});

const ROWS = 40_000;
const query = (sql: string) => queryMessage(Buffer.from(sql));
const digest = (text: string) => createHash("md5").update(text).digest("hex");
/** No two are alike: bytes that came from elsewhere show. */
const VALUES = Array.from({ length: ROWS }, (_, n) => digest(String(n)).repeat(1 + (n % 17)));
const DIGEST = digest(VALUES.join(""));
const DIGEST_OF = "md5(string_agg(value, '' order by n))";

const kept = async (): Promise<string> => {
  const { rows } = await world.database.query(`select count(*) || ' ' || ${DIGEST_OF} as what from kept`);
  return String(rows[0]?.what);
};

/** Small statements come before it, as in a session that has lived for a while. */
async function open(way: string, user: string): Promise<Raw> {
  await world.database.query("truncate kept");
  const client = await Raw.logIn(sluices.get(way)?.port ?? 0, user, world.database.database);
  for (let i = 0; i < 20; i++) {
    const statement = [parseMessage("", Buffer.from("select 1 as one")), bindMessage("", "")];
    await client.send(...statement, executeMessage("", 0), syncMessage).until("Z");
    await client.send(query("select 1 as one"), query("select 2 as two")).until("Z");
    await client.until("Z");
  }
  return client;
}

const faults = (messages: readonly Message[]) =>
  messages.flatMap(({ type, bytes }) => (type === "E" ? [fieldOf(bytes, "M")] : []));

describe.each([
  ["sees all", "helpdesk_app", "session, open"],
  ["is watched", "helpdesk_app", "session, watched"],
  ["is guarded", "anna", "session, open"],
  ["sees all", "helpdesk_app", "pool, open"],
  ["is watched", "helpdesk_app", "pool, watched"],
  ["is guarded", "anna", "pool, open"],
])("of a role that %s (%s, %s)", (_, user, way) => {
  test("rows that a server copies in slowly are the client's", async () => {
    const client = await open(way, user);
    const rows: Buffer[] = [];
    for (let n = 0; n < ROWS; n += 100) {
      const lines = VALUES.slice(n, n + 100).map((value, i) => `${n + i}\t${value}\n`);
      rows.push(message(Frontend.CopyData, Buffer.from(lines.join(""))));
    }
    const ends = [message(Frontend.CopyDone), query("select 3 as three")];
    client.send(query("copy kept from stdin"), ...rows, ...ends);
    const answers = [...(await client.until("Z")), ...(await client.until("Z"))];
    expect(faults(answers)).toEqual([]);
    client.socket.destroy();
    expect(await kept()).toBe(`${ROWS} ${DIGEST}`);
  });

  test("long parameters that a server takes slowly are the client's", async () => {
    const client = await open(way, user);
    const insert = `insert into kept select $1::int, $2::text`;
    const messages = [parseMessage("s", Buffer.from(insert))];
    const values = Array.from({ length: 40 }, (_, i) =>
      VALUES.slice(i * 1_000, (i + 1) * 1_000).join(i % 2 === 0 ? "" : " "),
    );
    for (const [n, value] of values.entries()) {
      const given = [String(n), value].flatMap((text) => [int32(text.length), Buffer.from(text)]);
      const counts = [cstring(""), cstring("s"), uint16(0), uint16(2)];
      messages.push(message(Frontend.Bind, ...counts, ...given, uint16(0)), executeMessage("", 0));
    }
    client.send(...messages, syncMessage);
    expect(faults(await client.until("Z"))).toEqual([]);
    client.socket.destroy();
    expect(await kept()).toBe(`40 ${digest(values.join(""))}`);
  });

  test("rows that a client takes slowly are the server's", async () => {
    const client = await open(way, user);
    const value = "repeat(md5(n::text), 1 + n % 17)";
    client.send(query(`select ${value} as value from generate_series(0, ${ROWS - 1}) as n order by n`));
    const pauses = setInterval(() => {
      client.socket.pause();
      void nextTurn().then(() => client.socket.resume());
    }, 1);
    const answers = await client.until("Z").finally(() => clearInterval(pauses));
    expect(faults(answers)).toEqual([]);
    const values = answers.flatMap(({ type, bytes }) => (type === "D" ? valuesOf(bytes) : []));
    expect(digest(values.join(""))).toBe(DIGEST);
    client.socket.destroy();
  });
});
