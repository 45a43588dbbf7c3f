import { constants, type FileHandle, open } from "node:fs/promises";

/**
 * JSON lines that are only appended: what several processes of a machine write at once ends up in sequence (O_APPEND), and a
 * crash loses at most the line being written. Only its owner can read the file, because its lines name users.
 */
export class LineFile {
  readonly #path: string;
  /** How many bytes of the file have been read, and the unfinished line at their end. */
  #read = 0;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
  }

  /** The lines that were appended since the last time, without empty ones. */
  async refresh(): Promise<readonly string[]> {
    let file: FileHandle;
    try {
      file = await open(this.#path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
    try {
      const { size } = await file.stat();
      // The file was replaced by another, which is read from the start.
      if (size < this.#read) this.#startAgain();
      if (size === this.#read) return [];
      const { buffer, bytesRead } = await file.read(
        Buffer.alloc(size - this.#read),
        0,
        size - this.#read,
        this.#read,
      );
      this.#read += bytesRead;
      return this.#linesOf(buffer.toString("utf8", 0, bytesRead));
    } finally {
      await file.close();
    }
  }

  /** Appends lines; resolves when they are on disk. */
  async append(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const { O_APPEND, O_CREAT, O_WRONLY } = constants;
    const file = await open(this.#path, O_APPEND | O_CREAT | O_WRONLY, 0o600);
    try {
      // Begins with a line feed, which ends a line that a crash left unfinished.
      await file.write(`\n${lines.map((line) => `${line}\n`).join("")}`);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  #startAgain(): void {
    this.#read = 0;
    this.#rest = "";
  }

  #linesOf(text: string): readonly string[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.filter((line) => line !== "");
  }
}
