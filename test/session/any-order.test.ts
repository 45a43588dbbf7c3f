import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  bindMessage,
  closeMessage,
  copyFailMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { upToItsEnd } from "../harness/postgres-versions.ts";
import { startProxy } from "../harness/proxy.ts";
import { type Message, Raw, shortOf } from "../harness/raw-client.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

const RUNS = process.env.SLUICE_ORDER_RUNS;
const SEED = process.env.SLUICE_ORDER_SEED;
/** As many runs as are asked for, each time others, or a seed's; a few that are always the same if none are. */
const runsOf = (few: number) =>
  RUNS === undefined
    ? { numRuns: few, seed: 7 }
    : { numRuns: Number(RUNS), ...(SEED === undefined ? {} : { seed: Number(SEED) }) };
const LIMIT_MS = RUNS === undefined ? 400_000 : 1_800_000;

/** What anna may say without being refused or cut off: then Sluice must be as the server itself. */
const TEXTS = [
  "select 1 as one",
  "select id from tickets where id < 3 order by id",
  "select g from generate_series(1, 20) g",
  "update tickets set status = 'open' where id = 1",
  "update tickets set status = 'open' where id < 3 returning id",
  "select 1/(count(*) - count(*)) from tickets",
  "this is no sql",
  "select nothing",
  "begin",
  "commit",
  "rollback",
  "savepoint a",
  "rollback to a",
  "set search_path to public",
  "reset search_path",
  "prepare s as select 7 as seven",
  "execute s",
  "deallocate s",
  "deallocate all",
  "declare p cursor for select id from tickets order by id",
  "declare p cursor with hold for select 5 as five",
  "fetch 2 from p",
  "fetch all from p",
  "move 1 from p",
  "close p",
  "close all",
  "discard all",
  "copy tickets (id, customer_id) from stdin",
  "copy (select id from tickets where id < 3 order by id) to stdout",
  "",
  "select 1; select 2",
  "begin; select 3; commit",
  "select 4; this is no sql",
];

const names = fc.constantFrom("", "q", "s", "p");
/** EXECUTE s must not run just any statement: what it may not run is refused. */
const parsed = fc.constantFrom("", "q");
const SELECT_ONE = parseMessage("s", Buffer.from("select 'one' as one"));
const messagesWith = (...some: readonly string[]) => {
  const texts = fc.constantFrom(...some).map((text) => Buffer.from(text));
  return fc.oneof(
    { weight: 4, arbitrary: texts.map(queryMessage) },
    { weight: 4, arbitrary: fc.tuple(parsed, texts).map(([name, text]) => parseMessage(name, text)) },
    { weight: 4, arbitrary: fc.tuple(names, names).map(([portal, name]) => bindMessage(portal, name)) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom("statement" as const, "portal" as const), names)
        .map(([target, name]) => describeMessage({ target, name })),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(names, fc.constantFrom(0, 0, 1, 3))
        .map(([name, rows]) => executeMessage(name, rows)),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom("statement" as const, "portal" as const), names)
        .map(([target, name]) => closeMessage({ target, name })),
    },
    { weight: 4, arbitrary: fc.constant(syncMessage) },
    { weight: 1, arbitrary: fc.constant(SELECT_ONE) },
    { weight: 1, arbitrary: fc.constant(flushMessage) },
    { weight: 1, arbitrary: fc.constant(message(Frontend.CopyData, Buffer.from("no row\n"))) },
    { weight: 1, arbitrary: fc.constant(message(Frontend.CopyDone)) },
    { weight: 1, arbitrary: fc.constant(copyFailMessage("enough")) },
  );
};

/** Ends whatever state the messages have left. */
const END = [
  copyFailMessage("end"),
  syncMessage,
  queryMessage(Buffer.from("rollback")),
  queryMessage(Buffer.from("select 'the end'")),
];

/** No COPY may use cleo's budget up. */
const ENDLESS = POLICY.replace("1d: 5", "1d: 1000000");

const sealer = sealerOf(keyLine(1, 7));
const SEALING = ENDLESS.replace("version: 1", `version: 1\ntoken_canary: ${canaryToken(sealer)}`).replace(
  "{ mask: email }",
  "{ mask: email, stored: token }",
);

/** Debian's server is older, and does not tell of search_path: it must be asked. That of tokens is npm's. */
const worlds = new Map<"npm" | "debian" | "tokens", World>();
beforeAll(async () => {
  for (const version of ["npm", "debian"] as const)
    worlds.set(version, await makeWorld(version, { policy: ENDLESS }));
  worlds.set("tokens", await makeWorld("npm", { policy: SEALING, tokens: sealer }));
});
afterAll(async () => {
  for (const world of worlds.values()) await world.close();
});

async function answers(
  port: number,
  user: string,
  database: string,
  sent: readonly Buffer[],
): Promise<string> {
  const client = await Raw.logIn(port, user, database);
  client.send(...sent, ...END);
  const seen: Message[] = [];
  while (!seen.some(({ type, bytes }) => type === "D" && bytes.includes("the end"))) {
    const next = await Promise.race([client.next(), silence()]);
    if (next === "silence") return `${shortOf(seen)} silence`;
    // The server says twice why it ends a session that is out of step, as an error and as the end.
    if (next === undefined) return `${shortOf(seen).replace("E(08P01) E(08P01)", "E(08P01)")} closed`;
    seen.push(next);
    if (/[a-z]\.\d+@example\.com/.test(next.bytes.toString("latin1"))) return "a clear address";
  }
  client.socket.destroy();
  // The server tells of search_path when it likes to.
  return seen
    .filter(({ type }) => type !== "S")
    .map((each) => shortOf([each]))
    .join(" ");
}

/** Long enough for any of these messages: who is silent so long waits for something that does not come. */
function silence(): Promise<"silence"> {
  return new Promise((resolve) => {
    setTimeout(() => resolve("silence"), 20_000).unref();
  });
}

/** Each gives one column: masked addresses, or "one". */
const LEADS = [
  "select email from customers order by id",
  "select email from customers where id < 4",
  "select email from customers where id < 4; select 'one' as one",
  "prepare s as select email from customers",
  "prepare s as select 'one' as one",
  "declare p cursor for select email from customers",
  "declare p cursor with hold for select 'one' as one from customers where id < 30",
  "copy customers (email) to stdout",
  "copy (select email from customers where id < 4) to stdout (format binary)",
  "select rolpassword from pg_authid",
  "update tickets set status = 'open' where id < 3",
  "execute s",
  "fetch 4 from p",
  "fetch backward 4 from p",
  "deallocate s",
  "close p",
  "begin",
  "commit",
  "rollback",
  "set search_path to nowhere, public",
  "select 'one' as one",
  "select 1/(count(*) - count(*)) from tickets",
];

function shown(sent: readonly Buffer[]): string {
  return sent.map((bytes) => bytes.toString("latin1").replaceAll(/[^\x20-\x7e]+/g, ".")).join(" | ");
}

const asMessages = (...texts: readonly string[]) => texts.map((text) => queryMessage(Buffer.from(text)));
const parse = (name: string, text: string) => parseMessage(name, Buffer.from(text));

/** Portals that name themselves or each other; what a server drops, and what it was told to do with names. */
const EXAMPLES = [
  [executeMessage("nowhere", 0), ...asMessages("set search_path to public", "copy tickets (id) from stdin")],
  [
    ...asMessages("begin; declare p cursor for select 1 as one"),
    executeMessage("p", 1),
    ...asMessages("fetch 1 from p"),
  ],
  [
    executeMessage("nowhere", 0),
    parse("q", "select 1 as one"),
    syncMessage,
    bindMessage("", "q"),
    syncMessage,
  ],
  [parse("p", "move 1 from p"), bindMessage("p", "p"), executeMessage("p", 1), syncMessage],
  [parse("p", "fetch 1 from p"), bindMessage("p", "p"), executeMessage("p", 0), syncMessage],
  [
    ...[parse("q", "fetch 1 from p"), bindMessage("p", "q")],
    ...[parse("", "move 1 from p"), bindMessage("", ""), executeMessage("", 0), syncMessage],
  ],
];

// anna is cut off by an error, ben's results are truncated, cleo's people are counted; none of it happens here.
test.each([
  ["npm", "helpdesk_app"],
  ["npm", "anna"],
  ["npm", "ben"],
  ["npm", "cleo"],
  ["debian", "anna"],
  ["tokens", "helpdesk_app"],
  ["tokens", "anna"],
] as const)(
  "messages in any order are answered as the server itself answers them (%s, %s)",
  async (version, user) => {
    const { server, sluice, database } = worlds.get(version) as World;
    const runs = fc.asyncProperty(
      fc.array(messagesWith(...TEXTS), { minLength: 1, maxLength: 20 }),
      async (sent) => {
        const direct = upToItsEnd(await answers(server.port, user, database.database, sent));
        const ours = upToItsEnd(await answers(sluice.port, user, database.database, sent));
        expect(ours, shown(sent)).toBe(direct);
      },
    );
    await fc.assert(runs, { ...runsOf(20), examples: EXAMPLES.map((each) => [each]) });
  },
  LIMIT_MS,
);

/** Of a watched role columns are added, and the server is asked between two messages. */
const WATCHED_TEXTS = [
  "select name from customers where id < 4 order by id",
  "select id, name from customers order by id limit 5",
  "select string_agg(name, ',' order by id) from customers where id < 4",
  "update tickets set status = 'open' where id < 3 returning id",
  "declare p cursor for select name from customers order by id",
  "declare p cursor with hold for select name from customers where id < 30 order by id",
  "fetch 2 from p",
  "prepare s as select name from customers where id = 1",
  "execute s",
  "set app.agent = 'anna'",
  "set search_path to nowhere, public",
  "reset search_path",
  "create temporary table customers as select 1 as id, 'x'::text as name",
  "drop table pg_temp.customers",
  "copy (select id from customers where id < 4 order by id) to stdout",
  "begin",
  "savepoint a",
  "rollback to a",
  "commit",
  "select nothing from customers",
  "select 1/(count(*) - count(*)) from customers",
  "select name from customers where id = 1; select 'one' as one; select name from customers where id = 2",
];

/** The server is asked in a pipeline that runs nothing of the client's, and a query follows. */
const ASKED_BEFORE = [
  [
    ...[
      parse("q", "set search_path to nowhere, public"),
      parse("", "select name from customers where id = 1"),
    ],
    ...[...asMessages("update tickets set status = 'open' where id = 1"), syncMessage],
    ...asMessages("select 'one' as one"),
  ],
  [
    ...[parse("q", "select set_config('search_path', 'public', false)"), bindMessage("", "q")],
    ...[parse("", "select name from customers where id = 1")],
    ...[...asMessages("select name from customers where id = 2", "select 'one' as one"), syncMessage],
    ...asMessages("select 'two' as two"),
  ],
];

test(
  "messages of a watched role in any order are answered as the server itself answers them",
  async () => {
    const { server, database } = worlds.get("npm") as World;
    const policy = ENDLESS.replace(
      "sees: all, budget: none",
      "sees: all, watch: true, budget: { 1h: 100000000 }",
    );
    const sluice = await startProxy(database, { policy });
    const runs = fc.asyncProperty(
      fc.array(messagesWith(...WATCHED_TEXTS), { minLength: 1, maxLength: 20 }),
      async (sent) => {
        const direct = upToItsEnd(await answers(server.port, "helpdesk_app", database.database, sent));
        const ours = upToItsEnd(await answers(sluice.port, "helpdesk_app", database.database, sent));
        expect(ours, shown(sent)).toBe(direct);
      },
    );
    await fc.assert(runs, { ...runsOf(20), examples: ASKED_BEFORE.map((each) => [each]) });
    await sluice.close();
  },
  LIMIT_MS,
);

// Refusals, cuts and errors in any place must not shift what belongs to which statement.
test.each(["anna", "ben", "cleo"])(
  "no order of messages leads %s to a clear address, a hidden field or a session out of step",
  async (user) => {
    const { sluice, database } = worlds.get("npm") as World;
    const runs = fc.asyncProperty(
      fc.array(messagesWith(...LEADS), { minLength: 1, maxLength: 20 }),
      async (sent) => {
        const answer = await answers(sluice.port, user, database.database, sent);
        const rows = [...answer.matchAll(/ D\(([^)]*)\)/g)].map(([, values]) => values);
        expect(
          rows.every((values) => /^(.\*\*\*@example\.com|one|the end)$/.test(values ?? "")),
          `${shown(sent)}: ${answer}`,
        ).toBe(true);
        expect(answer, shown(sent)).not.toMatch(/XX000\) closed|silence/);
        expect(answer, shown(sent)).toMatch(/D\(the end\)$|E\(08P01\) closed$/);
      },
    );
    await fc.assert(runs, runsOf(50));
  },
  LIMIT_MS,
);
