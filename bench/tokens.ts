import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import pg from "pg";
import { startPostgres } from "../proxy/embedded/postgres.ts";
import { canaryToken } from "../proxy/tokens/canary.ts";
import { Sealer, type TokenForm } from "../proxy/tokens/sealed.ts";
import { runSluice } from "../test/harness/program.ts";
import { launchRedis } from "../test/harness/redis-process.ts";
import { openClient } from "./raw-client.ts";
import { DATABASE } from "./world.ts";

/*
 * What tokens at rest cost: a value sealed and opened, and 100,000 rows read by an application that sees all, from a table
 * in the clear and from one of tokens, round by round in turn. The client costs next to nothing.
 *
 *   npm run bench:compile && node dist/bench/bench/tokens.js
 */

const ROWS = 100_000;
const ROUNDS = 5;
const VALUES = 20_000;

const keys = { active: 1, secrets: new Map([[1, Buffer.alloc(32, 7)]]) };
const sealer = new Sealer(keys);
const COLUMNS = "id, name, email, country, created_at";

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes: { email: { mask: email, stored: token } }
tables: { public.sealed: { subject: id, columns: { email: email } } }
roles: { app: { users: [app], reads: all, writes: all, sees: all, budget: none } }
`;

const SCHEMA = `
CREATE ROLE app LOGIN;
CREATE TABLE clear (id bigint PRIMARY KEY, name text, email text, country text, created_at timestamptz);
CREATE TABLE sealed (LIKE clear INCLUDING ALL);
INSERT INTO clear SELECT n, 'Customer ' || n, 'customer.' || n || '@example.com', 'DE', '2024-01-01' FROM generate_series(1, ${ROWS}) n;
GRANT SELECT ON clear, sealed TO app;
`;

function perValue(form: TokenForm, text: (n: number) => string): void {
  const storage = { associated: "column public.customers.x", form, version: 1 };
  const measured = (act: (n: number) => void) => {
    for (let n = 0; n < VALUES; n++) act(n);
    const began = performance.now();
    for (let n = 0; n < VALUES; n++) act(n);
    return ((performance.now() - began) * 1000) / VALUES;
  };
  const tokens: string[] = [];
  const sealing = measured((n) => {
    tokens[n] = sealer.seal(text(n), storage) ?? "";
  });
  const opening = measured((n) => void sealer.open(tokens[n] ?? "", storage));
  say(`${form.padEnd(7)} sealed in ${sealing.toFixed(1)} µs, opened in ${opening.toFixed(1)} µs`);
}

async function main(): Promise<void> {
  perValue("token", (n) => `customer.${n}@example.com`);
  perValue("email", (n) => `customer.${n}@example.com`);
  perValue("digits", (n) => String(4_111_111_111_000_000 + n));
  perValue("phone", (n) => `+49 30 ${1_000_000 + n}`);
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-tokens-"));
  const ring = join(folder, "ring");
  await writeFile(ring, `1 ${keys.secrets.get(1)?.toString("hex")}\n`, { mode: 0o600 });
  const server = await startPostgres({
    superuser: "postgres",
    dataFolder: join(folder, "data"),
    auth: "trust",
  });
  const upstream = new URL(server.uri);
  upstream.pathname = `/${DATABASE}`;
  const first = new pg.Client({ connectionString: server.uri });
  await first.connect();
  await first.query(`CREATE DATABASE ${DATABASE}`);
  await first.end();
  const owner = new pg.Client({ connectionString: upstream.href });
  await owner.connect();
  await owner.query(SCHEMA);
  const redis = await launchRedis({});
  const proxy = await runSluice(resolve("dist/main.js"), {
    policy: POLICY,
    upstream: upstream.href,
    redis: redis.url,
    key: randomBytes(32).toString("hex"),
    flags: ["--token-keys-file", ring],
  });
  try {
    await fill(owner);
    const reads = ["clear", "sealed"].flatMap((table) =>
      [`SELECT ${COLUMNS} FROM ${table}`, `COPY (SELECT ${COLUMNS} FROM ${table}) TO STDOUT`].map((sql) => ({
        sql,
        times: [] as number[],
      })),
    );
    const client = await openClient(proxy.port, "app");
    for (let round = 0; round <= ROUNDS; round++)
      for (const read of reads) {
        const began = performance.now();
        const ready = client.ready();
        client.ask(read.sql);
        await ready;
        // The first one warms up.
        if (round > 0) read.times.push(performance.now() - began);
      }
    client.socket.destroy();
    for (const { sql, times } of reads) say(`${middle(times).toFixed(0).padStart(6)} ms  ${sql}`);
    const [select = 0, copy = 0, sealedSelect = 0, sealedCopy = 0] = reads.map(({ times }) => middle(times));
    say(
      `${ROWS} rows with one value each turned back: SELECT × ${(sealedSelect / select).toFixed(2)}, COPY × ${(sealedCopy / copy).toFixed(2)}`,
    );
  } finally {
    await owner.end();
    await proxy.close();
    await Promise.all([server.stop(), redis.stop()]);
    await rm(folder, { recursive: true, force: true });
  }
}

/** As the proxy would write them. */
async function fill(owner: pg.Client): Promise<void> {
  const storage = { associated: "column public.sealed.email", form: "token", version: 1 } as const;
  const tokens = Array.from({ length: ROWS }, (_, n) =>
    sealer.seal(`customer.${n + 1}@example.com`, storage),
  );
  await owner.query(
    "INSERT INTO sealed SELECT c.id, c.name, t.token, c.country, c.created_at FROM clear c JOIN unnest($1::text[]) WITH ORDINALITY AS t(token, n) ON t.n = c.id ORDER BY c.id",
    [tokens],
  );
  await owner.query("VACUUM ANALYZE clear, sealed");
}

function middle(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

await main();
