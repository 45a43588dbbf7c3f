import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { onTestFinished } from "vitest";
import type { suspend } from "../../proxy/commands/suspend.ts";
import { PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

/** Proxies of one database that share a Redis and a secret, and the operator's commands. */
export interface Fleet {
  /** Starts one more. */
  proxy(): Promise<TestSluice>;
  /** What a command says, and its exit status. */
  command(run: typeof suspend, ...args: string[]): Promise<{ status: number; said: string }>;
  /** What this user runs in the database just now. */
  running(user: string): Promise<number>;
  close(): Promise<void>;
}

export async function fleetOf(database: TestDatabase, redis: string, policy: string): Promise<Fleet> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-fleet-"));
  await writeFile(join(folder, "key"), randomBytes(32).toString("hex"), { mode: 0o600 });
  const flags = ["--key-file", join(folder, "key")];
  return {
    proxy: () => startSluice({ policy, upstream: database.uri, redis, flags }),
    command: async (run, ...args) => {
      const written: string[] = [];
      const stream = { write: (text: string) => written.push(text) };
      const places = [
        ...flags,
        "--redis",
        redis,
        "--command-timeout",
        "2s",
        "--audit",
        join(folder, "none"),
        "--config",
        "/dev/null",
      ];
      const status = await run([...args, ...places], { output: stream, errors: stream }, {});
      return { status, said: written.join("") };
    },
    running: async (user) => {
      const { rows } = await database.query<{ count: number }>(
        `SELECT count(*)::int FROM pg_stat_activity WHERE usename = '${user}' AND datname = current_database() AND state = 'active'`,
      );
      return rows[0]?.count ?? 0;
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A client that does not mind being cut off. */
export async function connect(to: TestSluice, user: keyof typeof PASSWORDS): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: to.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

/** The SQLSTATE with which a statement or a login fails. */
export async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason as Error,
  );
  return (error as pg.DatabaseError).code ?? error.message;
}
