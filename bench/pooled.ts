import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatVerifier, makeVerifier } from "../proxy/wire/scram.ts";
import { formatUser } from "../proxy/wire/users-file.ts";
import { median, table } from "./figures.ts";
import { type Load, type Measured, runPgbench } from "./pgbench.ts";
import {
  type RunningProxy,
  type SluiceOptions,
  startSluice,
  type Target,
  type Upstream,
  uriAt,
} from "./targets.ts";
import { ACCOUNTS } from "./world.ts";

/** Server connections that all clients share. */
export const POOL_SIZE = 4;
export const PASSWORD = "bench";

/** Users prove themselves to a proxy that pools. */
export async function startPooledSluice(upstream: Upstream, options: SluiceOptions): Promise<RunningProxy> {
  const users = join(upstream.folder, "pool-users.txt");
  const verifier = formatVerifier(await makeVerifier(PASSWORD, 4096, randomBytes(16)));
  await writeFile(users, `${formatUser("app", verifier)}\n`, { mode: 0o600 });
  const flags = [
    "--auth",
    "scram",
    "--users",
    users,
    "--pool",
    "transaction",
    "--pool-size",
    String(POOL_SIZE),
  ];
  return startSluice(upstream, { ...options, flags });
}

export function pooledTarget({ port, pid }: RunningProxy): Target {
  return { name: "Sluice", uri: uriAt(port, `app:${PASSWORD}`), pid };
}

/** pgbench -S of more clients than connections, one target after the other, round by round. */
export async function measurePooled(
  targets: readonly Target[],
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<string> {
  const modes: readonly Load["mode"][] = ["simple", "prepared"];
  // Debian's PgBouncer is older than 1.21, which carries prepared statements over.
  const able = (mode: Load["mode"]) =>
    targets.filter(({ name }) => mode === "simple" || name !== "PgBouncer");
  const cells = modes.flatMap((mode) =>
    [8, 32].flatMap((clients) =>
      able(mode).map((target) => ({ mode, clients, target, seen: [] as Measured[] })),
    ),
  );
  for (let round = 0; round < rounds; round++) {
    for (const { mode, clients, target, seen } of cells) {
      seen.push(await runPgbench(target, { mode, clients, seconds, accounts: ACCOUNTS }));
    }
  }
  const rows = cells.map(({ mode, clients, target, seen }) => [
    ...[mode, String(clients), target.name],
    String(Math.round(median(seen.map(({ throughput }) => throughput)))),
    (median(seen.map(({ cpu }) => cpu)) * 1000).toFixed(1),
  ]);
  return table(["mode", "clients", "through", "queries/s", "CPU ms per 1,000"], rows);
}
