import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queryMessage } from "../../proxy/wire/frontend-messages.ts";
import type { Raw } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY_SETUP, showsCanary } from "./canary.ts";
import { type Attack, CATALOGS, FINDER, INFERENCE, LACKING, READS, ROWS, WRITES } from "./cases.ts";
import { COLUMNS, ERRORS, formsOf, MADE, PLACES, SESSIONS } from "./more-cases.ts";
import { AFTER, BEFORE, SHAPES, type Shape, WRAPPINGS } from "./shapes.ts";
import { ATTACK_POLICY } from "./worlds.ts";

/** A whole proxy, attacked over the wire: every byte that comes back is searched for protected values. */

const POLICY = `${ATTACK_POLICY}
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
`;

type Group = readonly [name: string, attacks: readonly Attack[]];

const READING: readonly Group[] = [
  ["a relation by another name", READS],
  ["whole rows", ROWS],
  ...COLUMNS.map(
    ([relation, column]): Group => [`every form of ${relation}.${column}`, formsOf(relation, column)],
  ),
];

const GROUPS: readonly Group[] = [
  ...READING,
  ["inference", INFERENCE],
  ["catalogs and functions that read", CATALOGS],
  ["places where the server keeps values", PLACES],
  ["things made to be read through", MADE],
  ["another path, another user, another encoding", SESSIONS],
  ["errors that would quote a value", ERRORS],
  ["writes", WRITES],
  ["what the reader lacks nearer by", LACKING],
  ["searches by value", FINDER],
];

test("there are more than five hundred attacks", () => {
  expect(GROUPS.reduce((sum, [, attacks]) => sum + attacks.length, 0)).toBeGreaterThan(500);
});

describe.each([
  { version: "npm" as const, server: "the npm package's newest", step: 1 },
  // A sample: the proxy's part is the same.
  { version: "debian" as const, server: "Debian's 15", step: 4 },
])("on $server server", ({ version, step }) => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld(version, { policy: POLICY });
    await world.database.query(CANARY_SETUP);
  });
  afterAll(() => world?.close());

  async function session(user: string): Promise<Raw> {
    const client = await world.sluice.raw(user);
    await client.send(queryMessage(Buffer.from("SET statement_timeout = '2s'"))).until("Z");
    return client;
  }

  test.each(GROUPS)(
    "%s: no byte of a protected value, in any shape",
    { timeout: 120_000 },
    async (_, attacks) => {
      const cleo = await session("cleo");
      const shown: string[] = [];
      for (const attack of attacks.filter((_, index) => index % step === 0))
        for (const shape of shapesOf(attack))
          if (showsCanary(await received(cleo, shape, attack))) shown.push(`${shape.name}: ${attack}`);
      expect(shown).toEqual([]);
      cleo.socket.destroy();
    },
  );

  test("most forms of a protected column are answered, with masks: refusing is not what hides the values", async () => {
    const cleo = await session("cleo");
    const forms = COLUMNS.flatMap(([relation, column]) => formsOf(relation, column));
    let answered = 0;
    for (const form of forms) {
      cleo.send(queryMessage(Buffer.from(form)));
      if ((await cleo.until("Z")).some(({ type }) => type === "D")) answered++;
    }
    expect(answered / forms.length).toBeGreaterThan(0.6);
    cleo.socket.destroy();
  });

  test("without masks nearly every attack that reads shows values: each of them can fail", {
    timeout: 120_000,
  }, async () => {
    const app = await session("helpdesk_app");
    const [simple] = SHAPES;
    if (simple === undefined) throw new Error("no shape");
    const attacks = READING.flatMap(([, group]) => group);
    const silent: string[] = [];
    for (const attack of attacks)
      if (!showsCanary(await received(app, simple, attack))) silent.push(String(attack));
    // Comparisons, lengths, counts and errors tell of a value without showing it: two-worlds.test.ts sees those.
    expect(silent.length / attacks.length, silent.join("\n")).toBeLessThan(0.3);
    app.socket.destroy();
  });

  test("a role that sees all is shown the values by most of them, in every shape: the search can fail", {
    timeout: 120_000,
  }, async () => {
    const app = await session("helpdesk_app");
    const attacks = READING.flatMap(([, group]) => group).filter((_, index) => index % 5 === 0);
    for (const shape of [...SHAPES, ...WRAPPINGS]) {
      const fitting = attacks.filter((attack) => shapesOf(attack).includes(shape));
      let shown = 0;
      for (const attack of fitting) if (showsCanary(await received(app, shape, attack))) shown++;
      expect(shown / fitting.length, shape.name).toBeGreaterThan(shape.name === "EXPLAIN" ? -1 : 0.5);
    }
    app.socket.destroy();
  });
});

/** A single query fits into everything; several statements are sent one by one. */
function shapesOf(attack: Attack): readonly Shape[] {
  const isQuery = typeof attack === "string" && /^(select|table|with|values|\()/i.test(attack);
  return isQuery && !attack.includes(";") ? [...SHAPES, ...WRAPPINGS] : SHAPES;
}

/** All that the proxy sends for one attack, which is undone. */
async function received(client: Raw, shape: Shape, attack: Attack): Promise<Buffer> {
  const statements = typeof attack === "string" ? [attack] : attack;
  const sent = [...BEFORE, ...statements.flatMap((sql) => shape.messages(sql)), ...AFTER];
  client.send(...sent);
  const bytes: Buffer[] = [];
  for (const _ of sent) bytes.push(...(await client.until("Z")).map((message) => message.bytes));
  return Buffer.concat(bytes);
}
