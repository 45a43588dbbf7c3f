/**
 * How long DDL that bypasses the proxy may stay unnoticed while someone reads by the catalog: a new column, a renamed
 * table, a view that shows something else. One second is promised, and it includes reading the catalog.
 */
export const GLANCE_MS = 700;
/** Glances at a very large catalog take at most a twentieth of the time; full reads take at most half. */
const PAUSE_AFTER_GLANCE = 20;
const PAUSE_AFTER_READ = 1;
/** The cost of a glance is the least of this many: one at a busy moment says nothing about the catalog. */
const GLANCES_TIMED = 5;
/**
 * A migration creates a version of the catalog with each of its statements. Reading them takes at most a twentieth of
 * the time. While someone watches it takes a quarter, and for a large catalog half: a watcher has the catalog read
 * again before a name is refused.
 */
const PAUSE_AFTER_DDL = { watched: 3, unwatched: 20 };
const LONGEST_PAUSE_AFTER_DDL_MS = 5_000;

/** Decides how often the timer looks at a catalog, by the cost of the last looks. */
export class Pace {
  readonly #probeMs: number;
  /** Pause between two looks while someone watches, in milliseconds. */
  #pauseMs = 0;
  /** Durations of the last glances, in milliseconds. */
  #glances: readonly number[] = [];
  /** When the last full look ended, by `performance.now()`, and its duration in milliseconds. */
  #look = { at: performance.now(), ms: 0 };

  constructor(probeSeconds: number) {
    this.#probeMs = probeSeconds * 1000;
  }

  /** Whether a full look is due. */
  get isDue(): boolean {
    return performance.now() - this.#look.at >= this.#probeMs;
  }

  /** Call after a glance that showed nothing new. */
  glanced(ms: number): void {
    this.#glances = [...this.#glances, ms].slice(-GLANCES_TIMED);
    const usual = this.#glances.length < GLANCES_TIMED ? 0 : Math.min(...this.#glances);
    this.#pauseMs = usual * PAUSE_AFTER_GLANCE;
  }

  /** Call after a full look. */
  looked(ms: number): void {
    this.#pauseMs = ms * PAUSE_AFTER_READ;
    this.#look = { at: performance.now(), ms };
  }

  /** Milliseconds until the next look. `isChanged`: DDL has passed since the last one. */
  next(isWatched: boolean, isChanged: boolean): number {
    const usual = isWatched ? Math.min(this.#probeMs, Math.max(GLANCE_MS, this.#pauseMs)) : this.#probeMs;
    if (!isChanged) return usual;
    const { at, ms } = this.#look;
    const pause = Math.min(
      ms * PAUSE_AFTER_DDL[isWatched ? "watched" : "unwatched"],
      LONGEST_PAUSE_AFTER_DDL_MS,
    );
    return Math.min(usual, Math.max(0, at + pause - performance.now()));
  }
}
