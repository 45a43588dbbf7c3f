/** One token of a text, with its byte offsets. */
export interface Token {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * One token of the plain part of Postgres's lexical syntax (Postgres docs, "Lexical Structure"), or white space.
 * Each alternative is fenced by what must not follow, so that it ends where Postgres's own scanner ends it.
 */
const PLAIN = new RegExp(
  [
    /[ \t\n\r\f]+/,
    // No prefix of a literal (E'…', U&"…") and no dollar inside.
    /(?:[A-Za-z_][A-Za-z0-9_]*(?![A-Za-z0-9_$'"&]))/,
    /(?:"(?:[^"]|"")+"(?!"))/,
    // A string that another one follows might be continued by it.
    /(?:'(?:[^'\\]|'')*'(?!\s*'))/,
    /(?:[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_.$'"]))/,
    /(?:\$[0-9]+(?![A-Za-z0-9_$'"]))/,
    /(?:[(),;[\]]|\.(?![0-9.])|:(?![:=]))/,
    /(?:(?:::|<=|>=|<>|!=|\|\||[=<>+\-*/%])(?![+\-*/<>=~!@#%^&|`?:]))/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "y",
);

/**
 * The tokens of a text that holds nothing but plain ASCII ones; undefined for any other text, which Postgres's
 * own scanner must read. Comments, escapes and rare operators are not plain. It is there for its speed alone:
 * the scanner takes as long as the parser.
 */
export function plainTokens(text: string): readonly Token[] | undefined {
  if (Buffer.byteLength(text) !== text.length) return undefined;
  const tokens: Token[] = [];
  for (let start = 0; start < text.length; ) {
    PLAIN.lastIndex = start;
    const match = PLAIN.exec(text);
    if (match === null) return undefined;
    const [token] = match;
    const end = start + token.length;
    if (token.trimStart() !== "") tokens.push({ start, end, text: token });
    start = end;
  }
  return tokens;
}
