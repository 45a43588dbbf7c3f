import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createLog } from "../../proxy/log.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";
import { type SluiceOptions, startSluice, type TestSluice } from "../harness/sluice.ts";

/** Whatever must never be in a log, with a word in it that nothing else has. */
const SECRETS = {
  password: "xq-wrong-password",
  clear: "xq-user-name-password",
  upstream: "xq-upstream-password",
  redis: "xq-redis-password",
  wrongRedis: "xq-wrong-redis-password",
  key: "c0ffee".repeat(11),
  token: "xq-console-token-0123456789",
  webhook: "xq-webhook-secret",
  literal: "xq-literal",
  parameter: "xq-parameter",
  value: "xq-protected-value",
  policy: "xq-policy-literal",
} as const;

const POLICY = `
version: 1
classes: { email: { mask: email }, name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name } }
roles:
  agent: { users: [anna], reads: [public.customers], writes: [public.customers], sees: [name], rows: 10 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let database: TestDatabase;
let redis: RedisServer;
let controlUri: string;
const open: TestSluice[] = [];

beforeAll(async () => {
  database = await freshDatabase("log");
  await supportSchema(database.uri);
  redis = await startRedis({ args: ["--requirepass", SECRETS.redis] });
  const role = `reader_${database.database}`;
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD '${SECRETS.upstream}'`);
  await database.query(
    `UPDATE customers SET name = '${SECRETS.value}', email = '${SECRETS.value}@x' WHERE id = 7`,
  );
  controlUri = database.uriFor(role, SECRETS.upstream);
});
afterAll(async () => {
  for (const sluice of open) await sluice.close();
  await redis?.stop();
  await database?.query(`DROP ROLE IF EXISTS reader_${database.database}`);
  await database?.drop();
});

async function start(
  options: Pick<SluiceOptions, "redisIsAway"> & { redis: string; upstream?: string },
): Promise<TestSluice> {
  const { port } = redis;
  const sluice = await startSluice({
    policy: POLICY,
    upstream: controlUri,
    ...options,
    redis: `redis://:${options.redis}@127.0.0.1:${port}`,
    flags: ["--alert-webhook", `http://127.0.0.1:9/${SECRETS.webhook}`],
    variables: {
      SLUICE_KEY: SECRETS.key,
      SLUICE_CONSOLE_TOKEN: SECRETS.token,
      SLUICE_ALERT_KEY: SECRETS.key,
    },
    logLevel: "trace",
  });
  open.push(sluice);
  return sluice;
}

/** Which secrets the lines hold, whatever they are written as. */
function leaks(sluice: TestSluice): readonly string[] {
  const lines = sluice.lines.join("");
  return Object.entries(SECRETS)
    .flatMap(([name, secret]) =>
      [
        secret,
        encodeURIComponent(secret),
        Buffer.from(secret).toString("base64"),
        Buffer.from(secret).toString("hex"),
      ].map((form) => [name, form] as const),
    )
    .filter(([, form]) => lines.includes(form))
    .map(([name]) => name);
}

async function failing(
  sluice: TestSluice,
  user: "anna" | "helpdesk_app",
  queries: readonly (string | pg.QueryConfig)[],
) {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  let failed = 0;
  for (const query of queries) await client.query(query).catch(() => failed++);
  await client.end();
  return failed;
}

const STATEMENTS: readonly (string | pg.QueryConfig)[] = [
  `selec '${SECRETS.literal}'`,
  `select '${SECRETS.literal}'::int`,
  `select * from no_such_table where x = '${SECRETS.literal}'`,
  `create table x (a text default '${SECRETS.literal}')`,
  `select name::int from customers where id = 7`,
  `insert into customers (id, name, email, country, created_at) values (1, '${SECRETS.literal}', 'x', 'x', now())`,
  { text: "select $1::int from customers", values: [SECRETS.parameter] },
  `do $$ begin raise exception '${SECRETS.literal}'; end $$`,
  `copy customers from '/${SECRETS.literal}'`,
];

test("no password, key, literal or protected value is in the log, at its most talkative", {
  timeout: 60_000,
}, async () => {
  const sluice = await start({ redis: SECRETS.redis });
  await vi.waitFor(async () => expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(200), 20_000);

  for (const [user, password] of [
    ["anna", SECRETS.password],
    [SECRETS.clear, SECRETS.password],
    ["helpdesk_app", ""],
  ] as const) {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, password) });
    client.on("error", () => {});
    await expect(client.connect()).rejects.toThrow();
  }
  expect(await failing(sluice, "anna", STATEMENTS)).toBe(STATEMENTS.length);
  expect(await failing(sluice, "helpdesk_app", STATEMENTS.slice(0, 3))).toBe(3);

  const loggedIn = await fetch(`${sluice.adminUrl}/console/log-in`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: `token=${SECRETS.password}`,
    redirect: "manual",
  });
  expect(loggedIn.status).toBeGreaterThanOrEqual(400);
  await sluice.setPolicy(
    POLICY.replace("rows: 10", `rows: 10, only: { public.customers: "name = '${SECRETS.policy}' (" }`),
  );
  await sluice.setPolicy(`${POLICY}\nbad: [`);
  await sluice.setPolicy(POLICY);
  await redis.kill();
  await vi.waitFor(
    () => expect(sluice.lines.join("")).toContain("the counter store cannot be reached"),
    10_000,
  );

  const levels = new Set(sluice.log.map(({ level }) => level));
  expect([...levels]).toEqual(expect.arrayContaining(["debug", "info", "warn", "error"]));
  expect(sluice.lines.length).toBeGreaterThan(15);
  expect(leaks(sluice)).toEqual([]);
});

test("nor does a fault tell of the passwords in the addresses of Redis and of the database", {
  timeout: 60_000,
}, async () => {
  redis = await startRedis({ args: ["--requirepass", SECRETS.redis] });
  const nowhere = new URL(database.uriFor("nobody", SECRETS.upstream));
  const refused = await start({
    redis: SECRETS.wrongRedis,
    redisIsAway: true,
    upstream: nowhere.href,
  });
  nowhere.port = "9";
  const away = await start({ redis: SECRETS.redis, upstream: nowhere.href });
  for (const [sluice, ...told] of [
    [refused, "WRONGPASS", "password authentication failed"],
    [away, "ECONNREFUSED"],
  ] as const) {
    const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
    client.on("error", () => {});
    await expect(client.connect()).rejects.toThrow();
    for (const words of told) await vi.waitFor(() => expect(sluice.lines.join("")).toContain(words), 10_000);
    expect(leaks(sluice)).toEqual([]);
  }
});

test("what a caller puts into a line by mistake is taken out", () => {
  const lines: string[] = [];
  const log = createLog({ level: "trace", to: { write: (line) => void lines.push(line) } });
  const command = { name: "auth", args: [SECRETS.redis] };
  const error = Object.assign(new TypeError("it failed"), { code: "E1", command, detail: SECRETS.value });
  log.error({ err: error }, "a fault");
  log.trace(
    { password: SECRETS.password, redis: { password: SECRETS.redis }, a: { b: { key: SECRETS.key } } },
    "all",
  );
  expect(lines.join("")).not.toMatch(/xq-|c0ffee/);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    level: "error",
    msg: "a fault",
    err: { type: "TypeError", message: "it failed", code: "E1", stack: expect.stringMatching(/^ +at /) },
  });
});
