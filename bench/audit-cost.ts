import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startPostgres } from "../proxy/embedded/postgres.ts";
import { startProxy as startBare } from "../test/harness/proxy.ts";
import { startSluice } from "../test/harness/sluice.ts";
import { createRoles, PASSWORDS, supportSchema } from "../test/harness/support-schema.ts";

/*
 * What the audit log costs a guarded small read: the same prepared lookup of one customer through Sluice without
 * a log, with one whose events follow, and with one whose events are on disk before the row leaves; round by
 * round in turn. Client and proxy share the process. Compile and run as bench/audit.ts; TMPDIR says on which disk.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles: { agent: { users: [anna], reads: [public.customers], rows: 100, budget: { 1d: 5000 } } }
`;
const ROUNDS = 5;
const MILLISECONDS = 1_500;

interface Way {
  readonly name: string;
  readonly uri: string;
}

/** Reads a second, and the median wait. */
async function measure({ uri }: Way, clients: number): Promise<{ rate: number; median: number }> {
  const waits: number[] = [];
  const until = performance.now() + MILLISECONDS;
  const session = async (number: number) => {
    const client = new pg.Client({ connectionString: uri });
    await client.connect();
    for (let i = number; performance.now() < until; i += clients) {
      const start = performance.now();
      await client.query({
        name: "read",
        text: "select name, email from customers where id = $1",
        values: [1 + (i % 1000)],
      });
      waits.push(performance.now() - start);
    }
    await client.end();
  };
  await Promise.all(Array.from({ length: clients }, (_, i) => session(i)));
  return { rate: waits.length / (MILLISECONDS / 1000), median: middle(waits) };
}

function middle(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-cost-"));
  const server = await startPostgres({
    superuser: "postgres",
    dataFolder: join(folder, "data"),
    auth: "trust",
  });
  const url = new URL(server.uri);
  url.pathname = "/postgres";
  await createRoles(url.href);
  await supportSchema(url.href);
  const database = {
    uri: url.href,
    host: url.hostname,
    port: Number(url.port),
    database: "postgres",
    superuser: "postgres",
  };
  const off = await startBare(database as Parameters<typeof startBare>[0], { policy: POLICY });
  const start = (when: string) =>
    startSluice({ policy: POLICY, upstream: url.href, flags: ["--audit-durability", when] });
  const [after, before] = [await start("after"), await start("before")];
  const ways: readonly Way[] = [
    { name: "no log", uri: off.uri("anna") },
    { name: "after", uri: after.uriFor("anna", PASSWORDS.anna) },
    { name: "before", uri: before.uriFor("anna", PASSWORDS.anna) },
  ];
  for (const way of ways) await measure(way, 4);
  for (const clients of [1, 16]) {
    const rounds = ways.map((): { rate: number; median: number }[] => []);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, way] of ways.entries()) rounds[i]?.push(await measure(way, clients));
    }
    const base = middle(rounds[0]?.map(({ rate }) => rate) ?? []);
    for (const [i, { name }] of ways.entries()) {
      const rate = middle(rounds[i]?.map((one) => one.rate) ?? []);
      const wait = middle(rounds[i]?.map((one) => one.median) ?? []);
      process.stdout.write(
        `${clients} clients, ${name.padEnd(7)} ${rate.toFixed(0).padStart(6)}/s  p50 ${wait.toFixed(2)} ms  ratio ${(rate / base).toFixed(2)}\n`,
      );
    }
  }
  await Promise.all([off.close(), after.close(), before.close()]);
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

await main();
