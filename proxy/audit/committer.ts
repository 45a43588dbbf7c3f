import fs, { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { Head } from "./chain.ts";
import { syncFolder } from "./segments.ts";

/** Lines of one segment that go to disk together. */
export interface Batch {
  /** The segment's file name. */
  readonly name: string;
  /** The lines: of each piece of memory its first `length` bytes. */
  readonly pieces: readonly { readonly memory: Buffer; readonly length: number }[];
  /** How many of the lines are events, not records. */
  readonly events: number;
  /** The end of the chain after the last line. */
  readonly head: Head;
  /** The last line is the segment's footer. */
  readonly closes: boolean;
}

/** The lines as text, each with its line feed. A line does not reach over two pieces of memory. */
export function linesIn({ pieces }: Batch): readonly string[] {
  return pieces.flatMap(({ memory, length }) => memory.toString("utf8", 0, length).split(/(?<=\n)/));
}

const { O_RDWR, O_CREAT, O_EXCL, O_DSYNC } = constants;
/**
 * On Linux each write is on disk when it returns, as if an fdatasync followed (open(2)): one errand for a thread in
 * place of two. Elsewhere O_DSYNC may mean less, and fdatasync is asked for.
 */
const SYNCS_ON_WRITE = process.platform === "linux";
const READ_WRITE = O_RDWR | (SYNCS_ON_WRITE ? O_DSYNC : 0);

/** Gives how many of the bytes were written. `FileHandle.write` takes 15 µs more of the event loop. */
function writeAt(file: number, bytes: Buffer, from: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(file, bytes, from, bytes.length - from, position, (error, written) => {
      if (error === null) resolve(written);
      else reject(error);
    });
  });
}

/**
 * Puts batches on disk, one after the other: a write that is durable each, however many lines there are. A batch
 * that failed is written again at the place where it should stand, whatever the failed attempt left there: what
 * failed to get to disk may have been dropped, and a second sync would not miss it (fsync(2)).
 */
export class Committer {
  readonly #folder: string;
  /** The current segment: how many of its bytes are known to be on disk. */
  #segment: { readonly name: string; readonly synced: number } | undefined;
  #handle: FileHandle | undefined;

  /** `existing` is a segment that was left open, of which that many bytes stay. */
  constructor(folder: string, existing?: { readonly name: string; readonly bytes: number }) {
    this.#folder = folder;
    this.#segment = existing && { name: existing.name, synced: existing.bytes };
  }

  /** Resolves when the batch is on disk; rejects when it is not, and may be called with it again. */
  async commit(batch: Batch): Promise<void> {
    try {
      await this.#write(batch);
    } catch (error) {
      await this.close();
      throw error;
    }
    if (batch.closes) await this.close();
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    // What counts was synced before; a failed close loses nothing of it.
    await handle?.close().catch(() => {});
  }

  async #write(batch: Batch): Promise<void> {
    const handle =
      this.#segment?.name === batch.name ? await this.#reopened(batch.name) : await this.#begun(batch.name);
    const start = this.#segment?.synced ?? 0;
    const [first, ...others] = batch.pieces.map(({ memory, length }) => memory.subarray(0, length));
    if (first === undefined) return;
    const bytes = others.length === 0 ? first : Buffer.concat([first, ...others]);
    for (let written = 0; written < bytes.length; )
      written += await writeAt(handle.fd, bytes, written, start + written);
    if (!SYNCS_ON_WRITE) await handle.datasync();
    this.#segment = { name: batch.name, synced: start + bytes.length };
  }

  async #reopened(name: string): Promise<FileHandle> {
    this.#handle ??= await open(join(this.#folder, name), READ_WRITE);
    return this.#handle;
  }

  async #begun(name: string): Promise<FileHandle> {
    await this.close();
    // An existing file holds events of another writer.
    const handle = await open(join(this.#folder, name), READ_WRITE | O_CREAT | O_EXCL, 0o600);
    this.#handle = handle;
    this.#segment = { name, synced: 0 };
    await syncFolder(this.#folder);
    return handle;
  }
}
