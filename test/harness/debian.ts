import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { canEnter, findServant } from "../../proxy/embedded/binaries.ts";

/**
 * Programs that no npm package contains: from the PATH, from the project's cache, or from Debian's packages, which an
 * ordinary user can download and unpack (not install) into that cache.
 */
export interface Program {
  readonly path: string;
  /** Additional environment variables that it needs: for its libraries. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where it was found, for the first lines of the run's output. */
  readonly way: string;
}

/** The packages of Debian and Ubuntu that contain a program; the first name that exists is used. */
const PACKAGES = {
  "redis-server": ["redis-server", "valkey-server"],
  "valkey-server": ["redis-server", "valkey-server"],
  psql: ["postgresql-client-15", "postgresql-client"],
  pg_dump: ["postgresql-client-15", "postgresql-client"],
  // pgbench and the server are in one package.
  pgbench: ["postgresql-15", "postgresql"],
  postgres: ["postgresql-15", "postgresql"],
  openssl: ["openssl"],
  // A plug-in for monitoring, in Perl.
  check_postgres: ["check-postgres"],
  // Sluice is measured beside these two.
  pgbouncer: ["pgbouncer"],
  pgpool: ["pgpool2"],
  // Generates statements that no one would think of.
  sqlsmith: ["sqlsmith"],
  // Checks rules and expositions as Prometheus does.
  promtool: ["prometheus"],
  prometheus: ["prometheus"],
  // Checks units as systemd does.
  "systemd-analyze": ["systemd"],
  // Chromium without a window, and the full browser.
  "chromium-headless-shell": ["chromium-headless-shell", "chromium"],
  chromium: ["chromium-headless-shell", "chromium"],
} as const;

export type ProgramName = keyof typeof PACKAGES;

/** Libraries, also of other languages, that only Debian provides ready to run. */
const LIBRARIES = {
  psycopg2: ["python3-psycopg2"],
  psycopg: ["python3-psycopg"],
  jdbc: ["libpostgresql-jdbc-java"],
  // Gives a single process its own clock.
  datefudge: ["datefudge"],
} as const;

export type LibraryName = keyof typeof LIBRARIES;

/** Where downloads of the tests are kept: not in the repository. */
export const CACHE = await cacheFolder();
const run = promisify(execFile);

/** In the project; in the temporary folder if a server's own user could not reach that (we are root, in /root). */
async function cacheFolder(): Promise<string> {
  const folder = fileURLToPath(new URL("../../node_modules/.cache/sluice/", import.meta.url));
  const servant = await findServant();
  if (servant === undefined || (await canEnter(folder, servant))) return folder;
  return join(tmpdir(), `sluice-cache-${createHash("sha256").update(folder).digest("hex").slice(0, 12)}`);
}

/** Finds one of these programs; earlier names are preferred. */
export async function findProgram(...names: readonly [ProgramName, ...ProgramName[]]): Promise<Program> {
  for (const name of names) {
    const path = await first(
      [...(process.env.PATH ?? "").split(delimiter), ...(await serverFolders("/"))],
      name,
    );
    if (path !== undefined) return { path, environment: {}, way: path };
  }
  const packages = PACKAGES[names[0]];
  const root = join(CACHE, packages[0]);
  const cached = await inRoot(root, names);
  if (cached !== undefined) return { ...cached, way: `${cached.path} (unpacked earlier)` };
  const why = await unpack(packages, root).then(
    () => "it is not in there",
    (error: unknown) => (error instanceof Error ? error.message.split("\n")[0] : String(error)),
  );
  const unpacked = await inRoot(root, names);
  if (unpacked !== undefined)
    return { ...unpacked, way: `${unpacked.path} (Debian's package, unpacked just now)` };
  throw new Error(`The tests need ${names[0]}: apt-get install ${packages[0]} (unpacking it failed: ${why})`);
}

/** A library's files under `root`, unpacked and not installed, and the location of the libraries it needs. */
export interface Library {
  readonly root: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Finds a library, or throws with the reason why this machine cannot have it. */
export async function findLibrary(name: LibraryName): Promise<Library> {
  const packages = LIBRARIES[name];
  const root = join(CACHE, packages[0]);
  if (!(await exists(root))) {
    await unpack(packages, root).catch((error: unknown) => {
      const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
      throw new Error(`${packages[0]} cannot be unpacked here: ${why}`);
    });
  }
  return { root, environment: await librariesIn(root) };
}

/** Debian's own folders of Postgres programs, which are not on the PATH. */
async function serverFolders(root: string): Promise<readonly string[]> {
  const versions = join(root, "usr/lib/postgresql");
  const found = await readdir(versions).catch(() => []);
  return found.map((version) => join(versions, version, "bin"));
}

async function inRoot(
  root: string,
  names: readonly ProgramName[],
): Promise<Omit<Program, "way"> | undefined> {
  // Debian's psql and pgbench in /usr/bin are Perl wrappers; the programs are in the server's folder.
  const folders = [
    ...(await serverFolders(root)),
    // Chromium's /usr/bin entry is a script that knows only the installed location.
    join(root, "usr/lib/chromium"),
    join(root, "usr/bin"),
    join(root, "bin"),
    join(root, "usr/sbin"),
  ];
  for (const name of names) {
    const path = await first(folders, name);
    if (path === undefined) continue;
    return { path, environment: await librariesIn(root) };
  }
  return undefined;
}

async function librariesIn(root: string): Promise<Readonly<Record<string, string>>> {
  const triplets = await readdir(join(root, "usr/lib")).catch(() => []);
  const folders = triplets
    .filter((triplet) => triplet.includes("-linux-gnu"))
    // PulseAudio and systemd keep some libraries in folders that only an installed system searches.
    .flatMap((triplet) => [
      join(root, "usr/lib", triplet),
      join(root, "lib", triplet),
      join(root, "usr/lib", triplet, "pulseaudio"),
      join(root, "usr/lib", triplet, "systemd"),
    ]);
  return { LD_LIBRARY_PATH: folders.join(":") };
}

async function first(folders: readonly string[], name: string): Promise<string | undefined> {
  for (const folder of folders) {
    if (folder === "") continue;
    const path = join(folder, name);
    if (await exists(path)) return path;
  }
  return undefined;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Unpacks the first of these packages that exists, with its dependencies. */
async function unpack(packages: readonly string[], root: string): Promise<void> {
  await unpackChosen((apt) => missingPackages(packages, apt), root);
}

/** Unpacks all of these packages, with their dependencies, into one folder. Fails if Debian lacks one of them. */
export async function unpackTogether(packages: readonly string[], root: string): Promise<void> {
  await unpackChosen((apt) => neededFor(packages, apt), root);
}

type Apt = (...args: readonly string[]) => Promise<{ readonly stdout: string }>;

/** apt with private state does not need root: it downloads what this machine lacks, and dpkg unpacks it. */
async function unpackChosen(choose: (apt: Apt) => Promise<readonly string[]>, root: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, "apt-"));
  try {
    await mkdir(join(work, "state/lists/partial"), { recursive: true });
    await mkdir(join(work, "cache/archives/partial"), { recursive: true });
    const apt = (...args: readonly string[]) =>
      run(
        "apt-get",
        [
          ...["-o", `Dir::State=${work}/state`, "-o", "Dir::State::status=/var/lib/dpkg/status"],
          ...["-o", `Dir::Cache=${work}/cache`, "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="],
          ...["-o", "Acquire::Languages=none", "-qq", ...args],
        ],
        { cwd: work },
      );
    await apt("update");
    await apt("download", ...(await choose(apt)));
    const archives = (await readdir(work)).filter((file) => file.endsWith(".deb"));
    for (const archive of archives) await run("dpkg", ["-x", join(work, archive), join(work, "root")]);
    // Another worker may have been faster; its copy is equally good.
    await rename(join(work, "root"), root).catch(() => undefined);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The first package that exists, and those of its dependencies that this machine lacks. */
async function missingPackages(packages: readonly string[], apt: Apt): Promise<readonly string[]> {
  let reason: unknown;
  for (const name of packages) {
    try {
      return await neededFor([name], apt);
    } catch (error) {
      reason = error;
    }
  }
  throw reason;
}

/** These packages, and those of their dependencies that this machine lacks. */
async function neededFor(packages: readonly string[], apt: Apt): Promise<readonly string[]> {
  const flags = ["-y", "--reinstall", "--no-install-recommends", "--print-uris"];
  const { stdout } = await apt("install", ...flags, ...packages);
  // 'http://…/redis-server_7.0.15-1_amd64.deb' redis-server_5%3a7.0.15-1_amd64.deb 72492 SHA256:…
  const files = stdout.split("\n").flatMap((line) => line.split(" ")[1] ?? []);
  return [...new Set(files.map((file) => file.split("_")[0] ?? ""))].filter((file) => file !== "");
}
