/*
 * Postgres's scanner takes a comment's opening together with all operator characters behind it, and gives the latter
 * back (xcstart and yyless(2) of parser/scan.l). A text of nothing but openings is so read anew at each of them: 240 kB
 * take a minute and a half.
 */

/** Characters that are read in vain: a tenth of a second at most. */
const MOST = 10_000_000;

const OPERATORS = new Uint8Array(128);
for (const character of "~!@#^&|`?+-*/%<>=") OPERATORS[character.charCodeAt(0)] = 1;

const [SLASH, STAR] = [0x2f, 0x2a];

/** Whether the openings of comments make the scanner read far more than the text has. */
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
