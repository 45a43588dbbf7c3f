import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { inject } from "vitest";
import { type PostgresOptions, startPostgres } from "../../proxy/embedded/postgres.ts";
import { madeOnce } from "./made-once.ts";

/**
 * Creates a data folder as initdb makes it. initdb takes over a second of a processor, so it runs once for each kind of
 * server in a test run, and the other servers get a copy. (So copies share their system identifier.)
 */
export async function freshData(options: PostgresOptions): Promise<void> {
  const { binaries, superuser, password, auth } = options;
  const kind = createHash("sha256").update(JSON.stringify([binaries, superuser, password, auth]));
  const place = join(inject("postgresTemplates"), kind.digest("hex").slice(0, 12));
  const template = await madeOnce(place, (dataFolder) => make(dataFolder, options));
  // As root, -a preserves the owner: the server's own user.
  await promisify(execFile)("cp", ["-a", "--reflink=auto", template, options.dataFolder]);
}

async function make(
  dataFolder: string,
  { hba: _, port: __, settings: ___, ...options }: PostgresOptions,
): Promise<void> {
  const server = await startPostgres({ ...options, dataFolder, settings: QUICK });
  await server.stop();
}

const QUICK = { fsync: "off" };
