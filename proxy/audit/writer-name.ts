import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { isLeft } from "./chain-keys.ts";
import { byWriter, listSegments } from "./segments.ts";

/** A name that no other living process of this host writes under, until it is released. */
export interface WriterName {
  readonly name: string;
  release(): Promise<void>;
}

interface Holder {
  readonly pid: number;
  /** Process ids come again; with the time of its start a process is known for sure. */
  readonly started: string;
}

const MOST_WRITERS = 1_000;

/**
 * Takes the first free of the folder's `<host>-<random>.1`, `<host>-<random>.2` …: a process that comes after one that died
 * goes on with its chain. Two proxies of one host have folders of their own, and their files are gathered in one place
 * later: the random part, made once for each folder, keeps them apart. A name is taken by making the lock of the next
 * generation, which only one process can; the lock of a dead holder is never removed by somebody who has not taken its
 * place.
 */
export async function claimWriter(folder: string): Promise<WriterName> {
  const host = hostname().replaceAll(/[^\w]/g, "_").slice(0, 40) || "host";
  const known = await writersOf(folder, host);
  const [first = `${host}-${randomBytes(4).toString("hex")}.1`] = known;
  const base = first.slice(0, first.lastIndexOf("."));
  const slots = Array.from({ length: MOST_WRITERS }, (_, i) => `${base}.${i + 1}`);
  for (const name of new Set([...known, ...slots])) {
    if (await isLeft(folder, name)) continue;
    const release = await claim(folder, name);
    if (release !== undefined) return { name, release };
  }
  throw new Error(`${MOST_WRITERS} processes write to "${folder}" already`);
}

/** Who of this host has written here; names of older versions, without the random part, may be another folder's as well. */
async function writersOf(folder: string, host: string): Promise<readonly string[]> {
  const own = new RegExp(`^${host}-[0-9a-f]{8}\\.\\d+$`);
  return [...byWriter(await listSegments(folder)).keys()].filter((name) => own.test(name));
}

async function claim(folder: string, name: string): Promise<(() => Promise<void>) | undefined> {
  const generations = await generationsOf(folder, name);
  const newest = generations.at(-1);
  if (newest !== undefined && (await isHeld(folder, name, newest))) return undefined;
  const own = (newest ?? 0) + 1;
  const lock = lockPath(folder, name, own);
  const holder: Holder = { pid: process.pid, started: startOf(process.pid) };
  if (!(await createWhole(lock, JSON.stringify(holder)))) return undefined;
  const now = await generationsOf(folder, name);
  if (now.at(-1) !== own) {
    // Somebody took a later one while we looked at an older.
    await rm(lock, { force: true });
    return undefined;
  }
  for (const older of now.slice(0, -1)) await rm(lockPath(folder, name, older), { force: true });
  return () => rm(lock, { force: true });
}

function lockPath(folder: string, name: string, generation: number): string {
  return join(folder, `.${name}.lock.${generation}`);
}

async function generationsOf(folder: string, name: string): Promise<readonly number[]> {
  const prefix = `.${name}.lock.`;
  const names = (await readdir(folder)).filter((one) => one.startsWith(prefix));
  return names
    .map((one) => Number(one.slice(prefix.length)))
    .filter(Number.isSafeInteger)
    .toSorted((a, b) => a - b);
}

/** Makes a file that is never seen half-written; false when it exists already (link(2) is atomic). */
async function createWhole(path: string, content: string): Promise<boolean> {
  const draft = `${path}-${randomBytes(6).toString("hex")}`;
  await writeFile(draft, content, { mode: 0o600, flag: "wx" });
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

async function isHeld(folder: string, name: string, generation: number): Promise<boolean> {
  try {
    const text = await readFile(lockPath(folder, name, generation), "utf8");
    const { pid, started } = JSON.parse(text) as Holder;
    return isAlive(pid) && startOf(pid) === started;
  } catch (error) {
    // Gone in this moment, or the disk was full when it was made: nobody who holds it says so.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Field 22 of /proc/PID/stat (proc(5)): its start in clock ticks since boot. Empty where there is no /proc. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command in parentheses, which may hold spaces and parentheses itself.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
