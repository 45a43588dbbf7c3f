import { type TokenStatement, tokenGiven } from "../../sql/tokens/text.ts";
import { lineEnd, turnLine } from "../../tokens/copy-rows.ts";
import { looksLikeToken, type Sealer } from "../../tokens/sealed.ts";
import { Frontend, message } from "../../wire/messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { type Reader, shownFor } from "./rows.ts";

type CopyShape = NonNullable<TokenStatement["copy"]>;

const NOTHING = Buffer.alloc(0);

/** Rows that a client sends for COPY … FROM STDIN, in messages that end anywhere. */
export class CopyIn {
  readonly #shape: CopyShape;
  readonly #sealer: Sealer;
  #rest = "";
  #isHeader: boolean;
  /** The COPY is to fail for this. */
  refusal: Refusal | undefined;

  constructor(shape: CopyShape, sealer: Sealer) {
    this.#shape = shape;
    this.#sealer = sealer;
    this.#isHeader = shape.format.hasHeader;
  }

  /** The lines that are complete now, as a message for the server. */
  take(bytes: Buffer): Buffer {
    this.#rest += bytes.toString("latin1");
    const lines: string[] = [];
    for (let end = this.#end(); end > 0 && this.refusal === undefined; end = this.#end()) {
      lines.push(this.#seal(this.#rest.slice(0, end)));
      this.#rest = this.#rest.slice(end);
    }
    return this.#message(lines);
  }

  /** A last line without a line break. */
  finish(): Buffer {
    const rest = this.#rest;
    this.#rest = "";
    return this.#message(rest === "" ? [] : [this.#seal(rest)]);
  }

  #end(): number {
    return lineEnd(this.#rest, this.#shape.format);
  }

  #message(lines: readonly string[]): Buffer {
    if (lines.length === 0 || this.refusal !== undefined) return NOTHING;
    return message(Frontend.CopyData, Buffer.from(lines.join(""), "latin1"));
  }

  #seal(line: string): string {
    if (this.#isHeader) {
      this.#isHeader = false;
      return line;
    }
    const { format, columns } = this.#shape;
    return turnLine(line, format, (index, value) => {
      const column = columns[index];
      if (column === undefined || value === null) return value;
      const text = Buffer.from(value, "latin1").toString("utf8");
      if (looksLikeToken(text)) this.refusal = tokenGiven(column);
      return this.#sealer.seal(text, column.associated);
    });
  }
}

/** Rows of COPY … TO STDOUT: the server sends one in a message. */
export class CopyOut {
  readonly #shape: CopyShape;
  #isHeader: boolean;

  constructor(shape: CopyShape) {
    this.#shape = shape;
    this.#isHeader = shape.format.hasHeader;
  }

  turn(line: Buffer, reader: Reader): Buffer {
    if (this.#isHeader) {
      this.#isHeader = false;
      return line;
    }
    const { format, columns } = this.#shape;
    const turned = turnLine(line.toString("latin1"), format, (index, value) => {
      const column = columns[index];
      if (column === undefined || value === null) return value;
      const shown = shownFor(reader, column, value);
      return shown === undefined ? value : shown && Buffer.from(shown).toString("latin1");
    });
    return Buffer.from(turned, "latin1");
  }
}
