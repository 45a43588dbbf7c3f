import { readFile, rename, writeFile } from "node:fs/promises";
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { type KeptProfile, parseProfile, profileText } from "./profile-text.ts";
import {
  type KeptSummary,
  keptSummary,
  type ProfileBackend,
  type ProfileName,
  type Stored,
} from "./shared-profiles.ts";

export interface FileProfilesOptions {
  /** If absent, profiles end with the process. */
  readonly path?: string;
  readonly onProblem: (problem: string) => void;
  /** Milliseconds between two writes of the file. */
  readonly every?: number;
}

interface Kept extends Stored {
  readonly name: ProfileName;
  readonly kept: KeptProfile;
  readonly summary: KeptSummary;
}

const WRITE_EVERY = 60_000;
/** A user who has not read for this many days is forgotten. */
const KEPT_DAYS = 45;

const line = z.object({ database: z.string(), role: z.string(), user: z.string(), profile: z.string() });

/** Reads the file of an earlier process; a missing or damaged file counts as empty. */
export async function openFileProfiles(options: FileProfilesOptions): Promise<FileProfiles> {
  const profiles = new FileProfiles(options);
  await profiles.load();
  return profiles;
}

/**
 * Profiles of a proxy without Redis: in memory, and in a file of JSON lines that is rewritten periodically and when the
 * proxy ends. A crash loses what was seen since. Only its owner can read the file, because it names users.
 */
export class FileProfiles implements ProfileBackend {
  readonly reachable = true;
  readonly #path: string | undefined;
  readonly #onProblem: (problem: string) => void;
  readonly #kept = new Map<string, Kept>();
  /** Alerts that were sent, each with its day. */
  readonly #told = new LRUCache<string, true>({ max: 10_000 });
  readonly #timer: NodeJS.Timeout | undefined;
  #changed = false;
  #writing: Promise<void> = Promise.resolve();

  constructor({ path, onProblem, every = WRITE_EVERY }: FileProfilesOptions) {
    this.#path = path;
    this.#onProblem = onProblem;
    if (path === undefined) return;
    this.#timer = setInterval(() => void this.save(), every);
    this.#timer.unref();
  }

  async load(): Promise<void> {
    if (this.#path === undefined) return;
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT") this.#onProblem(code ?? "unknown error");
      return;
    }
    for (const one of text.split("\n")) if (one !== "") this.#learn(one);
  }

  async read(name: ProfileName, version: number): Promise<Stored | undefined> {
    const there = this.#kept.get(keyOf(name));
    if (there === undefined || there.version === version) return undefined;
    return there;
  }

  async write(
    name: ProfileName,
    version: number,
    kept: KeptProfile,
    summary: KeptSummary,
  ): Promise<number | undefined> {
    const key = keyOf(name);
    if ((this.#kept.get(key)?.version ?? 0) !== version) return undefined;
    // Keeps the order of the last read.
    this.#kept.delete(key);
    this.#kept.set(key, { name, version: version + 1, kept, summary });
    this.#changed = true;
    return version + 1;
  }

  async summaries(database: string, role: string, today: number): Promise<readonly KeptSummary[]> {
    const found: KeptSummary[] = [];
    for (const [key, { name, summary }] of this.#kept) {
      if (summary.day < today - KEPT_DAYS) this.#kept.delete(key);
      else if (name.database === database && name.role === role) found.push(summary);
    }
    return found;
  }

  /** This process is the whole fleet. */
  async claim({ database, user }: ProfileName, what: string): Promise<boolean> {
    const news = JSON.stringify([database, user, what]);
    if (this.#told.has(news)) return false;
    this.#told.set(news, true);
    return true;
  }

  /** Never rejects. */
  save(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#save());
    return this.#writing;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.save();
  }

  async #save(): Promise<void> {
    if (this.#path === undefined || !this.#changed) return;
    this.#changed = false;
    const lines = [...this.#kept.values()].map(
      ({ name, kept }) => `${JSON.stringify({ ...name, profile: profileText(kept) })}\n`,
    );
    try {
      // A crash in between leaves the previous file.
      await writeFile(`${this.#path}.new`, lines.join(""), { mode: 0o600 });
      await rename(`${this.#path}.new`, this.#path);
    } catch (error) {
      this.#changed = true;
      this.#onProblem((error as NodeJS.ErrnoException).code ?? "unknown error");
    }
  }

  #learn(text: string): void {
    try {
      const { profile, ...name } = line.parse(JSON.parse(text));
      const kept = parseProfile(profile);
      if (kept === undefined) return;
      this.#kept.set(keyOf(name), { name, version: 1, kept, summary: keptSummary(kept.profile) });
    } catch {
      this.#onProblem("a line is no profile");
    }
  }
}

function keyOf({ database, role, user }: ProfileName): string {
  return [database, role, user].join("\0");
}
