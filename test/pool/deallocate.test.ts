import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { fieldOf, type Message, query, Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";

/* DEALLOCATE among other statements of one simple query: the server knows the client's names for as long as that runs. */

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 1 } });
});
afterAll(() => world?.close());

const prepare = (name: string, sql: string) => [parseMessage(name, Buffer.from(sql)), syncMessage];
const run = (name: string) => [bindMessage("", name), executeMessage("", 0), syncMessage];
const BOTH = [...prepare("a", "select 'a'"), ...prepare("b", "select 'b'")];

const CASES: readonly (readonly [string, readonly Buffer[]])[] = [
  ["two names", [...BOTH, query("deallocate a; deallocate b"), ...run("a"), ...run("b")]],
  ["one name twice", [...BOTH, query("deallocate a; deallocate a; deallocate b"), ...run("a"), ...run("b")]],
  ["a name that is free", [...BOTH, query("deallocate a; deallocate nobody; deallocate b"), ...run("b")]],
  [
    "names among other statements",
    [...BOTH, query("select 1; deallocate a; select 2"), ...run("a"), ...run("b")],
  ],
  ["names behind a failure", [...BOTH, query("select 1/0; deallocate a"), ...run("a")]],
  [
    "names before a failure",
    [...BOTH, query("deallocate a; select 1/0; deallocate b"), ...run("a"), ...run("b")],
  ],
  [
    "names in a failed block",
    [
      ...BOTH,
      query("begin"),
      query("select 1/0"),
      query("deallocate a; deallocate b"),
      query("rollback"),
      ...run("a"),
    ],
  ],
  [
    "one name in a failed block",
    [...BOTH, query("begin"), query("select 1/0"), query("deallocate a"), query("rollback"), ...run("a")],
  ],
  [
    "one name behind the block's failure in the same text",
    [...BOTH, query("begin; select 1/0"), query("deallocate a"), query("rollback; select 1"), ...run("a")],
  ],
  [
    "one name behind a failed block that ends",
    [...BOTH, query("begin; select 1/0"), query("rollback"), query("deallocate a"), ...run("a")],
  ],
  [
    "names in a block that is rolled back",
    [...BOTH, query("begin; deallocate a; rollback"), ...run("a"), ...run("b")],
  ],
  ["all", [...BOTH, query("deallocate a; deallocate all; select 1"), ...run("a"), ...run("b")]],
  [
    "a name that is pipelined",
    [parseMessage("a", Buffer.from("no sql")), syncMessage, query("deallocate a; select 1"), ...run("a")],
  ],
  [
    "a name that is given anew",
    [...BOTH, query("deallocate a; select 1"), ...prepare("a", "select 'anew'"), ...run("a")],
  ],
  [
    "a quoted name",
    [...prepare("A b", "select 7"), query('deallocate "A b"; deallocate "a b"'), ...run("A b")],
  ],
  [
    "a message of the extended protocol",
    [parseMessage("", Buffer.from("deallocate a; deallocate b")), syncMessage],
  ],
];

async function answers(port: number, user: string, sent: readonly Buffer[]): Promise<string> {
  const client = await Raw.logIn(port, user, world.database.database);
  client.send(...sent, query("select 'the end'"));
  const seen: Message[] = [];
  while (!seen.some(({ type, bytes }) => type === "D" && bytes.includes("the end"))) {
    const next = await client.next();
    if (next === undefined) return `${shortOf(seen)} closed`;
    seen.push(next);
  }
  await client.until("Z");
  client.socket.destroy();
  return seen
    .map((each) =>
      each.type === "E" ? `E(${fieldOf(each.bytes, "C")} ${fieldOf(each.bytes, "M")})` : shortOf([each]),
    )
    .join(" ");
}

describe("DEALLOCATE, by itself or in a text of several statements", () => {
  test.each(CASES)("%s: as the server answers it", async (_, sent) => {
    const { server, sluice } = world;
    expect(await answers(sluice.port, "helpdesk_app", sent)).toBe(
      await answers(server.port, "helpdesk_app", sent),
    );
  });

  test("and by a driver's statement, in a failed block, is not done", async () => {
    const { server, sluice } = world;
    const asked = async (port: number) => {
      const client = await Raw.logIn(port, "helpdesk_app", world.database.database);
      const seen: string[] = [];
      for (const sent of [
        [...prepare("a", "select 'a'")],
        [query("begin")],
        [query("select 1/0")],
        [...prepare("d", "deallocate a")],
        [query("rollback")],
        [...prepare("d", "select 'd'")],
        [...run("a")],
      ])
        seen.push(await client.send(...sent).answer());
      client.socket.destroy();
      return seen;
    };
    expect(await asked(sluice.port)).toEqual(await asked(server.port));
  });

  test("leaves no name of one client's on the connection that another one gets", async () => {
    const { sluice } = world;
    await answers(sluice.port, "helpdesk_app", [...BOTH, query("select 1/0; deallocate a; deallocate b")]);
    const other = await sluice.connect("helpdesk_app");
    const { rows } = await other.query("select name from pg_prepared_statements where name !~ '^sluice_'");
    await other.end();
    expect(rows).toEqual([]);
  });
});
