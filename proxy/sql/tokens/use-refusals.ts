import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { TokenColumn } from "./token-columns.ts";

/** Why a statement asks for something that tokens cannot do. */
export class UseRefusals {
  #first: Refusal | undefined;

  get first(): Refusal | undefined {
    return this.#first;
  }

  /** The first one counts. */
  add(what: string, hint: string): void {
    this.#first ??= refuse("42501", what, { hint });
  }

  star(what: string): void {
    this.add(
      `${what} of columns that are stored as tokens counts columns by a star, or by a value of several fields`,
      "Write each column by its name.",
    );
  }

  use(column: TokenColumn | undefined, what: string): void {
    const name = column?.name ?? "a column";
    const key =
      column === undefined || column.form === "document" ? "of its class" : `of class "${column.className}"`;
    const inDocuments =
      "Values inside of documents can be compared by ->> or #>> with a constant path and =, <>, IN or = ANY, and documents by @>.";
    this.add(
      `${name} is stored as tokens, and ${what} cannot work on tokens`,
      column?.form === "document"
        ? inDocuments
        : `${column === undefined ? `${inDocuments} ` : ""}Tokens can be compared by =, <>, IN and = ANY with constants, parameters and the same column; grouped, counted and joined. With "searches:" ${key} also by lower(column) =, ILIKE, right(column, 4) = (docs/tokens.md).`,
    );
  }
}
