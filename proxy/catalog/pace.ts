/**
 * How long DDL that goes past the proxy may stay unseen while somebody reads by the catalog: a table that has got a new
 * column or another name, a view that shows something else. A second is promised, and reading the catalog is part
 * of it.
 */
export const GLANCE_MS = 700;
/** Glances at a very large catalog take at most a twentieth of the time, reading it anew half. */
const PAUSE_AFTER_GLANCE = 20;
const PAUSE_AFTER_READ = 1;
/** How long a glance takes is the least of so many: one that met a busy moment says nothing of the catalog. */
const GLANCES_TIMED = 5;
/**
 * A migration makes a version of the catalog with each of its statements. Reading them takes at most a twentieth of the
 * time; while somebody watches, who has it looked at again before a name is refused, a quarter, of a large one half.
 */
const PAUSE_AFTER_DDL = { watched: 3, unwatched: 20 };
const LONGEST_PAUSE_AFTER_DDL_MS = 5_000;

/** How often a catalog is looked at by the timer, by what the last looks cost. */
export class Pace {
  readonly #probeMs: number;
  /** Between two looks while somebody watches. */
  #pauseMs = 0;
  /** How long the last glances took, in milliseconds. */
  #glances: readonly number[] = [];
  /** When the last full look ended, by `performance.now()`, and how long it took. */
  #look = { at: performance.now(), ms: 0 };

  constructor(probeSeconds: number) {
    this.#probeMs = probeSeconds * 1000;
  }

  /** A full look is due. */
  get isDue(): boolean {
    return performance.now() - this.#look.at >= this.#probeMs;
  }

  /** A glance has ended that showed nothing new. */
  glanced(ms: number): void {
    this.#glances = [...this.#glances, ms].slice(-GLANCES_TIMED);
    const usual = this.#glances.length < GLANCES_TIMED ? 0 : Math.min(...this.#glances);
    this.#pauseMs = usual * PAUSE_AFTER_GLANCE;
  }

  /** A full look has ended. */
  looked(ms: number): void {
    this.#pauseMs = ms * PAUSE_AFTER_READ;
    this.#look = { at: performance.now(), ms };
  }

  /** Milliseconds until the next look; `isChanged`: DDL has passed since the last one. */
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
