import type { ClientStatement } from "./server-statements.ts";

interface Entry {
  /** Undefined: it was closed, or dropped. */
  readonly statement: ClientStatement | undefined;
  /** In which pipeline that was asked for. */
  readonly pipeline: number;
}

/**
 * What a client's names of prepared statements mean to it, as of all that it has sent. A message that the server skips
 * takes its change back; until that is known, whoever asks in a later pipeline has to wait.
 */
export class ClientStatements {
  /** The unnamed one is "". */
  readonly #entries = new Map<string, Entry>();
  #pipeline = 0;
  /** All changes of earlier pipelines have been answered. */
  #settledFrom = 0;

  /** Counts Sync and Query: what stands between two of them fails together. */
  get pipeline(): number {
    return this.#pipeline;
  }

  get(name: string): ClientStatement | undefined {
    return this.#entries.get(name)?.statement;
  }

  /** Gives what takes it back, unless the name has been given anew meanwhile. */
  change(name: string, statement: ClientStatement | undefined): () => void {
    const before = this.#entries.get(name);
    const entry = { statement, pipeline: this.#pipeline };
    this.#entries.set(name, entry);
    return () => {
      if (this.#entries.get(name) !== entry) return;
      if (before === undefined) this.#entries.delete(name);
      else this.#entries.set(name, before);
    };
  }

  /** Whether it hangs on an answer that is still to come what the name means. */
  isUnsettled(name: string): boolean {
    const entry = this.#entries.get(name);
    return entry !== undefined && entry.pipeline >= this.#settledFrom && entry.pipeline !== this.#pipeline;
  }

  /** Sync or Query: what comes next does not fail together with what came before. */
  endPipeline(): void {
    this.#pipeline++;
  }

  /** All that was sent has been answered. */
  settle(): void {
    if (this.#settledFrom === this.#pipeline) return;
    this.#settledFrom = this.#pipeline;
    for (const [name, { statement }] of this.#entries) {
      if (statement === undefined) this.#entries.delete(name);
    }
  }

  clear(): void {
    this.#entries.clear();
  }
}
