import { constants, type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

const LINE_FEED = 0x0a;
/** A file that stands in for a replacement that a crash left: nobody writes for that long (milliseconds). */
const STALE = 600_000;
/** A replacement of the file in the middle of an append is as rare as that: this many in a row are none. */
const TRIES = 5;

/**
 * JSON lines that are only appended: what several processes of a machine write at once ends up in sequence (O_APPEND), and a
 * crash loses at most the line being written. Only its owner can read the file, because its lines name users.
 */
export class LineFile {
  readonly #path: string;
  #reader = new LineReader();
  #file: number | undefined;
  #generation = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Counts up when the file turns out to be another than before: `refresh` then gives all of its lines. */
  get generation(): number {
    return this.#generation;
  }

  /** The lines that were appended since the last time, without empty ones. */
  async refresh(): Promise<readonly string[]> {
    const file = await openIfThere(this.#path);
    if (file === undefined) return [];
    try {
      const { size, ino } = await file.stat();
      if (ino !== this.#file || size < this.#reader.read) {
        if (this.#file !== undefined) this.#generation += 1;
        this.#file = ino;
        this.#reader = new LineReader();
      }
      return await this.#reader.linesOf(file, size);
    } finally {
      await file.close();
    }
  }

  /** Appends lines; resolves when they are on disk. */
  async append(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const { O_APPEND, O_CREAT, O_WRONLY } = constants;
    for (let i = 0; i < TRIES; i++) {
      const file = await open(this.#path, O_APPEND | O_CREAT | O_WRONLY, 0o600);
      try {
        // Begins with a line feed, which ends a line that a crash left unfinished.
        await file.write(`\n${lines.map((line) => `${line}\n`).join("")}`);
        await file.datasync();
        // Whoever replaced the file meanwhile may have read it before this was there.
        if ((await inodeOf(this.#path)) === (await file.stat()).ino) return;
      } finally {
        await file.close();
      }
    }
    throw new Error("the file is replaced again and again");
  }

  /**
   * Leaves out lines, by a new file in the place of this one. Other processes may append meanwhile: nothing of theirs is
   * lost. False: another process is at it.
   */
  async rewrite(keeps: (line: string) => boolean): Promise<boolean> {
    const temporary = `${this.#path}.new`;
    const fresh = await openFresh(temporary);
    if (fresh === undefined) return false;
    let old: FileHandle | undefined;
    try {
      old = await open(this.#path, "r");
      const reader = new LineReader();
      const kept = (await reader.linesOf(old, (await old.stat()).size)).filter(keeps);
      await fresh.writeFile(kept.map((line) => `${line}\n`).join(""));
      await fresh.datasync();
      await rename(temporary, this.#path);
      await this.append(await reader.linesOf(old, (await old.stat()).size));
      await syncFolder(dirname(this.#path));
      return true;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await old?.close();
      await fresh.close();
    }
  }
}

/** How far a file was read. Bytes behind the last line feed are a line that is still being written, or was torn. */
class LineReader {
  read = 0;
  #rest = Buffer.alloc(0);

  async linesOf(file: FileHandle, size: number): Promise<readonly string[]> {
    if (size <= this.read) return [];
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(size - this.read),
      0,
      size - this.read,
      this.read,
    );
    this.read += bytesRead;
    const bytes = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    this.#rest = bytes.subarray(end);
    return bytes
      .toString("utf8", 0, end)
      .split("\n")
      .filter((line) => line !== "");
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Undefined: another process has made it, and is at work. */
async function openFresh(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "wx", 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const made = await stat(path).catch(() => undefined);
    // Of a crash: the next time finds it gone.
    if (made !== undefined && Date.now() - made.mtimeMs > STALE) await rm(path, { force: true });
    return undefined;
  }
}

async function inodeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.ino;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
