import { expect, test } from "vitest";
import { skim } from "../../proxy/sql/skim.ts";

const TABLES = ["public.customers", "public.tickets", "sales.Orders", "public.from"];

const skimmed = (sql: string) =>
  skim(Buffer.from(sql), ({ schemaname = "public", relname }) =>
    TABLES.find((table) => table === `${schemaname}.${relname}`),
  );

test.each([
  ["select * from customers where id = 1", "SELECT", "read", ["public.customers"], []],
  [
    "SELECT c.id FROM customers c JOIN ONLY public.tickets t ON true",
    "SELECT",
    "read",
    ["public.customers", "public.tickets"],
    [],
  ],
  [
    "insert into tickets (a) select b from customers",
    "INSERT",
    "write",
    ["public.tickets", "public.customers"],
    ["public.tickets"],
  ],
  ["update customers set a = 1", "UPDATE", "write", ["public.customers"], ["public.customers"]],
  ["delete from only tickets", "DELETE", "write", ["public.tickets"], ["public.tickets"]],
  [
    "with x as (select 1 from customers) insert into tickets select * from x",
    "INSERT",
    "write",
    ["public.customers", "public.tickets"],
    ["public.tickets"],
  ],
  [`select 1 from sales."Orders"`, "SELECT", "read", ["sales.Orders"], []],
  [`select 1 from "from"`, "SELECT", "read", ["public.from"], []],
  ["select 'from customers' -- from tickets\n/* from tickets */", "SELECT", "read", [], []],
  ["select 1 from nothing, (select 2 from customers) x", "SELECT", "read", ["public.customers"], []],
  ["create table t as select 1 from customers", "OTHER", "other", ["public.customers"], []],
  [
    "select 1 from customers where a = U&'x' and b in (select 1 from tickets)",
    "SELECT",
    "read",
    ["public.customers"],
    [],
  ],
  ["", "OTHER", "other", [], []],
] as const)(
  "%s is a statement of its kind, with the tables it names",
  (sql, command, kind, reads, writes) => {
    expect(skimmed(sql)).toEqual({ command, kind, reads, writes });
  },
);

test("what is far behind is not looked at: a text of any length takes the same time", () => {
  const sql = `insert into tickets values ${"(1, 'text'), ".repeat(10_000)} (1) returning (select 1 from customers)`;
  expect(skimmed(sql)).toEqual({
    command: "INSERT",
    kind: "write",
    reads: ["public.tickets"],
    writes: ["public.tickets"],
  });
});
