import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Message, query, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/* The policy changes between the messages that one answer takes. What leaves is what the policy of the last of them allows. */

interface Said {
  readonly role?: string;
  readonly cost?: number;
  readonly tables?: string;
}

const TABLES = "  public.customers: { subject: id, columns: { email: email } }";
const WATCHED = "reads: all, writes: all, sees: all, watch: true, budget: { 1d: 1000 }";
const GUARDED = "reads: all, writes: [public.tickets], sees: [email], budget: { 1d: 12 }";

const policyOf = ({ role = GUARDED, cost = 1, tables = TABLES }: Said) => `
version: 1
classes: { email: { mask: email, cost: ${cost} } }
tables:
${tables}
roles:
  agent: { users: [anna], ${role} }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: policyOf({}) });
  await world.database.query("ALTER ROLE helpdesk_app SET app.other = 'ben'");
});
afterAll(() => world?.close());

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));
const SQL = "SELECT id, email FROM customers WHERE id > 0 ORDER BY id LIMIT 6";

interface Window {
  readonly what: string;
  /** Each with the type of the message that ends its answer. */
  readonly before: readonly (readonly [readonly Buffer[], string])[];
  readonly after: readonly Buffer[];
}

const BEGIN = [[query("BEGIN")], "Z"] as const;

const WINDOWS: readonly Window[] = [
  {
    what: "Parse and Bind",
    before: [[[parse("s", SQL), syncMessage], "Z"]],
    after: [bindMessage("", "s"), executeMessage("", 0), syncMessage],
  },
  {
    what: "Bind and Execute",
    before: [[[parse("", SQL), bindMessage("", ""), flushMessage], "2"]],
    after: [executeMessage("", 0), syncMessage],
  },
  {
    what: "Execute and Execute",
    before: [BEGIN, [[parse("", SQL), bindMessage("p", ""), executeMessage("p", 1), syncMessage], "Z"]],
    after: [executeMessage("p", 0), syncMessage],
  },
  {
    what: "DECLARE and FETCH",
    before: [BEGIN, [[query(`DECLARE c CURSOR FOR ${SQL}`)], "Z"]],
    after: [query("FETCH ALL FROM c")],
  },
  {
    what: "DECLARE WITH HOLD and FETCH",
    before: [[[query(`DECLARE c CURSOR WITH HOLD FOR ${SQL}`)], "Z"]],
    after: [query("FETCH ALL FROM c")],
  },
  {
    what: "Bind and Execute of FETCH",
    before: [
      BEGIN,
      [[query(`DECLARE c CURSOR FOR ${SQL}`)], "Z"],
      [[parse("", "FETCH ALL FROM c"), bindMessage("", ""), flushMessage], "2"],
    ],
    after: [executeMessage("", 0), syncMessage],
  },
  {
    what: "PREPARE and EXECUTE",
    before: [[[query(`PREPARE x AS ${SQL}`)], "Z"]],
    after: [query("EXECUTE x")],
  },
];

interface Outcome {
  readonly shown: number;
  readonly said: string;
  readonly people: number;
}

async function across({ before, after }: Window, first: Said, then: Said): Promise<Outcome> {
  const sluice: TestProxy = await startProxy(world.database, { policy: policyOf(first) });
  const raw = await sluice.raw("anna");
  for (const [messages, end] of before) {
    raw.send(...messages);
    await raw.until(end);
  }
  sluice.setPolicy(policyOf(then));
  raw.send(...after);
  const answer: readonly Message[] = await raw.until("Z");
  raw.socket.end();
  await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
  await sluice.close();
  return {
    shown: answer.filter(({ type }) => type === "D").length,
    said: shortOf(answer),
    people: sluice.statements().reduce((sum, event) => sum + event.people, 0),
  };
}

describe.each(WINDOWS)("between $what", (window) => {
  test("a class that costs more is charged as it costs now", async () => {
    const { shown, said } = await across(window, {}, { cost: 5 });
    expect(said).toContain("53400");
    expect(shown).toBeLessThanOrEqual(2);
  });

  test("people are counted whom the policy counts now", async () => {
    const { people } = await across(
      window,
      { role: WATCHED, tables: "  public.tickets: { subject: id }" },
      { role: WATCHED },
    );
    expect(people).toBeGreaterThanOrEqual(5);
  });
});

describe.each(["watch: true", "acts_as: agent"])("of an application (%s)", (how) => {
  const behind = (sources: string) => `
version: 1
tables:
${TABLES.replace(", columns: { email: email }", "")}
roles:
  agent: { users: [anna], reads: all, budget: { 1d: 1000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, ${how}, budget: { 1d: 1000 }, people_behind: [${sources}], unnamed: { budget: { 1h: 500 } } }
`;
  const [AGENT, OTHER] = ["{ setting: app.agent }", "{ setting: app.other }"];

  test.each([
    ["another source", AGENT, OTHER, "ben"],
    ["a source before the others", AGENT, `${OTHER}, ${AGENT}`, "ben"],
    ["fewer sources", `${OTHER}, ${AGENT}`, AGENT, "anna"],
  ])("%s names who reads next", async (_what, first, then, name) => {
    const sluice = await startProxy(world.database, { policy: behind(first) });
    const raw = await sluice.raw("helpdesk_app");
    const ask = (sql: string) => raw.send(query(sql)).until("Z");
    await ask("SET app.agent = 'anna'");
    await ask(SQL);
    sluice.setPolicy(behind(then));
    await ask(`${SQL} OFFSET 1`);
    raw.socket.end();
    await expect.poll(() => sluice.events.some(({ kind }) => kind === "logout")).toBe(true);
    const event = sluice.statements().findLast(({ people }) => people > 0);
    expect(event).toMatchObject({ user: name, account: "helpdesk_app" });
    await sluice.close();
  });
});
