import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, type World } from "./world.ts";

/* One message of the server's may have a gigabyte, and all sessions share one process' memory. */

const POLICY = `
version: 1
classes: { name: { mask: initials } }
tables: { public.customers: { subject: id, columns: { name: name } } }
roles:
  agent: { users: [anna], reads: all, sees: all, bytes: 256kB, budget: { 1d: 30 } }
  lead: { users: [cleo], reads: all, sees: all, budget: { 1d: 30 } }
unknown_users: refuse
`;

const MB = 1024 * 1024;
/** What has come in and waits for the garbage collector. The values of these tests have some 100 to 300 MB. */
const ROOM = 90 * MB;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
});
afterAll(async () => {
  await world?.close();
});

/** What the client got, and how much more memory of buffers there was at the most meanwhile. */
async function ask(user: string, sql: string): Promise<{ readonly answer: string; readonly grown: number }> {
  const client = await world.sluice.connect(user);
  const before = process.memoryUsage().arrayBuffers;
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }, 5);
  const answer = await client.query(sql).then(
    ({ command, rowCount }) => `${command} ${rowCount}`,
    ({ code }) => String(code),
  );
  clearInterval(watch);
  // A session that has been ended may have nobody to say good-bye to.
  await client.end().catch(() => {});
  return { answer, grown: most - before };
}

test.each([
  ["one person", "select repeat(name, 20000000) from customers where id = 7"],
  ["a group", "select repeat(max(name), 20000000) from customers"],
  ["COPY", "copy (select repeat(name, 20000000) from customers where id = 7) to stdout"],
])("a long row of %s that is past the role's bytes is left out while it arrives", async (_, sql) => {
  const { answer, grown } = await ask("anna", sql);
  expect(answer).toBe("54000");
  expect(grown).toBeLessThan(ROOM);
});

test("a row too long to be held is left out for a role without a limit of bytes", async () => {
  const { answer, grown } = await ask("cleo", "select repeat(name, 20000000) from customers where id = 7");
  expect(answer).toBe("54000");
  expect(grown).toBeLessThan(ROOM);
});

test("a long row of nobody passes", async () => {
  expect(await ask("anna", `select repeat('x', ${3 * MB})`)).toMatchObject({ answer: "SELECT 1" });
});

test("an error that quotes a long value ends the session and is not read", async () => {
  const { answer, grown } = await ask("anna", "select repeat('x', 100000000)::int");
  expect(answer).toBe("XX000");
  expect(grown).toBeLessThan(ROOM);
});
