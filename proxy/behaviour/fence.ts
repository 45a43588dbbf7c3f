import { LRUCache } from "lru-cache";
import { EMPTY_QUERY, type StatementEvent } from "../audit/event.ts";
import { isKnownPlace } from "../policy/compile-fences.ts";
import { isKnownStatement, shapeKey } from "../policy/fence-shapes.ts";
import type { Fence } from "../policy/policy.ts";

/** What was seen outside of an account's fence. */
export interface FenceSighting {
  readonly event: StatementEvent;
  readonly account: string;
  readonly outside: Fence["outside"];
  readonly figure: number;
  readonly ordinary: number;
  readonly text: string;
}

export interface FenceWatchOptions {
  readonly fence: (database: string, account: string) => Fence | undefined;
  readonly onSighting: (sighting: FenceSighting) => void;
}

/** So many times what one run ever showed is another use of the same statement. */
const FACTOR = 100;
/** What was told is told again after a day. */
const QUIET_MS = 86_400_000;
/** More than an account has statements; a thief who makes up more is told of all the same. */
const REMEMBERED = 10_000;

/** Holds statements that have run, or were refused, against the fences of their accounts. */
export class FenceWatch {
  readonly #options: FenceWatchOptions;
  readonly #told = new LRUCache<string, number>({ max: REMEMBERED });

  constructor(options: FenceWatchOptions) {
    this.#options = options;
  }

  observe(event: StatementEvent): void {
    const account = event.account ?? event.user;
    const fence = this.#options.fence(event.database, account);
    if (fence === undefined || ASIDE.has(event.command)) return;
    const { outside } = fence;
    const tell = (what: string, text: string, figure = 1, ordinary = 0) => {
      const key = JSON.stringify([event.database, account, what]);
      if (event.time - (this.#told.get(key) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return;
      this.#told.set(key, event.time);
      this.#options.onSighting({ event, account, outside, figure, ordinary, text });
    };
    const { client, application, statement } = event;
    if (!isKnownPlace(fence, client, application))
      tell(`place ${client} ${application}`, `a new place: program "${application}" from ${client}`);
    const key = shapeKey(statement);
    const known = fence.statements.get(key);
    const people = known?.people ?? 0;
    if (known === undefined) tell(`statement ${key}`, "a statement that it has never run");
    else if (!isKnownStatement(fence, key, event.relations))
      tell(`tables ${key}`, "a statement that it has run, of other tables");
    else if (isFarMore(event, people))
      tell(
        `people ${key}`,
        `a statement showed ${event.people} people; one run has shown ${people} at most`,
        event.people,
        people,
      );
  }
}

/** Of several runs in one event all but one may have been as large as any before. */
function isFarMore({ people, count = 1 }: StatementEvent, known: number): boolean {
  const most = Math.max(1, known);
  return people >= (count - 1) * most + FACTOR * most;
}

/** As in the fence itself: they show nothing. */
const ASIDE: ReadonlySet<string> = new Set([
  ...["BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "RESET", "SHOW"],
  ...[
    EMPTY_QUERY,
    "DEALLOCATE",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
  ],
]);
