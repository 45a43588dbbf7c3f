import type pg from "pg";

/** What the server says about a statement without running it. */
export type Description =
  | { readonly ok: true; readonly fields: readonly Field[] }
  | { readonly ok: false; readonly sqlstate: string; readonly message: string };

export interface Field {
  readonly name: string;
  /** 0 if the column is not a plain column of a relation. */
  readonly tableID: number;
  readonly columnID: number;
}

/** The methods that the pg client calls on a query that it did not create itself (pg/lib/client.js). */
interface Link {
  parse(query: { text: string; name?: string }): void;
  describe(message: { type: "S"; name?: string }): void;
  sync(): void;
}

/** Sends Parse and Describe, but no Execute. */
class Describe {
  readonly done: Promise<Description>;
  readonly #text: string;
  #settle: (description: Description) => void = () => {};
  #description: Description = { ok: true, fields: [] };

  constructor(text: string) {
    this.#text = text;
    this.done = new Promise((settle) => {
      this.#settle = settle;
    });
  }

  submit(link: Link): void {
    link.parse({ text: this.#text });
    link.describe({ type: "S" });
    link.sync();
  }

  handleRowDescription({ fields }: { readonly fields: readonly Field[] }): void {
    this.#description = { ok: true, fields };
  }

  handleError(error: pg.DatabaseError): void {
    // The client receives nothing more for a query that failed.
    this.#settle({ ok: false, sqlstate: error.code ?? "", message: error.message });
  }

  handleReadyForQuery(): void {
    this.#settle(this.#description);
  }
}

export function describeStatement(client: pg.Client, text: string): Promise<Description> {
  const query = new Describe(text);
  client.query(query as unknown as pg.Submittable);
  return query.done;
}
