import type { Startup } from "./asker.ts";
import { type Parameters, tryOn } from "./first-settings.ts";
import type { Pool } from "./pool.ts";
import type { SyncedParameters } from "./synced-parameters.ts";

/** What servers said of themselves is believed for so long where it can be asked for again. */
const BELIEVED_MS = 1_000;
/** Clients choose the settings, and so how many kinds there are. */
const MOST_GREETINGS = 100;

interface Greeting {
  readonly parameters: Parameters;
  /** By `performance.now()`. */
  readonly at: number;
}

/** What sessions of one pool are told at their beginning, by their start-up settings. */
export class Greetings {
  readonly #pool: Pool;
  readonly #known = new Map<string, Greeting>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * The server may be another one, or have another configuration, than a moment ago: it is asked, unless all its connections
   * are at work. Rejects with `NoConnection`.
   */
  async of(startup: Startup, settings: SyncedParameters, signal: AbortSignal): Promise<Parameters> {
    const key = JSON.stringify([startup.key, ...settings]);
    const known = this.#known.get(key);
    if (known !== undefined && !this.#pool.isEmpty) {
      const isFresh = performance.now() - known.at < BELIEVED_MS;
      if (isFresh || !this.#pool.isFree) return known.parameters;
    }
    const parameters = await tryOn(this.#pool, startup, settings, signal);
    this.#known.delete(key);
    this.#known.set(key, { parameters, at: performance.now() });
    const [oldest] = this.#known.keys();
    if (this.#known.size > MOST_GREETINGS && oldest !== undefined) this.#known.delete(oldest);
    return parameters;
  }
}
