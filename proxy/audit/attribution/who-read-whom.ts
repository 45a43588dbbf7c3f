import type { Cell } from "./exact-test.ts";

/** The leaked people and those they are compared with, by their places in one list. */
export interface Compared {
  /** By person: those of one stratum are alike (`--like`). */
  readonly stratum: readonly number[];
  readonly leaked: readonly boolean[];
  /** "read": all of them are people whom somebody read. "all" if left out. */
  readonly among?: Basis;
}

/** By user: the places of the compared people whom they read, each once. */
export type Readings = ReadonlyMap<string, readonly number[]>;

/**
 * All who are alike, or of them those alone whom anybody read: where the leaked people were read more than others for a
 * reason of their own (who calls is known to more systems that can leak), nobody may be blamed for having read them at all.
 */
export type Basis = "all" | "read";

/** Who read whom, while people are taken out whose leak is explained. */
export class Readers {
  readonly #compared: Compared;
  readonly #readings: Readings;
  readonly #work: Readings;
  /** By person: by how many users they were read. */
  readonly #counts: Uint32Array;
  /** By person: by how many of the users who were taken out they were read. */
  readonly #explained: Uint32Array;
  /** By stratum, and whether anybody read them, of people who are not explained: all, and leaked ones. */
  readonly #size: Uint32Array;
  readonly #leaked: Uint32Array;

  /** `work`: all readings, also those that do not count; who is read at all tells who is known, not who is suspect. */
  constructor(compared: Compared, readings: Readings, work: Readings = readings) {
    this.#compared = compared;
    this.#readings = readings;
    this.#work = work;
    this.#counts = new Uint32Array(compared.stratum.length);
    this.#explained = new Uint32Array(compared.stratum.length);
    for (const people of work.values())
      for (const person of people) this.#counts[person] = at(this.#counts, person) + 1;
    const strata = compared.stratum.reduce((most, one) => Math.max(most, one), 0) + 1;
    this.#size = new Uint32Array(2 * strata);
    this.#leaked = new Uint32Array(2 * strata);
    for (let person = 0; person < compared.stratum.length; person++) this.#enter(person, 1);
  }

  get users(): readonly string[] {
    return [...this.#readings.keys()];
  }

  /** Takes out whom the user read: their leak is explained. */
  takeOut(user: string): void {
    for (const person of this.#readings.get(user) ?? []) {
      if (!this.#isExplained(person)) this.#enter(person, -1);
      this.#explained[person] = at(this.#explained, person) + 1;
    }
  }

  /** The contrary of `takeOut`. */
  putBack(user: string): void {
    for (const person of this.#readings.get(user) ?? []) {
      this.#explained[person] = at(this.#explained, person) - 1;
      if (!this.#isExplained(person)) this.#enter(person, 1);
    }
  }

  /** Whom these users read together, of those who are left, cell by cell. */
  cellsOf(users: readonly string[], basis: Basis): readonly Cell[] {
    const cells = new Map<number, { size: number; leaked: number; read: number; both: number }>();
    for (const person of this.#peopleOf(users, this.#readings).keys()) {
      const stratum = this.#compared.stratum[person] ?? 0;
      const key = basis === "all" ? stratum : this.#cell(person);
      let cell = cells.get(key);
      if (cell === undefined) {
        cell = { ...(basis === "all" ? this.#stratum(stratum) : this.#sizes(key)), read: 0, both: 0 };
        cells.set(key, cell);
      }
      cell.read += 1;
      cell.both += this.#compared.leaked[person] === true ? 1 : 0;
    }
    return [...cells.values()];
  }

  /** How many of the leaked and of all were read by anybody but these users. */
  readByOthers(users: readonly string[]): readonly Cell[] {
    const strata = this.#size.length / 2;
    const cells = Array.from({ length: strata }, (_, stratum) => {
      const unread = this.#sizes(2 * stratum);
      const { size, leaked } = this.#stratum(stratum);
      return { size, leaked, read: size - unread.size, both: leaked - unread.leaked };
    });
    for (const [person, theirs] of this.#peopleOf(users, this.#work)) {
      const cell = cells[this.#compared.stratum[person] ?? 0];
      if (cell === undefined || at(this.#counts, person) > theirs) continue;
      cell.read -= 1;
      cell.both -= this.#compared.leaked[person] === true ? 1 : 0;
    }
    return cells;
  }

  /** Those who are left and were read by these users, and by how many of them. */
  #peopleOf(users: readonly string[], readings: Readings): ReadonlyMap<number, number> {
    const people = new Map<number, number>();
    for (const user of users)
      for (const person of readings.get(user) ?? [])
        if (!this.#isExplained(person)) people.set(person, (people.get(person) ?? 0) + 1);
    return people;
  }

  #isExplained(person: number): boolean {
    return at(this.#explained, person) > 0;
  }

  #cell(person: number): number {
    const stratum = this.#compared.stratum[person] ?? 0;
    return 2 * stratum + (at(this.#counts, person) > 0 ? 1 : 0);
  }

  #sizes(cell: number): { readonly size: number; readonly leaked: number } {
    return { size: at(this.#size, cell), leaked: at(this.#leaked, cell) };
  }

  #stratum(stratum: number): { readonly size: number; readonly leaked: number } {
    const [unread, read] = [this.#sizes(2 * stratum), this.#sizes(2 * stratum + 1)];
    return { size: unread.size + read.size, leaked: unread.leaked + read.leaked };
  }

  #enter(person: number, change: 1 | -1): void {
    const cell = this.#cell(person);
    this.#size[cell] = at(this.#size, cell) + change;
    if (this.#compared.leaked[person] === true) this.#leaked[cell] = at(this.#leaked, cell) + change;
  }
}

function at(numbers: Uint32Array, index: number): number {
  return numbers[index] ?? 0;
}
