import { constants, type FileHandle, open } from "node:fs/promises";
import { type Measure, Measures, parseMeasure } from "./measures.ts";

/**
 * Measures as JSON lines that are only appended: what several processes of a machine write at once ends up in sequence
 * (O_APPEND), a crash loses at most the line being written, and the measures' order says which line applies. Only its
 * owner can read the file, because it names users.
 */
export class MeasureFile {
  readonly #path: string;
  readonly #known = new Measures();
  /** How many bytes of the file have been read, and the unfinished line at their end. */
  #read = 0;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
  }

  get known(): Measures {
    return this.#known;
  }

  /** Reads what was appended since the last time; returns the number of lines that are not measures. */
  async refresh(): Promise<number> {
    let file: FileHandle;
    try {
      file = await open(this.#path, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
      throw error;
    }
    try {
      const { size } = await file.stat();
      // The file was replaced by another, which is read from the start.
      if (size < this.#read) this.#startAgain();
      if (size === this.#read) return 0;
      const { buffer, bytesRead } = await file.read(
        Buffer.alloc(size - this.#read),
        0,
        size - this.#read,
        this.#read,
      );
      this.#read += bytesRead;
      return this.#learn(buffer.toString("utf8", 0, bytesRead));
    } finally {
      await file.close();
    }
  }

  /** Appends measures; resolves when they are on disk. */
  async append(measures: readonly Measure[]): Promise<void> {
    if (measures.length === 0) return;
    const { O_APPEND, O_CREAT, O_WRONLY } = constants;
    const file = await open(this.#path, O_APPEND | O_CREAT | O_WRONLY, 0o600);
    try {
      // Begins with a line feed, which ends a line that a crash left unfinished.
      const lines = measures.map((measure) => `${JSON.stringify(measure)}\n`).join("");
      await file.write(`\n${lines}`);
      await file.datasync();
    } finally {
      await file.close();
    }
    for (const measure of measures) this.#known.learn(measure);
  }

  #startAgain(): void {
    this.#read = 0;
    this.#rest = "";
  }

  #learn(text: string): number {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    let strange = 0;
    for (const line of lines) {
      if (line === "") continue;
      const measure = parseMeasure(line);
      if (measure === undefined) strange += 1;
      else this.#known.learn(measure);
    }
    return strange;
  }
}
