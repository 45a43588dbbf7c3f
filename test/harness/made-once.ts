import { existsSync } from "node:fs";
import { chmod, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * Makes what takes long once in a test run, or once by each worker that asks meanwhile. `make` gets a path that does not
 * exist, beside the place where the result will be.
 */
export async function madeOnce(place: string, make: (path: string) => Promise<void>): Promise<string> {
  if (existsSync(place)) return place;
  const folder = await mkdtemp(`${place}.`);
  // A server's own user reaches it.
  await chmod(folder, 0o755);
  await make(join(folder, "made"));
  // Another worker may have been faster.
  await rename(join(folder, "made"), place).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
  });
  await rm(folder, { recursive: true, force: true });
  return place;
}
