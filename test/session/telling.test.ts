import { describe, expect, test } from "vitest";
import { tellingOf } from "../../proxy/session/record/error-redaction.ts";
import { textOfError } from "../../proxy/session/record/error-texts.ts";
import type { ErrorFields } from "../../proxy/wire/errors.ts";

const fields = (entries: Record<string, string>): ErrorFields => new Map(Object.entries(entries));

describe("an error of a statement that touches people says its SQLSTATE and no more", () => {
  test.each([
    ['invalid input syntax for type integer: "Alice Ng 7"', "22P02"],
    ["index 22629540374212169 out of valid range, 0..-1", "2202E"],
    ["requested character too large for encoding: 1114192", "54000"],
    ["ungültige Eingabesyntax für Typ integer: »Alice Ng 7«", "22P02"],
    ['relation "Alice Ng 7" does not exist', "42P01"],
    ["Alice Ng 7", "XX123"],
  ])("%s", (message, sqlstate) => {
    const telling = tellingOf(undefined, fields({ C: sqlstate, M: message }), true);
    expect(telling.message(message)).toBe(textOfError(sqlstate));
    expect(telling.message("something else")).toBe(textOfError(sqlstate));
    expect(telling.tellsSource).toBe(false);
    for (const code of ["H", "s", "t", "c", "d", "n"]) expect(telling.tells(code, "Alice")).toBe(false);
  });
});

describe("what was said before any row was read is told", () => {
  test("the parser's own errors, which have a position", () => {
    const telling = tellingOf(undefined, fields({ C: "42703", P: "8" }), true);
    expect(telling.message('column "nope" does not exist')).toBe('column "nope" does not exist');
    expect(telling.tells("H", "Perhaps you meant")).toBe(true);
  });

  test("a position in a text of the server's own is none", () => {
    const telling = tellingOf(undefined, fields({ C: "42601", p: "8", q: "SELECT" }), true);
    expect(telling.message('syntax error at or near "Alice"')).toBe(textOfError("42601"));
  });

  test("that the transaction has failed before: Postgres says no more than that, either", () => {
    expect(textOfError("25P02")).toMatch(/ignored until end of transaction block$/);
  });

  test.each(["08P01", "25001", "25006", "25P01"])("what kind of mistake %s is", (sqlstate) => {
    expect(textOfError(sqlstate)).not.toMatch(/^the statement failed/);
  });

  test("errors of statements that touch nobody", () => {
    const telling = tellingOf(undefined, fields({ C: "22012" }), false);
    expect(telling.message("division by zero")).toBe("division by zero");
  });
});
