import { createHash } from "node:crypto";

/**
 * The contents of the worlds: the support database, in which every protected value consists of 32 random bits that are
 * independent of all others, and of the same value in other worlds. Everything else is equal in all worlds: ids,
 * owners, countries, dates, lengths, counts, and the order in which rows were written.
 */

/** Customers up to this one are the same in all worlds: a transcript may read them, as people who are counted. */
export const EQUAL = 20;
/** The number of customers; each has one ticket, one message, one payment and one contact with the same number. */
export const PEOPLE = 700;
export const BITS = 32;

/** Protected columns, and the two letters that represent a bit. */
export const PLANTED = {
  name: "AB",
  email: "ab",
  phone: "01",
  address: "AB",
  subject: "AB",
  body: "AB",
  message: "AB",
  card_number: "01",
  contact: "ab",
} as const;

export type Planted = keyof typeof PLANTED;

/** The value's 32 bits. For the equal people they are the same in all worlds. */
export function bitsOf(world: number, column: Planted, person: number): number {
  const digest = createHash("md5")
    .update(`${worldOf(world, person)}|${column}|${person}`)
    .digest();
  return digest.readUInt32BE(0);
}

/** The value itself, as the database stores it. An email address has more after it. */
export function plantedText(world: number, column: Planted, person: number): string {
  const letters = PLANTED[column];
  const bits = bitsOf(world, column, person).toString(2).padStart(BITS, "0");
  return bits.replace(/[01]/g, (digit) => letters.charAt(Number(digit)));
}

function worldOf(world: number, person: number): number {
  return person <= EQUAL ? -1 : world;
}

/** The same in SQL: a function of the world's number, `n` and the column. */
function planted(world: number, column: Planted): string {
  const seed = `(CASE WHEN n <= ${EQUAL} THEN -1 ELSE ${world} END)::text || '|${column}|' || n::text`;
  return `translate(('x' || left(md5(${seed}), 8))::bit(32)::text, '01', '${PLANTED[column]}')`;
}

/** Empties the support schema, and adds what the attack suites need. Run once, in the template. */
export const EMPTY = `
  TRUNCATE public.customers, public.vip_customers, public.tickets, public.ticket_messages, public.payments,
    public.contact_log CASCADE;
  CREATE TABLE public.notes (id bigint, body text, marks text[], counts int[]);
  INSERT INTO public.notes VALUES (1, 'first', '{a,b}', '{1,2}');
  CREATE TABLE public.marks (id bigint PRIMARY KEY);
  INSERT INTO public.marks SELECT generate_series(1, 300);
  CREATE TABLE public.credit (
    id bigint PRIMARY KEY, customer_id bigint, wish int NOT NULL, lim int NOT NULL, CHECK (wish <= lim)
  );
  CREATE VIEW public.angry_tickets AS SELECT id, customer_id, status FROM public.tickets WHERE body LIKE '%AAAA%';
  GRANT USAGE ON SCHEMA public TO PUBLIC;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC;
  CREATE SEQUENCE public.numbers;
  GRANT USAGE, SELECT, UPDATE ON SEQUENCE public.numbers TO PUBLIC;
`;

/** Fills one world. */
export function fillWorld(world: number): string {
  const p = (column: Planted): string => planted(world, column);
  const all = (select: string): string => `SELECT ${select} FROM generate_series(1, ${PEOPLE}) n;`;
  return `
    BEGIN;
    SET LOCAL session_replication_role = replica;
    INSERT INTO public.customers ${all(`n, ${p("name")}, ${p("email")} || '.' || n || '@example.com', ${p("phone")},
      ${p("address")}, date '1950-01-01' + n * 17 % 18000, (ARRAY['DE', 'FR', 'GB', 'IT', 'US'])[1 + n % 5],
      timestamptz '2023-01-01 00:00:00+00' + n * interval '1 hour'`)}
    INSERT INTO public.tickets ${all(`n, n, (ARRAY['anna', 'ben', 'cleo', NULL])[1 + n % 4], ${p("subject")}, ${p("body")},
      (ARRAY['open', 'pending', 'closed'])[1 + n % 3], (ARRAY['eu', 'us'])[1 + n % 2],
      timestamptz '2023-06-01 00:00:00+00' + n * interval '1 hour'`)}
    INSERT INTO public.ticket_messages ${all(`n, n, n, CASE WHEN n % 2 = 0 THEN 'customer' ELSE 'agent' END, ${p("message")},
      timestamptz '2023-06-01 00:00:00+00' + n * interval '1 hour'`)}
    INSERT INTO public.payments ${all(`n, n, 100 + n * 7, 'EUR', ${p("card_number")},
      timestamptz '2024-01-01 00:00:00+00' + n * interval '1 hour'`)}
    INSERT INTO public.contact_log ${all(`n, n, ${p("contact")}, 'called', date '2023-01-01' + n`)}
    INSERT INTO public.credit ${all(`n, n, 0, ('x' || left(md5(${`(CASE WHEN n <= ${EQUAL} THEN -1 ELSE ${world} END)::text || '|lim|' || n::text`}), 3))::bit(12)::int`)}
    COMMIT;
    ANALYZE public.ticket_messages;
    REFRESH MATERIALIZED VIEW public.customer_copy;`;
}
