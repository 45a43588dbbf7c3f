import type { TokenStatement } from "../../sql/tokens/token-text.ts";
import { type CopyFault, type CopyLine, CopyLines } from "../../tokens/copy-lines.ts";
import { turnLine } from "../../tokens/copy-rows.ts";
import type { Sealer } from "../../tokens/sealed.ts";
import { Frontend, message } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { sealedField } from "./parameters.ts";
import type { Reader } from "./shown-values.ts";
import { shownField } from "./token-rows.ts";

type CopyShape = NonNullable<TokenStatement["copy"]>;

const NOTHING = Buffer.alloc(0);

/** Rows that a client sends for COPY … FROM STDIN, in messages that end anywhere. */
export class CopyIn {
  readonly #shape: CopyShape;
  readonly #sealer: Sealer;
  readonly #lines: CopyLines;
  #isHeader: boolean;
  #hasEnded = false;
  #refusal: Refusal | undefined;

  /** `longest`: bytes of a line. */
  constructor(shape: CopyShape, sealer: Sealer, longest: number) {
    this.#shape = shape;
    this.#sealer = sealer;
    this.#lines = new CopyLines(shape.format.format, longest);
    this.#isHeader = shape.format.hasHeader;
  }

  /** The COPY is to fail for this. */
  get refusal(): Refusal | undefined {
    const { fault } = this.#lines;
    return this.#refusal ?? (fault && FAULTS[fault]);
  }

  /** The lines that are complete now, as a message for the server. */
  take(bytes: Buffer): Buffer {
    return this.refusal === undefined ? this.#message(this.#lines.take(bytes.toString("latin1"))) : NOTHING;
  }

  /** A last line without a line break. */
  finish(): Buffer {
    return this.refusal === undefined ? this.#message(this.#lines.finish()) : NOTHING;
  }

  #message(lines: readonly CopyLine[]): Buffer {
    const sealed = lines.map(({ body, end }) => `${this.#seal(body)}${end}`);
    if (lines.length === 0 || this.refusal !== undefined) return NOTHING;
    return message(Frontend.CopyData, Buffer.from(sealed.join(""), "latin1"));
  }

  #seal(line: string): string {
    const { format, columns } = this.#shape;
    if (this.#isHeader) {
      this.#isHeader = false;
      return line;
    }
    // The server reads no further.
    if (this.#hasEnded || this.#refusal !== undefined) return "";
    // Since Postgres 18 a CSV file does not end at this: it is a value of the only column.
    if (line === "\\." && (format.format === "text" || columns.length > 1)) {
      this.#hasEnded = true;
      return line;
    }
    return turnLine(line, format, (index, value) => {
      const column = columns[index];
      if (column === undefined || value === null) return value;
      const sealed = sealedField(Buffer.from(value, "latin1"), column, this.#sealer);
      if (Buffer.isBuffer(sealed)) return sealed.toString("latin1");
      this.#refusal ??= sealed;
      return value;
    });
  }
}

const FAULTS: Readonly<Record<CopyFault, Refusal>> = {
  "line break": refuse("22P04", "a line of COPY data ends in another way than the first one", {
    hint: "End all lines in the same way, and write \\r and \\n for those inside of a value, or put it in quotes in CSV.",
  }),
  length: refuse("54000", "a line of COPY data is too long for a table with tokens", {
    hint: "The proxy's setting --max-message allows no longer one.",
  }),
};

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
    const turned = turnLine(line.toString("latin1", 0, line.length - 1), format, (index, value) => {
      const column = columns[index];
      if (column === undefined || value === null) return value;
      const shown = shownField(reader, column, Buffer.from(value, "latin1"), index);
      return shown === undefined ? value : (shown?.toString("latin1") ?? null);
    });
    return Buffer.from(`${turned}\n`, "latin1");
  }
}
