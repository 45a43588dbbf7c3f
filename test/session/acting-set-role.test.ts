import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * An application that names people by SET LOCAL ROLE and by claims, in a transaction each, over few connections. The role of
 * the policy says what is masked, the one of the database which columns there are.
 */

const POLICY = `
version: 1
classes: { email: { mask: email }, phone: { mask: redact } }
tables: { public.customers: { subject: id, columns: { email: email, phone: phone } } }
roles:
  agent: { users: [], reads: [public.customers], sees: [phone], budget: { 1h: 20 } }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    people_behind: [{ role: true }, { setting: { name: request.jwt.claims, path: sub } }]
    acts_as: agent
    unnamed: refuse
`;

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE ROLE desk_anna; CREATE ROLE desk_ben; CREATE ROLE desk_cleo;
    GRANT desk_anna, desk_ben, desk_cleo TO helpdesk_app;
    GRANT SELECT ON customers TO desk_anna, helpdesk_app;
    GRANT SELECT (id, name, email) ON customers TO desk_ben;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
  // Roles are of the server, which is of this file alone.
});

/** As such applications do: each request is a transaction. */
async function asked(client: pg.Client, before: readonly string[], sql: string): Promise<unknown> {
  try {
    await client.query("BEGIN");
    for (const text of before) await client.query(text);
    return (await client.query(sql)).rows;
  } catch (error) {
    return (error as pg.DatabaseError).code;
  } finally {
    await client.query("ROLLBACK");
  }
}

const setRole = (name: string) => `SET LOCAL ROLE ${name}`;

test("who is named by SET LOCAL ROLE is masked by their role, for their transaction", async () => {
  const client = await sluice.connect("helpdesk_app");
  const read = "SELECT email, phone FROM customers WHERE id = 5";
  const masked = [{ email: expect.stringContaining("*"), phone: expect.stringMatching(/\d/) }];
  expect(await asked(client, [], read)).toBe("42501");
  expect(await asked(client, [setRole("desk_anna")], read)).toEqual(masked);
  expect(await asked(client, ["SELECT set_config('role', 'desk_anna', true)"], read)).toEqual(masked);
  expect(await asked(client, [], read)).toBe("42501");
  expect(await asked(client, [setRole("none")], read)).toBe("42501");
  // The server's own error: nobody has such a role.
  expect(await asked(client, [setRole("postgres")], read)).toBe("42501");
  await client.end();
});

test("columns are those that the person may read in the database; others there are none", async () => {
  const client = await sluice.connect("helpdesk_app");
  const star = "SELECT * FROM customers WHERE id = 6";
  expect(
    await asked(client, [setRole("desk_anna")], "SELECT phone FROM customers WHERE id = 6"),
  ).toHaveLength(1);
  expect(await asked(client, [setRole("desk_ben")], "SELECT phone FROM customers WHERE id = 6")).toBe(
    "42703",
  );
  expect(await asked(client, [setRole("desk_ben")], "SELECT email FROM customers WHERE id = 6")).toHaveLength(
    1,
  );
  expect(await asked(client, [setRole("desk_cleo")], "SELECT id FROM customers WHERE id = 6")).toBe("42703");
  expect(await asked(client, [setRole("desk_anna")], star)).toHaveLength(1);
  await client.end();
});

test("claims name whoever has no role of their own, and savepoints take a role back", async () => {
  const client = await sluice.connect("helpdesk_app");
  const claims = `SET LOCAL request.jwt.claims = '{"sub":"dora"}'`;
  const read = (id: number) => `SELECT email FROM customers WHERE id = ${id}`;
  expect(await asked(client, [claims], read(7))).toHaveLength(1);
  expect(await asked(client, [claims, setRole("desk_anna")], read(8))).toHaveLength(1);
  await asked(client, [claims, "SAVEPOINT s", setRole("desk_anna"), "ROLLBACK TO s"], read(9));
  await client.end();
  const read789 = () =>
    sluice.events.flatMap((event) =>
      event.kind === "statement"
        ? event.subjects.flatMap((subject) =>
            / [789]$/.test(subject) ? [`${event.user} ${subject.at(-1)}`] : [],
          )
        : [],
    );
  await expect.poll(read789).toEqual(["dora 7", "desk_anna 8", "dora 9"]);
});

test("each person has their own budget, and what one may do the next does not get", async () => {
  const client = await sluice.connect("helpdesk_app");
  const page = (from: number, to: number) => `SELECT name FROM customers WHERE id BETWEEN ${from} AND ${to}`;
  const budget = await asked(client, [setRole("desk_ben")], page(100, 118));
  expect(budget).toHaveLength(19);
  expect(await asked(client, [setRole("desk_ben")], page(119, 130))).toBe("53400");
  expect(await asked(client, [setRole("desk_anna")], page(119, 130))).toHaveLength(12);
  await client.end();
});

test("other roles and rights stay closed", async () => {
  const client = await sluice.connect("helpdesk_app");
  for (const sql of [
    "SET SESSION AUTHORIZATION desk_anna",
    "SET request.method = 'GET'",
    "CREATE TABLE x (a int)",
  ])
    await expect(client.query(sql), sql).rejects.toMatchObject({ code: "42501" });
  await client.end();
});

test("and over a shared connection, where a role lasts as long as its transaction", async () => {
  const pooled = await startProxy(world.database, { policy: POLICY, pool: { size: 1 } });
  const [one, other] = [await pooled.connect("helpdesk_app"), await pooled.connect("helpdesk_app")];
  const read = "SELECT phone FROM customers WHERE id = 40";
  for (let i = 0; i < 3; i++) {
    expect(await asked(one, [setRole("desk_anna")], read)).toHaveLength(1);
    expect(await asked(other, [setRole("desk_ben")], read)).toBe("42703");
    expect(await asked(other, [], read)).toBe("42501");
  }
  await expect(one.query("SET ROLE desk_anna")).rejects.toMatchObject({ code: "42501" });
  await Promise.all([one.end(), other.end()]);
  await pooled.close();
});
