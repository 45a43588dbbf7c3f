/*
 * Lines of COPY … FROM in text and CSV format, as the server finds them (CopyReadLineText of commands/copyfromparse.c):
 * the first line, even of a header, decides whether all lines end in \n, \r or \r\n.
 */

export interface CopyLine {
  /** In Latin-1, one character a byte, without its line break. */
  readonly body: string;
  readonly end: "\n" | "\r" | "\r\n" | "";
}

/** Why the data is not taken: another line break than that of the first line, or a line that is too long. */
export type CopyFault = "line break" | "length";

const [BACKSLASH, QUOTE, NEWLINE, RETURN] = [0x5c, 0x22, 0x0a, 0x0d] as const;

/** Takes data in pieces that end anywhere. Each byte is looked at once. */
export class CopyLines {
  readonly #isCsv: boolean;
  readonly #longest: number;
  #end: CopyLine["end"] = "";
  /** In CSV: within quotes, where a line break is data. */
  #isQuoted = false;
  /** In text: behind a backslash. */
  #isEscaped = false;
  /** A \r came last, and what follows decides what it is. */
  #isBehindReturn = false;
  /** Of the line that is not complete. */
  #parts: string[] = [];
  #length = 0;
  #fault: CopyFault | undefined;

  constructor(format: "text" | "csv", longest: number) {
    this.#isCsv = format === "csv";
    this.#longest = longest;
  }

  get fault(): CopyFault | undefined {
    return this.#fault;
  }

  /** The lines that are complete now. */
  take(piece: string): readonly CopyLine[] {
    const text = this.#isBehindReturn ? `\r${piece}` : piece;
    this.#isBehindReturn = false;
    return this.#scan(text, "piece");
  }

  /** What was left of them at the end of the data. */
  finish(): readonly CopyLine[] {
    const lines = this.#isBehindReturn ? this.#scan("\r", "all") : [];
    const body = this.#rest("");
    return body === "" ? lines : [...lines, { body, end: "" }];
  }

  #scan(text: string, what: "piece" | "all"): readonly CopyLine[] {
    const lines: CopyLine[] = [];
    let start = 0;
    for (let at = 0; at < text.length && this.#fault === undefined; at++) {
      const code = text.charCodeAt(at);
      if (this.#isEscaped) this.#isEscaped = false;
      else if (code === BACKSLASH) this.#isEscaped = !this.#isCsv;
      else if (code === QUOTE) this.#isQuoted = this.#isCsv && !this.#isQuoted;
      else if ((code === NEWLINE || code === RETURN) && !this.#isQuoted) {
        const mayBePair = code === RETURN && (this.#end === "" || this.#end === "\r\n");
        if (mayBePair && at + 1 === text.length && what === "piece") {
          this.#isBehindReturn = true;
          this.#keep(text.slice(start, at));
          return lines;
        }
        const isPair = mayBePair && text.charCodeAt(at + 1) === NEWLINE;
        const end = isPair ? "\r\n" : code === RETURN ? "\r" : "\n";
        if (this.#end !== "" && this.#end !== end) this.#fault = "line break";
        this.#end = end;
        lines.push({ body: this.#rest(text.slice(start, at)), end });
        at += end.length - 1;
        start = at + 1;
      }
    }
    this.#keep(text.slice(start));
    return lines;
  }

  #keep(part: string): void {
    if (part === "") return;
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length > this.#longest) this.#fault ??= "length";
  }

  #rest(part: string): string {
    this.#keep(part);
    const body = this.#parts.join("");
    this.#parts = [];
    this.#length = 0;
    return body;
  }
}
