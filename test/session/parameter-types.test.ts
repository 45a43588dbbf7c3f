import { afterAll, beforeAll, expect, test } from "vitest";
import { syncMessage } from "../../proxy/wire/frontend-messages.ts";
import { Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
  await world.database.query(`
    CREATE DOMAIN public.short AS text CHECK (length(value) < 100);
    CREATE TYPE public.pair AS (a int, b text);
    CREATE TYPE public.mood AS ENUM ('ok', 'bad');
  `);
});
afterAll(() => world?.close());

/** A Parse message that declares the type of its one parameter. */
async function declares(type: string): Promise<string> {
  const { rows } = await world.database.query("select to_regtype($1)::oid::int as oid", [type]);
  const cleo = await world.sluice.raw("cleo");
  const parse = message(
    Frontend.Parse,
    Buffer.from("\0select $1 as given\0"),
    uint16(1),
    int32(Number(rows[0]?.oid)),
  );
  const answer = await cleo.send(parse, syncMessage).answer();
  cleo.socket.destroy();
  return answer;
}

test.each(["public.short", "public.pair", "public.short[]", "public.customers"])(
  "a parameter is not declared of a type that runs code or reads rows: %s",
  async (type) => {
    expect(await declares(type)).toBe("E(42501) Z(I)");
  },
);

test.each(["int8", "text", "text[]", "jsonb", "public.mood"])("other types are: %s", async (type) => {
  expect(await declares(type)).toBe("1 Z(I)");
});
