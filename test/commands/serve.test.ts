import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { NotStarted, type SluiceOptions, startSluice } from "../harness/sluice.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], finds: [email], rows: 100 }
`;
let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("serve");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

async function problemsOf(options: Partial<SluiceOptions>): Promise<string> {
  try {
    const sluice = await startSluice({ policy: POLICY, upstream: database.uri, ...options });
    await sluice.close();
    return "it started";
  } catch (error) {
    if (error instanceof NotStarted) return error.problems.join("\n");
    throw error;
  }
}

test("a policy with a mistake keeps Sluice from starting, with the mistake's place", async () => {
  expect(await problemsOf({ policy: `${POLICY}modus: enforce\n` })).toMatch(/policy\.yaml:7:1/);
});

test("who reads the catalog has to be named", async () => {
  expect(await problemsOf({ upstream: "postgresql://127.0.0.1/support" })).toContain("names no user");
});

test("an address that is taken is named, and nothing is left open", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => other.once("listening", resolve));
  const address = other.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const found = await problemsOf({ flags: ["--listen", `127.0.0.1:${port}`] });
  other.close();
  expect(found).toContain(`127.0.0.1:${port}`);
  expect(found).toContain("another program listens there");
});

test("a users file that is not there keeps Sluice from starting", async () => {
  expect(await problemsOf({ flags: ["--auth", "scram", "--users", "/nonexistent/users"] })).toContain(
    "/nonexistent/users",
  );
});

test("Sluice starts without its database, and says on /readyz that it is not ready", async () => {
  const away = "postgresql://nobody@127.0.0.1:1/support";
  const sluice = await startSluice({ policy: POLICY, upstream: away });
  try {
    await vi.waitFor(async () => {
      const answer = await fetch(`${sluice.adminUrl}/readyz`);
      expect(answer.status).toBe(503);
      expect(await answer.text()).toBe("the database cannot be reached\n");
      expect(sluice.log.some(({ msg }) => msg === "the database cannot be reached")).toBe(true);
    });
    expect((await fetch(`${sluice.adminUrl}/healthz`)).status).toBe(200);
  } finally {
    await sluice.close();
  }
});

test("with its database Sluice is ready; with Redis away it is not, and starts all the same", async () => {
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri });
  await vi.waitFor(async () => expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(200));
  await sluice.close();
  const alone = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    redis: "redis://127.0.0.1:1",
    redisIsAway: true,
  });
  try {
    await vi.waitFor(async () => {
      const answer = await fetch(`${alone.adminUrl}/readyz`);
      expect(await answer.text()).toBe("the counters cannot be reached\n");
    });
  } finally {
    await alone.close();
  }
});

test("a policy that speaks of a table that is not there is told when the database is first read", async () => {
  const policy = POLICY.replace("public.customers: {", "public.clients: {");
  const sluice = await startSluice({ policy, upstream: database.uri });
  try {
    await vi.waitFor(() =>
      expect(sluice.log.find(({ msg }) => msg === "policy and database differ")?.problem).toContain(
        "public.clients",
      ),
    );
  } finally {
    await sluice.close();
  }
});

/** The agent's budget is smaller than one of its people costs; the other line is of no use. */
const WARNED = POLICY.replace("email: { mask: email }", "email: { mask: email, cost: 9 }");

test("what policy check warns of is in the log, with file and line: at start and at each reload", async () => {
  const sluice = await startSluice({
    policy: `${WARNED}  odd: { users: [], reads: all, sees: [email], budget: { 1d: 5 }, writes_own_conditions: [public.customers.name] }\n`,
    upstream: database.uri,
  });
  const told = () =>
    sluice.log.filter(({ level }) => level === "warn").map(({ problem }) => String(problem ?? ""));
  const times = (text: string) => told().filter((problem) => problem.includes(text)).length;
  try {
    await vi.waitFor(() => {
      expect(told()).toContainEqual(
        expect.stringMatching(/\.yaml:\d+:\d+: warning: role "odd" can never read a "email"/),
      );
      expect(told()).toContainEqual(
        expect.stringMatching(
          /\.yaml:\d+:\d+: warning: no condition of role "odd" depends on public\.customers\.name/,
        ),
      );
    });
    expect([times("can never read"), times("no condition of role")]).toEqual([1, 1]);
    await sluice.reload();
    expect([times("can never read"), times("no condition of role")]).toEqual([2, 2]);
  } finally {
    await sluice.close();
  }
});
