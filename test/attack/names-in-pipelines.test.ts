import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Raw, valuesOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";

/*
 * Without BEGIN the messages up to a Sync are one transaction (Postgres docs, 53.2.4 "Pipelining"). Its end takes SET
 * LOCAL back, an error takes SET back as well. A client that sends more before it has heard of that end is charged as the
 * person whom the server names by then, and not as the one who was named within.
 */

const TABLES = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers] }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    people_behind: [{ setting: app.agent }]
`;
const POLICIES = [
  ["a watched role", `${TABLES}    watch: true\n    unnamed: { budget: { 1h: 100 } }\n`],
  ["people with roles", `${TABLES}    acts_as: agent\n    unnamed: { budget: { 1h: 100 } }\n`],
] as const;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICIES[0][1] });
  await world.database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app");
});
afterAll(() => world?.close());

const run = (sql: string) => [parseMessage("", Buffer.from(sql)), bindMessage("", ""), executeMessage("", 0)];
const read = (id: number) =>
  run(`SELECT email, current_setting('app.agent', true) AS agent FROM customers WHERE id = ${id}`);

/** What one pipeline names, reads and leaves, and who is named when the next one, sent at once, reads. */
const WAYS: readonly (readonly [name: string, pipeline: readonly Buffer[]])[] = [
  ["SET LOCAL", [...run("SET LOCAL app.agent = 'ben'"), ...read(2), syncMessage]],
  ["set_config", [...run("SELECT set_config('app.agent', 'ben', true)"), ...read(2), syncMessage]],
  ["a SET that fails", [...run("SET app.agent = 'ben'"), ...read(2), ...run("SELECT 1/0"), syncMessage]],
  ["a name taken away", [...run("SET LOCAL app.agent = ''"), ...read(2), syncMessage]],
  ["one that fails", [...run("SET app.agent = ''"), ...read(2), ...run("SELECT 1/0"), syncMessage]],
];

const CASES = POLICIES.flatMap(([role, policy]) =>
  WAYS.map(([way, pipeline]) => [role, way, policy, pipeline] as const),
);

test.each(CASES)(
  "%s: %s ends with its transaction, also for what is sent at once",
  async (_, __, policy, pipeline) => {
    const sluice = await startProxy(world.database, { policy });
    const raw = await sluice.raw("helpdesk_app");
    raw.send(queryMessage(Buffer.from("SET app.agent = 'anna'")));
    await raw.until("Z");
    raw.send(...pipeline, ...read(3), syncMessage, ...read(4), syncMessage);
    await raw.until("Z");
    const [third, fourth] = [await row(raw), await row(raw)];
    const isActing = policy.includes("acts_as");
    for (const [email, agent] of [third, fourth]) {
      expect(agent).toBe("anna");
      expect(email).toMatch(isActing ? /\*/ : /^[^*]+$/);
    }
    expect(await readersOf(sluice, 3)).toEqual([expect.any(String), "anna", "anna"]);
    raw.socket.destroy();
    await sluice.close();
  },
);

async function row(raw: Raw): Promise<readonly string[]> {
  const found = (await raw.until("Z")).find(({ type }) => type === "D");
  return found === undefined ? [] : valuesOf(found.bytes);
}

/** Who is on record for each statement that showed somebody, in order. */
async function readersOf(sluice: TestProxy, count: number): Promise<readonly string[]> {
  // A statement that is run again at once is one event with its number.
  const found = () =>
    sluice.events.flatMap((event) =>
      event.kind === "statement" && event.people > 0 ? Array<string>(event.count ?? 1).fill(event.user) : [],
    );
  await expect.poll(() => found().length).toBe(count);
  return found();
}
