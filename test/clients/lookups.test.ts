import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna, ben, cleo], reads: all, sees: [], finds: [email], budget: { 1h: { lookups: 3, people: 50 } } }
`;

let database: TestDatabase;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("lookups");
  await supportSchema(database.uri);
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, redis: await redisUrl() });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

describe("a budget of lookups", () => {
  test.each([
    [
      "anna",
      "in simple queries",
      (client: pg.Client, email: string) => client.query(`SELECT id FROM customers WHERE email = '${email}'`),
    ],
    [
      "ben",
      "in prepared statements",
      (client: pg.Client, email: string) =>
        client.query({
          name: "by-email",
          text: "SELECT id FROM customers WHERE email = $1",
          values: [email],
        }),
    ],
  ] as const)("stops %s who tries addresses %s, found or not", async (user, _, lookUp) => {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    await client.connect();
    try {
      expect((await lookUp(client, "alice.ng.7@example.com")).rows).toEqual([{ id: "7" }]);
      for (const nobody of ["a@example.com", "b@example.com"])
        expect((await lookUp(client, nobody)).rows).toEqual([]);
      await expect(lookUp(client, "alice.ng.7@example.com")).rejects.toMatchObject({ code: "53400" });
      expect((await client.query("SELECT id FROM customers WHERE id = 7")).rows).toEqual([{ id: "7" }]);
    } finally {
      await client.end();
    }
  });
});

describe("values that parameters hold are lookups, each of them", () => {
  const FOUND = "alice.ng.7@example.com";
  const BY_ARRAY = "SELECT id FROM customers WHERE email = ANY ($1)";

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: sluice.uriFor("cleo", PASSWORDS.cleo) });
    await client.connect();
    return client;
  }

  test("an array of more than twenty is refused, and tries none", async () => {
    const client = await connect();
    const many = Array.from({ length: 21 }, (_, n) => `x${n}@example.com`);
    await expect(client.query(BY_ARRAY, [many])).rejects.toMatchObject({ code: "54000" });
    await client.end();
  });

  test("so are those of a parameter that is an array within ARRAY[…]", async () => {
    const client = await connect();
    const many = Array.from({ length: 21 }, (_, n) => `x${n}@example.com`);
    const text = "SELECT id FROM (SELECT $1::text[] AS list) AS x, customers WHERE email = ANY (ARRAY[$1])";
    await expect(client.query(text, [many])).rejects.toMatchObject({ code: "54000" });
    await client.end();
  });

  test.each([
    ["a%", "42501"],
    ["alice_ng.7@example.com", "42501"],
    ["alice.ng.7\\", "42501"],
  ])("a pattern %s may match others, and is refused", async (pattern, code) => {
    const client = await connect();
    const asked = client.query("SELECT id FROM customers WHERE email ILIKE $1", [pattern]);
    await expect(asked).rejects.toMatchObject({ code, hint: expect.stringContaining("lower(column)") });
    await client.end();
  });

  test("an array costs a lookup for each value, in the text and in the binary format", async () => {
    const client = await connect();
    // One dimension, no NULLs, of text: one element.
    const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1]);
    const length = Buffer.alloc(4);
    length.writeInt32BE(FOUND.length);
    const binary = Buffer.concat([header, length, Buffer.from(FOUND)]);
    expect((await client.query(BY_ARRAY, [binary])).rows).toEqual([{ id: "7" }]);
    expect((await client.query(BY_ARRAY, [[FOUND, "nobody@example.com"]])).rows).toEqual([{ id: "7" }]);
    await expect(client.query(BY_ARRAY, [binary])).rejects.toMatchObject({ code: "53400" });
    await client.end();
  });

  test("by SQL's EXECUTE nobody sees them: it is refused", async () => {
    const client = await connect();
    await client.query({ name: "by-array", text: BY_ARRAY, values: [[]] });
    await expect(client.query(`EXECUTE "by-array"('{a,b,c}')`)).rejects.toMatchObject({ code: "42501" });
    await client.end();
  });
});

test("a comparison with a mask is told beside the answer, when it is prepared or asked", async () => {
  const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  const told: (string | undefined)[] = [];
  client.on("notice", ({ message, severity }) => {
    if (message?.includes("compared")) told.push(`${severity} ${message}`);
  });
  await client.connect();
  const text = "SELECT id FROM customers WHERE email LIKE 'alice.ng.7%'";
  const said = 'NOTICE public.customers.email is compared as role "agent" sees it: masked';
  expect((await client.query(text)).rows).toEqual([]);
  expect(told).toEqual([said]);
  for (let i = 0; i < 2; i++) await client.query({ name: "like", text, values: [] });
  expect(told).toEqual([said, said]);
  await client.end();
});
