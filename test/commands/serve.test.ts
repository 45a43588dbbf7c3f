import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
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

test("a policy that names a table which is not there keeps Sluice from starting", async () => {
  const found = await problemsOf({ policy: POLICY.replace("public.customers: {", "public.custmers: {") });
  expect(found).toMatch(/policy\.yaml:4:3: error: database ".*" has no table public\.custmers\n/);
  expect(found).toContain(
    'hint: Did you mean "public.customers"? It has no entry of its own: its columns without a class are shown in the clear to "agent", and its rows count no one.',
  );
  const column = await problemsOf({ policy: POLICY.replace("columns: { email", "columns: { emial") });
  expect(column).toMatch(/policy\.yaml:4:3: error: the column "emial" is not in public\.customers\n/);
  const filter = 'reads: all, only: { public.tickts: "true" }';
  expect(await problemsOf({ policy: POLICY.replace("reads: [public.customers]", filter) })).toContain(
    'role "agent" reads all rows of public.tickets',
  );
});

test("with allow_missing it starts, and what a role may read by mistake is a warning", async () => {
  const later = "  public.later: { subject: id, allow_missing: true }\nroles:";
  expect(await problemsOf({ policy: POLICY.replace("roles:", later) })).toBe("it started");
  const grant = POLICY.replace("reads: [public.customers]", "reads: [public.customers, public.later]");
  expect(await problemsOf({ policy: grant })).toBe("it started");
});

test("a general file's table is missing nowhere if one of the databases has it; another database's own file is", async () => {
  const other = await freshDatabase("other");
  const policy = await mkdtemp(join(tmpdir(), "sluice-files-"));
  try {
    await writeFile(join(policy, "a.yaml"), POLICY);
    const own = (table: string) =>
      writeFile(
        join(policy, "b.yaml"),
        `version: 1\ndatabase: ${other.database}\ntables: { public.${table}: { subject: id } }\n`,
      );
    await other.query("CREATE TABLE bills (id int)");
    await own("bills");
    expect(await problemsOf({ flags: ["--policy", policy] })).toBe("it started");
    await own("bill");
    expect(await problemsOf({ flags: ["--policy", policy] })).toContain("b.yaml:3:11: error: database");
  } finally {
    await rm(policy, { recursive: true, force: true });
    await other.drop();
  }
});

test("a policy that names what is not there does not replace the one in force, until it is there", async () => {
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri });
  const rejected = () => sluice.log.filter(({ msg }) => msg === "policy rejected");
  try {
    const version = () => sluice.metric("sluice_policy_info");
    const later = POLICY.replace("roles:", "  public.made_later: { subject: id }\nroles:");
    await sluice.setPolicy(later);
    expect(rejected().at(-1)?.problem).toContain("has no table public.made_later");
    expect(sluice.log.filter(({ msg }) => msg === "policy loaded")).toEqual([]);
    expect(await version()).toBe(1);
    await database.query("CREATE TABLE public.made_later (id int)");
    await sluice.reload();
    expect(sluice.log.some(({ msg }) => msg === "policy loaded")).toBe(true);
    // Dropped while it is in force: what is there is served all the same.
    await database.query("DROP TABLE public.made_later");
    const client = new pg.Client({ connectionString: sluice.uriFor("anna", "anna-password") });
    await client.connect();
    const { rows } = await client.query("SELECT email FROM public.customers WHERE id = 7");
    expect(rows).toEqual([{ email: "a***@example.com" }]);
    await client.end();
  } finally {
    await sluice.close();
    await database.query("DROP TABLE IF EXISTS public.made_later");
  }
});

test("a database that comes up later with another table than the policy names lets nobody in, until it has it", async () => {
  const late = await freshDatabase("late");
  const port = await freePort();
  const url = new URL(late.uri);
  const behind = { host: url.hostname, port: Number(url.port) };
  url.host = `127.0.0.1:${port}`;
  const sluice = await startSluice({ policy: POLICY, upstream: url.href });
  const relay = createServer((client) => {
    const server = connect(behind);
    client.pipe(server).pipe(client);
    client.on("error", () => server.destroy());
    server.on("error", () => client.destroy());
  });
  try {
    await new Promise<void>((resolve) => relay.listen(port, "127.0.0.1", resolve));
    const ready = () => fetch(`${sluice.adminUrl}/readyz`);
    await vi.waitFor(
      async () => expect(await (await ready()).text()).toBe("the policy does not fit the database\n"),
      { timeout: 10_000 },
    );
    const client = new pg.Client({ connectionString: sluice.uriFor("anna", "anna-password") });
    client.on("error", () => undefined);
    await expect(client.connect()).rejects.toMatchObject({
      code: "57P03",
      message: expect.stringContaining("policy does not fit database"),
    });
    await supportSchema(late.uri);
    await vi.waitFor(async () => expect((await ready()).status).toBe(200), { timeout: 10_000 });
  } finally {
    relay.close();
    await sluice.close();
    await late.drop();
  }
});

test("with passthrough a user whom the server does not know is told, and with scram not", async () => {
  const policy = POLICY.replace("[anna]", "[anna, zacharias, nobody*]");
  const sluice = await startSluice({ policy, upstream: database.uri });
  try {
    await vi.waitFor(() =>
      expect(
        sluice.log.flatMap(({ msg, problem }) => (msg === "a user is missing" ? [problem] : [])),
      ).toEqual([expect.stringContaining('role "agent" names the user "zacharias"')]),
    );
  } finally {
    await sluice.close();
  }
});

test("a file of a database that the server does not have is told", async () => {
  const sluice = await startSluice({ policy: `database: suport\n${POLICY}`, upstream: database.uri });
  try {
    await vi.waitFor(
      () =>
        expect(
          sluice.log.flatMap(({ msg, problem }) => (msg === "a database is missing" ? [problem] : [])),
        ).toEqual([expect.stringContaining('the server has no database "suport"')]),
      { timeout: 10_000 },
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

test("without a key of the fleet's the log says what the audit log will not be able to tell", async () => {
  const told = async (variables: Readonly<Record<string, string>>) => {
    const sluice = await startSluice({ policy: POLICY, upstream: database.uri, variables });
    await sluice.close();
    return sluice.log.filter(({ msg }) => /without --key-file/.test(String(msg))).length;
  };
  expect([await told({ SLUICE_KEY: "" }), await told({})]).toEqual([1, 0]);
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}
