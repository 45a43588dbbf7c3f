import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { inject } from "vitest";
import { type PostgresOptions, startPostgres } from "../../proxy/embedded/postgres.ts";

/**
 * Creates a data folder as initdb makes it. initdb takes over a second of a processor, so it runs once for each kind of
 * server in a test run, and the other servers get a copy. (So copies share their system identifier.)
 */
export async function freshData(options: PostgresOptions): Promise<void> {
  const { binaries, superuser, password, auth } = options;
  const kind = createHash("sha256").update(JSON.stringify([binaries, superuser, password, auth]));
  const template = join(inject("postgresTemplates"), kind.digest("hex").slice(0, 12));
  if (!existsSync(template)) await make(template, options);
  // As root, -a preserves the owner: the server's own user.
  await promisify(execFile)("cp", ["-a", "--reflink=auto", template, options.dataFolder]);
}

async function make(template: string, { hba: _, port: __, settings: ___, ...options }: PostgresOptions) {
  const folder = await mkdtemp(`${template}.`);
  await chmod(folder, 0o755);
  const server = await startPostgres({ ...options, dataFolder: join(folder, "data"), settings: QUICK });
  await server.stop();
  // Another worker may have been faster.
  await rename(server.dataFolder, template).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
  });
  await rm(folder, { recursive: true, force: true });
}

const QUICK = { fsync: "off" };
