import { type Account, accountOf, type Grant, type Meter } from "../../meter/meter.ts";
import { noticeResponse } from "../../wire/errors.ts";
import type { Outbox } from "../../wire/outbox.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import type { Judging } from "./judging.ts";

/** Whom a session's statements are charged to, by the role that holds now. */
export class Counting {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  #role: object | undefined;
  #person: string | undefined;
  #account: Account | undefined;
  #meter: Meter | undefined;

  constructor(established: Established, parts: SessionParts, judging: Judging) {
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
  }

  get account(): Account {
    this.#follow();
    const { role, person } = this.#judging;
    const { database, user, address } = this.#established;
    this.#account ??= accountOf(role, { database, user: person ?? user, address });
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

  /** A policy that is read again may give the user another role, with other windows; an application may read for another. */
  #follow(): void {
    const { role, person } = this.#judging;
    if (this.#role === role && this.#person === person) return;
    this.#role = role;
    this.#person = person;
    this.#account = undefined;
    this.#meter = undefined;
  }
}
