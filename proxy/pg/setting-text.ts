/*
 * Names and lists of names in settings, as the server reads them: in search_path, in a startup packet, in set_config().
 * Reading them differently would mean looking for a name in another place than the server.
 */

/** NAMEDATALEN of pg_config_manual.h minus the terminating zero byte. */
const LONGEST_NAME = 63;

/**
 * Converts only ASCII letters to lower case: for names of settings (guc_name_compare of utils/misc/guc.c), and for
 * unquoted names (downcase_identifier of parser/scansup.c; a database with a single-byte encoding folds other letters
 * too).
 */
export function foldAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Like truncate_identifier (parser/scansup.c): at most 63 bytes, without splitting a character. */
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

/** An encoding's name without what the server does not look at: case, and whatever is no letter and no digit (clean_encoding_name). */
export function encodingName(value: string): string {
  return foldAscii(value).replace(/[^a-z0-9]/g, "");
}

/** Whether it is a name of UTF8 (pg_encname_tbl of common/encnames.c). */
export function namesUtf8(value: string): boolean {
  const name = encodingName(value);
  return name === "utf8" || name === "unicode";
}

/** Whether a Boolean setting is switched on by this: beginnings of the words will do (parse_bool of utils/adt/bool.c). */
export function isTrue(value: string): boolean {
  const word = foldAscii(value);
  return (
    word === "on" || word === "1" || (word !== "" && ("true".startsWith(word) || "yes".startsWith(word)))
  );
}

/** Blank, tab, newline, carriage return, vertical tab, form feed: scanner_isspace of parser/scansup.c. */
const SPACES = /[ \t\n\r\v\f]*/y;
const QUOTED = /"((?:[^"]|"")*)"/y;
const PLAIN = /[^, \t\n\r\v\f]+/y;

/**
 * The names in a comma-separated list, as SplitIdentifierString reads it (utils/adt/varlena.c); undefined if the list
 * is invalid.
 */
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

/** The end of the pattern's match at `at`, or `at` if it does not match. */
function past(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
