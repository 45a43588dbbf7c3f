/*
 * How much work one text may make. Its analysis runs on the event loop, and what grows with the product of a text's parts
 * (each star means every column of every relation) would hold up all sessions of the process long before its length is
 * remarkable. No honest text comes near these numbers: Postgres itself plans joins of a dozen relations in the hope of
 * few.
 */

/** Relations, subqueries, functions and joins in FROM, and WITH queries: of one statement, and of all of a text. */
const MOST_RELATIONS = 300;
const MOST_RELATIONS_OF_TEXT = 1_000;

/** Statements of one text. */
const MOST_STATEMENTS = 1_000;

/** Columns looked at, once for each name that may mean them. */
const MOST_LOOKS = 1_000_000;

/** Each column of a whole row is noted as named, or written out: that takes longer than to find one by its name. */
export const LOOKS_OF_A_WHOLE_COLUMN = 10;

/** What one text has cost so far, over all its statements. */
export class Effort {
  #relations = 0;
  #relationsOfText = 0;
  #looks = 0;

  /** False: too many statements to begin with. */
  static allows(statements: number): boolean {
    return statements <= MOST_STATEMENTS;
  }

  nextStatement(): void {
    this.#relations = 0;
  }

  /** One more thing that has rows. False: too many. */
  relation(): boolean {
    return ++this.#relations <= MOST_RELATIONS && ++this.#relationsOfText <= MOST_RELATIONS_OF_TEXT;
  }

  /** So many columns are looked at. False: too many. */
  look(columns: number): boolean {
    this.#looks += columns;
    return this.#looks <= MOST_LOOKS;
  }
}
