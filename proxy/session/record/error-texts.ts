/*
 * The server's own words can quote any value that a statement works on, in any form: figures, parts, a choice of words.
 * So a statement that touches people is answered with these instead: one text for each SQLSTATE (Postgres docs,
 * appendix A "PostgreSQL Error Codes"), chosen by nothing else.
 */

const TEXTS: Readonly<Record<string, string>> = {
  "21000": "a subquery returned more than one row, or a command would change a row twice",
  "22000": "a value cannot be used here",
  "22001": "a value is too long for its type",
  "22003": "a number is out of range",
  "22004": "a null value is not allowed here",
  "22007": "a date or time has an invalid format",
  "22008": "a date or time is out of range",
  "22009": "a time zone is out of range",
  "22011": "a substring has a negative length",
  "22012": "division by zero",
  "22015": "an interval is out of range",
  "2201B": "a regular expression is invalid",
  "2201E": "an argument of a logarithm is invalid",
  "2201F": "an argument of a power function is invalid",
  "2201G": "an argument of width_bucket is invalid",
  "2201W": "LIMIT must not be negative",
  "2201X": "OFFSET must not be negative",
  "22021": "a character cannot be encoded",
  "22023": "an argument is invalid",
  "22025": "a LIKE pattern ends with its escape character, or has an invalid escape",
  "22030": "a JSON object has the same key twice",
  "22032": "a JSON text is invalid",
  "22P02": "a value cannot be read as the type",
  "22P03": "a binary value cannot be read as the type",
  "22P05": "a character cannot be converted",
  "2202E": "a subscript or index is out of range",
  "2200L": "an XML document is invalid",
  "2200M": "an XML document is invalid",
  "2200N": "an XML content is invalid",
  "23000": "an integrity constraint is violated",
  "23001": "a row is still referred to",
  "23502": "a null value violates a not-null constraint",
  "23503": "a foreign key constraint is violated",
  "23505": "a unique constraint is violated",
  "23514": "a check constraint is violated",
  "23P01": "an exclusion constraint is violated",
  "25001": "this cannot be done inside of a transaction",
  "25006": "this cannot be done in a read-only transaction",
  "25P01": "this can only be done inside of a transaction",
  "25P02": "current transaction is aborted, commands ignored until end of transaction block",
  "40001": "could not serialize access due to a concurrent change: try the transaction again",
  "40P01": "deadlock detected: try the transaction again",
  "42501": "permission denied",
  "42703": "a column does not exist",
  "42704": "an object does not exist",
  "42883": "a function or operator does not exist",
  "42P01": "a relation does not exist",
  "53100": "the server's disk is full",
  "53200": "the server is out of memory",
  "54000": "a limit of the server is exceeded",
  "54001": "the statement is too complex",
  "55P03": "a lock is not available",
  "57014": "canceling statement due to a cancel request or a timeout",
  P0001: "an exception of the database's own code",
};

/** What is said of an SQLSTATE that has no text of its own. */
const BY_CLASS: Readonly<Record<string, string>> = {
  "08": "a message does not fit the statement that it is for",
  "22": "a value cannot be used here",
  "23": "an integrity constraint is violated",
  "25": "the transaction is not in a state for this",
  "40": "the transaction was rolled back: try it again",
  "42": "a name or a type in this statement is not valid for one of its values",
  "53": "the server lacks resources",
  "54": "a limit of the server is exceeded",
  "55": "an object is not in the state that the statement needs",
  "57": "the server's operator intervened",
  P0: "an exception of the database's own code",
};

/** The text for an error of a statement that touches people. */
export function textOfError(sqlstate: string): string {
  const text = TEXTS[sqlstate] ?? BY_CLASS[sqlstate.slice(0, 2)] ?? "the statement failed";
  // Postgres says no more than that of a failed transaction: nothing is withheld.
  if (sqlstate === "25P02") return text;
  return `${text} (the server's own words are withheld)`;
}
