import { type Account, accountOf, type Grant, type Meter } from "../guard/meter.ts";
import { noticeResponse } from "../wire/errors.ts";
import type { Outbox } from "../wire/outbox.ts";
import type { Established } from "./established.ts";
import type { Judging } from "./judging.ts";
import type { SessionParts } from "./parts.ts";

/** Whom a session's statements are charged to, by the role that holds now. */
export class Counting {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  #role: object | undefined;
  #account: Account | undefined;
  #meter: Meter | undefined;

  constructor(established: Established, parts: SessionParts, judging: Judging) {
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
  }

  get account(): Account {
    this.#follow();
    this.#account ??= accountOf(this.#judging.role, this.#established);
    return this.#account;
  }

  get meter(): Meter {
    this.#follow();
    this.#meter ??= this.#parts.meter(this.account);
    return this.#meter;
  }

  /** Waits for the counters. `then` is told what they answered, and after how many milliseconds. */
  awaits(grant: Promise<Grant>, then: (answer: Grant, waited: number) => void): void {
    const asked = performance.now();
    // A store that breaks its word and rejects must not end the process, and lets nothing pass.
    const answered = grant.catch((): Grant => ({ kind: "unreachable" }));
    void answered.then((answer) => {
      const waited = performance.now() - asked;
      this.#parts.metrics.waited("meter", waited / 1000);
      then(answer, waited);
    });
  }

  /** Tells the client of a budget that is nearly used up; to be called between two messages. */
  warn(toClient: Outbox): void {
    const warning = this.#meter?.takeWarning();
    if (warning !== undefined) toClient.send(noticeResponse(warning));
  }

  /** A policy that is read anew may give the user another role, with other windows. */
  #follow(): void {
    const { role } = this.#judging;
    if (this.#role === role) return;
    this.#role = role;
    this.#account = undefined;
    this.#meter = undefined;
  }
}
