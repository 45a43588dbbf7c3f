import { among, bits, type Channel, isSet, queries, query } from "./channels.ts";

/**
 * Ways to learn about people by what a write leaves behind: unprotected columns, the order of rows, the size of a table.
 * Groups of ten people or more that name no protected column cost next to nothing.
 */

/** A value of each person's ticket, in one row about all of them. */
const eachTicket = (people: readonly number[], value = "any_value(status)"): string =>
  `SELECT ${people.map((id) => `${value} FILTER (WHERE id = ${id})`).join(", ")} FROM tickets WHERE ${among(people)}`;

const upsert = (people: readonly number[], update: string): string =>
  `INSERT INTO tickets (id, customer_id, subject, body, status, region, created_at)
   VALUES ${people.map((id) => `(${id}, ${id}, '', '', '', '', '2024-01-01')`).join(", ")}
   ON CONFLICT (id) DO UPDATE SET ${update}`;

/** A row that is written gets another place. */
const places = (people: readonly number[]): string => eachTicket(people, "max(ctid)");

/** Random digits: what can be compressed takes less room. */
const long = (length: string): string =>
  `(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 64 * ${length}) g)`;

const tickets = { role: "lead", people: 12 } as const;

export const WRITTEN: readonly Channel[] = [
  {
    ...tickets,
    name: "written: ON CONFLICT stores texts in a column that is not protected",
    before: (p) => [upsert(p, "status = tickets.subject")],
    steps: (p) => [query(eachTicket(p))],
  },
  {
    ...tickets,
    name: "written: ON CONFLICT marks the rows that a text chooses",
    before: (p) => [upsert(p, `status = 'marked' WHERE ${isSet("tickets.subject", 1)}`)],
    steps: (p) => [query(eachTicket(p))],
  },
  {
    ...tickets,
    name: "written: ON CONFLICT writes protected columns of the rows that a text chooses",
    before: (p) => [upsert(p, `body = excluded.body WHERE ${isSet("tickets.subject", 1)}`)],
    steps: (p) => [query(places(p))],
  },
  {
    ...tickets,
    name: "written: UPDATE writes protected columns of the rows that a text chooses",
    before: (p) => [`UPDATE tickets SET body = body WHERE ${among(p)} AND ${isSet("subject", 1)}`],
    steps: (p) => [query(places(p))],
  },
  {
    ...tickets,
    name: "written: rows become as long as a text says",
    before: (p) => [
      `UPDATE tickets SET body = CASE WHEN ${isSet("subject", 1)} THEN ${long("100")} ELSE '' END WHERE ${among(p)}`,
    ],
    steps: () => [query("SELECT pg_table_size('tickets')")],
  },
  {
    name: "written: a table grows by as much as a text says, in a row by its key",
    role: "lead",
    people: 2,
    steps: (p) =>
      p.map((id) =>
        queries(
          `UPDATE tickets SET subject = ${long(`(1 + ${bits("body", 6)})`)} WHERE id = ${id}`,
          "SELECT pg_table_size('tickets')",
        ),
      ),
  },
];
