/*
 * Postgres's scanner takes a comment's opening together with all operator characters after it, and then returns the
 * latter (xcstart and yyless(2) of parser/scan.l). A text consisting of openings only is therefore read again at each
 * of them: 240 kB take a minute and a half.
 */

/** The most characters that may be read repeatedly: at most a tenth of a second. */
const MOST = 10_000_000;

const OPERATORS = new Uint8Array(128);
for (const character of "~!@#^&|`?+-*/%<>=") OPERATORS[character.charCodeAt(0)] = 1;

const [SLASH, STAR] = [0x2f, 0x2a];

/** Whether comment openings make the scanner read far more characters than the text has. */
export function rereadsComments(text: string): boolean {
  if (!text.includes("/*")) return false;
  let run = 0;
  let total = 0;
  for (let at = text.length - 1; at >= 0; at--) {
    const code = text.charCodeAt(at);
    run = OPERATORS[code] === 1 ? run + 1 : 0;
    if (code === SLASH && text.charCodeAt(at + 1) === STAR) total += run;
  }
  return total > MOST;
}
