/*
 * Names and lists of names in settings, as the server reads them: in search_path, in a start-up packet, in set_config().
 * Whoever reads them otherwise looks for a name in another place than the server.
 */

/** NAMEDATALEN of pg_config_manual.h, less the terminating zero. */
const LONGEST_NAME = 63;

/**
 * Letters of ASCII alone become small ones: names of settings (guc_name_compare of utils/misc/guc.c), and names that are
 * not quoted (downcase_identifier of parser/scansup.c; a database in an encoding of one byte folds others as well).
 */
export function foldAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** As truncate_identifier (parser/scansup.c): at most 63 bytes, and no part of a character. */
export function truncateName(name: string): string {
  if (name.length * 3 <= LONGEST_NAME || Buffer.byteLength(name) <= LONGEST_NAME) return name;
  let [end, bytes] = [0, 0];
  for (const character of name) {
    bytes += Buffer.byteLength(character);
    if (bytes > LONGEST_NAME) break;
    end += character.length;
  }
  return name.slice(0, end);
}

/** Blank, tab, newline, carriage return, vertical tab, form feed: scanner_isspace of parser/scansup.c. */
const SPACES = /[ \t\n\r\v\f]*/y;
const QUOTED = /"((?:[^"]|"")*)"/y;
const PLAIN = /[^, \t\n\r\v\f]+/y;

/** The names in a list with commas, as SplitIdentifierString reads it (utils/adt/varlena.c); undefined where it reads none. */
export function splitNames(list: string): readonly string[] | undefined {
  const names: string[] = [];
  let at = past(SPACES, list, 0);
  if (at === list.length) return names;
  for (;;) {
    const isQuoted = list[at] === '"';
    const end = past(isQuoted ? QUOTED : PLAIN, list, at);
    if (end === at) return undefined;
    const text = list.slice(at, end);
    names.push(truncateName(isQuoted ? text.slice(1, -1).replaceAll('""', '"') : foldAscii(text)));
    at = past(SPACES, list, end);
    if (at === list.length) return names;
    if (list[at] !== ",") return undefined;
    at = past(SPACES, list, at + 1);
  }
}

/** Where what the pattern matches at `at` ends; `at` itself where it matches nothing. */
function past(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
