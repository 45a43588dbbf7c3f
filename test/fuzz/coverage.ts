import { Session } from "node:inspector/promises";

/** Sees which blocks of the proxy's code have run for the first time, by V8's precise coverage. */
export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();
  readonly #isOurs: (url: string) => boolean;

  private constructor(isOurs: (url: string) => boolean) {
    this.#isOurs = isOurs;
  }

  static async start(isOurs: (url: string) => boolean): Promise<Coverage> {
    const coverage = new Coverage(isOurs);
    coverage.#session.connect();
    await coverage.#session.post("Profiler.enable");
    await coverage.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    return coverage;
  }

  /** How many blocks ran since the last time that had never run before. */
  async fresh(): Promise<number> {
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    const before = this.#seen.size;
    for (const { url, scriptId, functions } of result) {
      if (!this.#isOurs(url)) continue;
      for (const { ranges } of functions)
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) this.#seen.add(`${scriptId} ${startOffset} ${endOffset}`);
    }
    return this.#seen.size - before;
  }

  get blocks(): number {
    return this.#seen.size;
  }

  stop(): void {
    this.#session.disconnect();
  }
}
