import { Deque } from "./deque.ts";
import { isOwn, type LegNote, Noted, type OwnRequest } from "./leg-notes.ts";
import { endsReady, type Request, runs } from "./requests.ts";

/** Where the client's CopyDone or CopyFail stands among the requests: it has no answer of its own. */
export const COPY_END: unique symbol = Symbol("copy end");

/** A request of the session's, with a note of its leg's or without; one of the leg's; an end of a COPY. */
export type Entry<R extends Request> = R | Noted<R> | OwnRequest | typeof COPY_END;

/** The requests that have no answer, in the order of the wire. Each operation takes constant time, amortised. */
export class Outstanding<R extends Request> {
  readonly #queue = new Deque<Entry<R>>();
  /** Entries of the leg's own asking. */
  #owns = 0;
  /** Queries and Executes. */
  #runs = 0;
  /** Of the session's asking: those that ReadyForQuery answers. */
  #ends = 0;
  #steps = 0;

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  get length(): number {
    return this.#queue.length;
  }

  /** Entries of the session's. */
  get ofSession(): number {
    return this.#queue.length - this.#owns;
  }

  get isRunning(): boolean {
    return this.#runs > 0;
  }

  get isEnding(): boolean {
    return this.#ends > 0;
  }

  /** Operations so far. */
  get steps(): number {
    return this.#steps;
  }

  get first(): Entry<R> | undefined {
    return this.#queue.first;
  }

  /** The session's request that comes first behind the first entry. */
  get second(): R | undefined {
    let at = 1;
    while (isOwn(this.#queue.at(at))) at++;
    return askedOf(this.#queue.at(at));
  }

  push(entry: Entry<R>): void {
    this.#steps++;
    this.#count(entry, 1);
    this.#queue.push(entry);
  }

  shift(): Entry<R> | undefined {
    this.#steps++;
    const entry = this.#queue.shift();
    if (entry !== undefined) this.#count(entry, -1);
    return entry;
  }

  /** Takes the first entry's place. */
  replaceFirst(entry: Entry<R>): void {
    const first = this.#queue.shift();
    if (first !== undefined) this.#count(first, -1);
    this.unshift(entry);
  }

  /** Puts an entry before all others. */
  unshift(entry: Entry<R>): void {
    this.#count(entry, 1);
    this.#queue.unshift(entry);
  }

  #count(entry: Entry<R>, by: 1 | -1): void {
    if (isOwn(entry)) this.#owns += by;
    const request = requestOf(entry);
    if (request !== undefined && runs(request)) this.#runs += by;
    if (request !== undefined && !isOwn(entry) && endsReady(request)) this.#ends += by;
  }
}

/** What the session has asked; undefined where it has not. */
export function askedOf<R extends Request>(entry: Entry<R> | undefined): R | undefined {
  if (entry === undefined || entry === COPY_END || isOwn(entry)) return undefined;
  return entry instanceof Noted ? entry.request : entry;
}

/** What is asked, by whomever. */
export function requestOf<R extends Request>(entry: Entry<R> | undefined): Request | undefined {
  if (entry === undefined || entry === COPY_END) return undefined;
  return entry instanceof Noted ? entry.request : entry;
}

export function noteOf<R extends Request>(entry: Entry<R> | undefined): LegNote | undefined {
  if (isOwn(entry)) return entry;
  return entry instanceof Noted ? entry.note : undefined;
}
