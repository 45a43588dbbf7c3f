/** Slots of a queue's first memory: a client that does not pipeline has a handful of messages under way. */
const FIRST_SLOTS = 8;
/** A queue that was longer gives its memory back once it is empty. */
const KEPT_SLOTS = 256;

/**
 * A first-in, first-out queue in a ring buffer. A client decides how long it gets, so each operation takes constant
 * time, amortised: `Array.shift` moves all that follows once an array is long.
 */
export class Deque<T> {
  /** None before the first entry: most sessions are idle. Its length is a power of two. */
  #slots: (T | undefined)[] | undefined;
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get first(): T | undefined {
    return this.at(0);
  }

  /** The entry that so many others precede. */
  at(index: number): T | undefined {
    const slots = this.#slots;
    if (slots === undefined || index >= this.#length) return undefined;
    return slots[(this.#head + index) & (slots.length - 1)];
  }

  push(value: T): void {
    const slots = this.#slotsForOneMore();
    slots[(this.#head + this.#length) & (slots.length - 1)] = value;
    this.#length++;
  }

  /** Puts an entry before all others. */
  unshift(value: T): void {
    const slots = this.#slotsForOneMore();
    this.#head = (this.#head - 1) & (slots.length - 1);
    slots[this.#head] = value;
    this.#length++;
  }

  /** Takes the first entry out. */
  shift(): T | undefined {
    const slots = this.#slots;
    if (slots === undefined || this.#length === 0) return undefined;
    const value = slots[this.#head];
    slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (slots.length - 1);
    this.#length--;
    if (this.#length === 0 && slots.length > KEPT_SLOTS) this.#slots = undefined;
    return value;
  }

  clear(): void {
    this.#slots = undefined;
    this.#head = 0;
    this.#length = 0;
  }

  #slotsForOneMore(): (T | undefined)[] {
    const slots = this.#slots;
    if (slots === undefined) {
      this.#head = 0;
      this.#slots = new Array<T | undefined>(FIRST_SLOTS).fill(undefined);
      return this.#slots;
    }
    if (this.#length < slots.length) return slots;
    // All slots are taken: in order they are what lies from the head to the end, and then what lies before the head.
    const grown = [...slots.slice(this.#head), ...slots.slice(0, this.#head)];
    grown.length = slots.length * 2;
    this.#head = 0;
    this.#slots = grown.fill(undefined, slots.length);
    return grown;
  }
}
