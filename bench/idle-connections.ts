/**
 * Prints how much memory Sluice takes with many idle connections, of a role with masks and of one without.
 *
 *   npm run build
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/idle-connections.js [500]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startPostgres } from "../proxy/embedded/postgres.ts";
import { query, RawClient } from "../test/bad-input/raw-client.ts";
import { POLICY } from "../test/clients/policy.ts";
import { createRoles, PASSWORDS, type SupportUser, supportSchema } from "../test/harness/support-schema.ts";

const count = Number(process.argv[2] ?? 500);
const HOST = "127.0.0.1";
const MAIN = fileURLToPath(new URL("../../main.js", import.meta.url));

const folder = await mkdtemp(join(tmpdir(), "sluice-idle-"));
const server = await startPostgres({
  dataFolder: join(folder, "data"),
  superuser: "postgres",
  password: "postgres-password",
  settings: { fsync: "off", max_connections: String(count + 20) },
});
try {
  await createRoles(server.uri);
  await supportSchema(server.uri);
  await writeFile(join(folder, "policy.yaml"), POLICY);
  for (const user of ["anna", "helpdesk_app"] as const) await measure(user);
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

/** A Sluice of its own each time, so that one role's memory does not stand in the other's figure. */
async function measure(user: SupportUser): Promise<void> {
  const [port, admin] = [await freePort(), await freePort()];
  const child = serve(port, admin);
  const clients: RawClient[] = [];
  try {
    await ready(admin);
    const uri = new URL(server.uri);
    uri.username = user;
    uri.password = PASSWORDS[user];
    uri.port = String(port);
    clients.push(await connected(uri.href));
    const before = await residentMegabytes(admin);
    while (clients.length <= count) clients.push(await connected(uri.href));
    const after = await residentMegabytes(admin);
    const each = ((after - before) * 1024) / count;
    console.log(
      `${user}: ${before.toFixed(0)} MB with one connection, ${after.toFixed(0)} MB with ${count} more idle ones: ${each.toFixed(0)} kB each`,
    );
  } finally {
    for (const { socket } of clients) socket.destroy();
    child.kill();
  }
}

function serve(port: number, admin: number): ChildProcess {
  const args = [
    ...["--config", devNull, "--log-level", "warn", "--listen", `${HOST}:${port}`],
    ...["--admin", `${HOST}:${admin}`, "--max-clients", String(count + 10)],
    ...["--policy", join(folder, "policy.yaml"), "--audit", join(folder, `audit-${port}`)],
  ];
  const env = { ...process.env, SLUICE_UPSTREAM: server.uri, SLUICE_KEY: randomBytes(32).toString("hex") };
  return spawn(process.execPath, [MAIN, "serve", ...args], { env, stdio: ["ignore", "inherit", "inherit"] });
}

async function ready(admin: number): Promise<void> {
  for (;;) {
    const answer = await fetch(`http://${HOST}:${admin}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Idle, and not fresh: it has asked something. */
async function connected(uri: string): Promise<RawClient> {
  const client = await RawClient.loggedIn(uri);
  client.say(query("SELECT id, name, email FROM customers WHERE id = 7"));
  await client.until(1);
  return client;
}

async function residentMegabytes(admin: number): Promise<number> {
  const metrics = await (await fetch(`http://${HOST}:${admin}/metrics`)).text();
  const bytes = Number(/^process_resident_memory_bytes (\S+)$/m.exec(metrics)?.[1]);
  return bytes / 2 ** 20;
}
