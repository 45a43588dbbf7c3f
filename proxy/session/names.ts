/** What a message will have done to a name once the server has answered it well. */
export interface Change<T> {
  readonly name: string;
  /** Undefined: the name is free. */
  readonly value: T | undefined;
  readonly pipeline: number;
}

/**
 * The server's prepared statements, or its portals. Messages that are on their way define names before the
 * server has answered; when an error makes the server skip them, what they would have defined never was.
 */
export class Names<T> {
  /** Both: none before the first one. Most sessions are idle, many prepare nothing. */
  #confirmed: Map<string, T> | undefined;
  #pending: Map<string, Change<T>[]> | undefined;
  #weight = 0;
  readonly #weigh: (value: T) => number;

  /** `weigh`: bytes that a value holds for as long as it has a name. */
  constructor(weigh: (value: T) => number) {
    this.#weigh = weigh;
  }

  /** Bytes that all names hold, those that are on their way as well. */
  get weight(): number {
    return this.#weight;
  }

  /** A message has been sent that gives the name a new value, or frees it. */
  propose(name: string, value: T | undefined, pipeline: number): Change<T> {
    const change = { name, value, pipeline };
    if (value !== undefined) this.#weight += this.#weigh(value);
    this.#pending ??= new Map();
    const before = this.#pending.get(name);
    if (before === undefined) this.#pending.set(name, [change]);
    else before.push(change);
    return change;
  }

  /** The server has done it. */
  confirm(change: Change<T>): void {
    this.#forget(change);
    if (change.value === undefined) this.delete(change.name);
    else this.set(change.name, change.value);
  }

  /** The server has refused or skipped it. */
  withdraw(change: Change<T>): void {
    this.#forget(change);
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
    const last = this.#pending?.get(name)?.at(-1);
    if (last === undefined) return this.#confirmed?.get(name) ?? "absent";
    return last.pipeline === pipeline ? (last.value ?? "absent") : "unsettled";
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

  #forget(change: Change<T>): void {
    const changes = this.#pending?.get(change.name) ?? [];
    const at = changes.indexOf(change);
    if (at >= 0) changes.splice(at, 1);
    if (at >= 0 && change.value !== undefined) this.#weight -= this.#weigh(change.value);
    if (changes.length === 0) this.#pending?.delete(change.name);
  }
}
