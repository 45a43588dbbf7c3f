import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  copyFailMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { since } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { query, Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

/* Within a COPY a server takes no notice of Sync; once the COPY has failed it answers it. */

let world: World;
const sluices = new Map<string, TestProxy>();
beforeAll(async () => {
  world = await makeWorld();
  const watched = POLICY.replace(
    "sees: all, budget: none",
    "sees: all, watch: true, budget: { 1h: 1000000 }",
  );
  for (const [name, policy] of [
    ["open", POLICY],
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

const COPY = "copy tickets (id, customer_id) from stdin";
const simply = [query(COPY)];
const extended = [
  parseMessage("", Buffer.from(COPY)),
  bindMessage("", ""),
  executeMessage("", 0),
  flushMessage,
];
const noRow = message(Frontend.CopyData, Buffer.from("no row\n"));
const copyDone = message(Frontend.CopyDone);
const fail = copyFailMessage("enough");
const one = query("select 1 as one");

/** What begins the COPY, what follows once the server reads rows, and how often it is ready behind that. */
const CASES: readonly (readonly [string, readonly Buffer[], readonly Buffer[], number])[] = [
  ["Sync behind a row that is none", simply, [noRow, syncMessage], 2],
  ["Sync behind a row that is none, in a pipeline", extended, [noRow, syncMessage], 1],
  ["Syncs behind such a row", simply, [noRow, syncMessage, syncMessage], 3],
  ["Syncs behind such a row, in a pipeline", extended, [noRow, syncMessage, syncMessage], 2],
  ["Sync before the end", simply, [syncMessage, copyDone], 1],
  ["Sync before the end, in a pipeline", extended, [syncMessage, copyDone, syncMessage], 1],
  ["Sync before such a row", extended, [syncMessage, noRow, copyDone, syncMessage], 1],
  ["Sync before CopyFail", simply, [syncMessage, fail], 1],
  ["Sync before CopyFail, in a pipeline", extended, [syncMessage, fail, syncMessage], 1],
  ["a query behind a row that is none", simply, [noRow, one], 2],
  ["a query behind such a row, in a pipeline", extended, [noRow, one, syncMessage], 1],
  ["a query behind such a row and a Sync", simply, [noRow, syncMessage, one], 3],
  ["a query behind such a row and a Sync, in a pipeline", extended, [noRow, syncMessage, one], 2],
  ["a query behind a Sync and such a row", simply, [syncMessage, noRow, one], 2],
  [
    "a query behind a Sync and such a row, in a pipeline",
    extended,
    [syncMessage, noRow, one, syncMessage],
    1,
  ],
  ["a query behind a Sync and CopyFail, in a pipeline", extended, [syncMessage, fail, one, syncMessage], 1],
  ["a pipeline behind such a row", simply, [noRow, ...extended.slice(0, 2), syncMessage], 2],
];

async function answers(port: number, user: string, ...sent: (typeof CASES)[number]): Promise<string> {
  const [, begin, more, ready] = sent;
  const client = await Raw.logIn(port, user, world.database.database);
  const seen = [...(await client.send(...begin).until("G"))];
  client.send(...more);
  for (let i = 0; i < ready; i++) seen.push(...(await client.until("Z")));
  client.socket.end(Buffer.concat([one, ...extended.slice(0, 2), syncMessage]));
  for (let next = await client.next(); next !== undefined; next = await client.next()) seen.push(next);
  return shortOf(seen.filter(({ type }) => type !== "S"));
}

describe.each([
  ["sees all", "helpdesk_app", "session, open"],
  ["is watched", "helpdesk_app", "session, watched"],
  ["is guarded", "anna", "session, open"],
  ["sees all", "helpdesk_app", "pool, open"],
  ["is watched", "helpdesk_app", "pool, watched"],
  ["is guarded", "anna", "pool, open"],
])("in a COPY of a role that %s (%s, %s)", (_, user, way) => {
  // Postgres 13 itself goes on.
  test.runIf(since(14))("a query within the COPY ends the session as the server does", async () => {
    const port = sluices.get(way)?.port ?? 0;
    const ends = async (at: number) => {
      const client = await Raw.logIn(at, user, world.database.database);
      await client.send(...extended).until("G");
      const error = (await client.send(one).until("E")).at(-1);
      await client.closed();
      return error && shortOf([error]);
    };
    expect(await ends(port)).toBe(await ends(world.server.port));
  });

  test.each(CASES)("%s is answered as by the server", async (...sent) => {
    const port = sluices.get(way)?.port ?? 0;
    expect(await answers(port, user, ...sent)).toBe(await answers(world.server.port, user, ...sent));
  });
});
