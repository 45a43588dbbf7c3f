/** What a message will have done to a name once the server has answered it well. */
export interface Change<T> {
  readonly name: string;
  /** Undefined: the name is free. */
  readonly value: T | undefined;
  readonly pipeline: number;
}

/** The changes of one name that await their answers. */
interface Pending<T> {
  last: Change<T>;
  count: number;
}

/**
 * The server's prepared statements, or its portals. Messages that are on their way define names before the
 * server has answered; when an error makes the server skip them, what they would have defined never was.
 *
 * Answers come in the order of the messages, and so do those that an error takes back. So of all the changes of one
 * name that are under way only the last one and their number matter.
 */
export class Names<T> {
  /** Both: none before the first one. Most sessions are idle, many prepare nothing. */
  #confirmed: Map<string, T> | undefined;
  #pending: Map<string, Pending<T>> | undefined;
  #weight = 0;
  readonly #weigh: (value: T) => number;

  /** `weigh`: bytes that a value holds for as long as it has a name. */
  constructor(weigh: (value: T) => number = weightless) {
    this.#weigh = weigh;
  }

  /** Bytes that all names hold, those that are on their way as well. */
  get weight(): number {
    return this.#weight;
  }

  /** Some change has not been answered. */
  get arePending(): boolean {
    return this.#pending !== undefined && this.#pending.size > 0;
  }

  /** A message has been sent that gives the name a new value, or frees it. */
  propose(name: string, value: T | undefined, pipeline: number): Change<T> {
    const change = { name, value, pipeline };
    if (value !== undefined) this.#weight += this.#weigh(value);
    this.#pending ??= new Map();
    const pending = this.#pending.get(name);
    if (pending === undefined) {
      this.#pending.set(name, { last: change, count: 1 });
    } else {
      pending.last = change;
      pending.count++;
    }
    return change;
  }

  /** The server has done it. */
  confirm(change: Change<T>): void {
    this.withdraw(change);
    if (change.value === undefined) this.delete(change.name);
    else this.set(change.name, change.value);
  }

  /** The server has refused or skipped it. */
  withdraw({ name, value }: Change<T>): void {
    const pending = this.#pending?.get(name);
    if (pending === undefined) return;
    if (value !== undefined) this.#weight -= this.#weigh(value);
    if (pending.count === 1) this.#pending?.delete(name);
    else pending.count--;
  }

  /** As the server has it now, after all that it has answered. */
  get(name: string): T | undefined {
    return this.#confirmed?.get(name);
  }

  /**
   * As a message of this pipeline will find it. Within one pipeline that is certain: if what comes before
   * fails, the message itself is skipped. "unsettled": an earlier pipeline is still deciding.
   */
  find(name: string, pipeline: number): T | "absent" | "unsettled" {
    const last = this.#pending?.get(name)?.last;
    if (last === undefined) return this.#confirmed?.get(name) ?? "absent";
    return last.pipeline === pipeline ? (last.value ?? "absent") : "unsettled";
  }

  /** As it will be if all that was sent succeeds. */
  expected(name: string): T | undefined {
    const last = this.#pending?.get(name)?.last;
    return last === undefined ? this.#confirmed?.get(name) : last.value;
  }

  set(name: string, value: T): void {
    this.delete(name);
    this.#confirmed ??= new Map();
    this.#confirmed.set(name, value);
    this.#weight += this.#weigh(value);
  }

  delete(name: string): void {
    const value = this.#confirmed?.get(name);
    if (value === undefined) return;
    this.#weight -= this.#weigh(value);
    this.#confirmed?.delete(name);
  }

  /** Forgets all that the server has, but for what `stays`. */
  clear(stays: (value: T, name: string) => boolean): void {
    for (const [name, value] of this.#confirmed ?? []) {
      if (!stays(value, name)) this.delete(name);
    }
  }
}

function weightless(): number {
  return 0;
}
