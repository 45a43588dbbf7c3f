import { LineFile } from "./line-file.ts";
import { type Measure, Measures, parseMeasure } from "./measures.ts";

/** Measures as lines of a file that all processes of a machine append to; the measures' order says which line applies. */
export class MeasureFile {
  readonly #lines: LineFile;
  readonly #known = new Measures();

  constructor(path: string) {
    this.#lines = new LineFile(path);
  }

  get known(): Measures {
    return this.#known;
  }

  /** Reads what was appended since the last time; returns the number of lines that are not measures. */
  async refresh(): Promise<number> {
    let strange = 0;
    for (const line of await this.#lines.refresh()) {
      const measure = parseMeasure(line);
      if (measure === undefined) strange += 1;
      else this.#known.learn(measure);
    }
    return strange;
  }

  /** Appends measures; resolves when they are on disk. */
  async append(measures: readonly Measure[]): Promise<void> {
    await this.#lines.append(measures.map((measure) => JSON.stringify(measure)));
    for (const measure of measures) this.#known.learn(measure);
  }
}
