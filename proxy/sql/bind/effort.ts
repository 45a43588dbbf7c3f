/*
 * Limits the work that one text can cause. The analysis runs on the event loop. Work that grows with the product of a
 * text's parts (each star means every column of every relation) would block all sessions of the process long before the
 * text is unusually long. No legitimate text comes near these numbers: Postgres itself assumes that joins of a dozen
 * relations are rare.
 */

/** The maximum cost of one analysis. */
export interface Most {
  /** Relations, subqueries, functions and joins in FROM, and WITH queries: per statement, and per text. */
  readonly relations: number;
  readonly relationsOfText: number;
  readonly statements: number;
  /** Columns looked at, once for each name that may mean them. */
  readonly looks: number;
}

/** Anything beyond is refused. */
const AT_ALL: Most = { relations: 300, relationsOfText: 1_000, statements: 1_000, looks: 1_000_000 };

/** Takes some milliseconds: more would delay other sessions. */
const IN_A_TURN: Most = { relations: 40, relationsOfText: 60, statements: 60, looks: 20_000 };

/** Limits the cost of an analysis, and records whether it would have cost more. */
export class Allowance {
  readonly most: Most;
  isUsedUp = false;

  private constructor(most: Most) {
    this.most = most;
  }

  /** Another allowance would permit more. */
  get isOfTurn(): boolean {
    return this.most === IN_A_TURN;
  }

  /** For an analysis that blocks no other session. */
  static full(): Allowance {
    return new Allowance(AT_ALL);
  }

  /** For an analysis on the event loop: a text that it refuses only because of the cost must be analysed elsewhere. */
  static ofTurn(): Allowance {
    return new Allowance(IN_A_TURN);
  }

  /** Returns false if there are too many statements from the start. */
  takes(statements: number): boolean {
    return this.holds(statements <= this.most.statements);
  }

  /** Records a limit that was exceeded. */
  holds(isWithin: boolean): boolean {
    if (!isWithin) this.isUsedUp = true;
    return isWithin;
  }
}

/** Each column of a whole row is recorded as named, or written out: that takes longer than finding one by its name. */
export const LOOKS_OF_A_WHOLE_COLUMN = 10;

/** The cost of one text so far, over all its statements. */
export class Effort {
  #relations = 0;
  #relationsOfText = 0;
  #looks = 0;
  readonly #allowance: Allowance;

  constructor(allowance: Allowance) {
    this.#allowance = allowance;
  }

  nextStatement(): void {
    this.#relations = 0;
  }

  /** Counts one more source of rows. Returns false if there are too many. */
  relation(): boolean {
    const { relations, relationsOfText } = this.#allowance.most;
    return this.#allowance.holds(
      ++this.#relations <= relations && ++this.#relationsOfText <= relationsOfText,
    );
  }

  /** Counts this many columns that are looked at. Returns false if there are too many. */
  look(columns: number): boolean {
    this.#looks += columns;
    return this.#allowance.holds(this.#looks <= this.#allowance.most.looks);
  }
}
