/** Readable output for people: headings, tables, a progress line. Colours and rewriting only on a terminal. */
export interface Screen {
  line(text?: string): void;
  heading(text: string): void;
  /** A statement and the user who sends it. */
  statement(user: string, sql: string): void;
  table(columns: readonly string[], rows: readonly (readonly string[])[]): void;
  good(text: string): void;
  bad(text: string): void;
  quiet(text: string): void;
  /** Replaces the previous progress line on a terminal; elsewhere only a line that is `done` is printed. */
  progress(text: string, state: "running" | "done"): void;
}

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, cyan: 36 } as const;

/** A screen on a stream. Respects NO_COLOR (https://no-color.org). */
export function screenOn(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Screen {
  const terminal = stream.isTTY === true;
  const coloured = terminal && !env.NO_COLOR;
  const styled = (style: keyof typeof STYLES, text: string) =>
    coloured ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
  const line = (text = "") => stream.write(`${text}\n`);
  return {
    line,
    heading: (text) => line(`\n${styled("bold", text)}`),
    statement: (user, sql) => line(`  ${styled("cyan", `${user}>`)} ${sql}`),
    table: (columns, rows) => {
      const [head = "", rule = "", ...body] = tableLines(columns, rows);
      for (const text of [styled("bold", head), rule, ...body]) line(`    ${text}`);
    },
    good: (text) => line(`    ${styled("green", text)}`),
    bad: (text) => line(`    ${styled("red", text)}`),
    quiet: (text) => line(`    ${styled("dim", text)}`),
    progress: (text, state) => {
      if (terminal) stream.write(`\r\x1b[K  ${text}${state === "done" ? "\n" : ""}`);
      else if (state === "done") line(`  ${text}`);
    },
  };
}

/** Formatted as in psql: a heading, a rule, rows; each column as wide as its widest value. */
export function tableLines(columns: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map((column, at) =>
    Math.max(column.length, ...rows.map((row) => (row[at] ?? "").length)),
  );
  const drawn = (cells: readonly string[]) =>
    widths
      .map((width, at) => ` ${(cells[at] ?? "").padEnd(width)} `)
      .join("|")
      .trimEnd();
  return [drawn(columns), widths.map((width) => "-".repeat(width + 2)).join("+"), ...rows.map(drawn)];
}
