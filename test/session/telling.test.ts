import { describe, expect, test } from "vitest";
import { withheld } from "../../proxy/session/telling.ts";

const SQL = Buffer.from("SELECT name::int, nope FROM customers WHERE id = 7");

describe("an error of the server does not read a person's value out", () => {
  test.each([
    ['invalid input syntax for type integer: "Alice Ng 7"', "22P02", "invalid input syntax for type integer"],
    ['invalid input syntax for type integer: "a"b"', "22P02", "invalid input syntax for type integer"],
    [
      "ungültige Eingabesyntax für Typ integer: »Alice Ng 7«",
      "22P02",
      "ungültige Eingabesyntax für Typ integer",
    ],
    ['invalid byte sequence for encoding "UTF8": 0xc3 0x28', "22021", "invalid byte sequence for encoding …"],
    ['relation "Alice Ng 7" does not exist', "42P01", "relation … does not exist"],
    ['time zone "Alice Ng 7" not recognized', "22023", "time zone … not recognized"],
  ])("%s", (message, sqlstate, told) => {
    expect(withheld(message, sqlstate, SQL)).toBe(told);
  });
});

describe("what the client wrote himself is told", () => {
  test.each([
    ['column "nope" does not exist', "42703"],
    ["division by zero", "22012"],
    ['new row for relation "tickets" violates check constraint "tickets_status"', "23514"],
    ["canceling statement due to user request", "57014"],
  ])("%s", (message, sqlstate) => {
    expect(withheld(message, sqlstate, SQL)).toBe(message);
  });
});
