/*
 * What each person of the desk does: look at their queue, find customers by what they say on the phone, open tickets, write
 * notes, close, count, and go on after an error. No customer is shown to two people, so that a name in the log is right or wrong.
 */

/** Customers of each person, in a row: those of the first have the ids 1 to 20. */
export const CUSTOMERS_EACH = 20;
export const PEOPLE = 3;
/** Keys of rows that are made from here on: who is first is chance. */
const NEW_KEYS = 900_000;

export interface PersonsDay {
  readonly person: string;
  readonly actions: readonly ({ readonly action: string } & Readonly<Record<string, unknown>>)[];
}

export function planFor(people: readonly string[]): readonly PersonsDay[] {
  return people.map((person, at) => ({ person, actions: actionsFrom(CUSTOMERS_EACH * at) }));
}

/** `base`: the customer before this person's first one. The first ticket of each customer has the customer's id. */
function actionsFrom(base: number): PersonsDay["actions"] {
  const email = (n: number) => `customer.${base + n}@example.com`;
  const phone = (n: number) => `+1 555 ${String(1000 + base + n)}`;
  return [
    { action: "queue", limit: 4, offset: 0 },
    { action: "find", email: email(9) },
    { action: "ticket", id: base + 9 },
    { action: "findAnyCase", email: email(10).toUpperCase() },
    { action: "find", email: "nobody@example.com" },
    { action: "ticket", id: base + 13 },
    { action: "note", id: base + 13, body: "They called again" },
    { action: "counts" },
    { action: "findSeveral", emails: [email(11), email(12), "nobody@example.com"] },
    { action: "fail", id: base + 15 },
    { action: "queue", limit: 4, offset: 4 },
    { action: "close", id: base + 14 },
    { action: "lock", id: base + 16 },
    { action: "findByPhone", phone: phone(17) },
    { action: "tickets", ids: [base + 18, base + 19, base + 20] },
    { action: "find", email: email(9) },
    { action: "ticket", id: base + 13 },
  ];
}

/** For `people`, the customers of each being theirs; a fourth of the tickets is nobody's. */
export function rowsFor(people: readonly string[]): string {
  const names = people.map((person) => `'${person}'`).join(", ");
  const customers = PEOPLE * CUSTOMERS_EACH;
  return `
    TRUNCATE customers, tickets, ticket_messages RESTART IDENTITY CASCADE;
    INSERT INTO customers (name, email, phone, address, birth_date, country, created_at)
      SELECT 'Customer ' || n, 'customer.' || n || '@example.com', '+1 555 ' || (1000 + n), n || ' Mill Lane',
        date '1980-05-05' + n, 'DE', '2024-01-01 12:00:00+00' FROM generate_series(1, ${customers}) n;
    INSERT INTO tickets (customer_id, assignee, subject, body, status, region, created_at)
      SELECT 1 + (n - 1) % ${customers},
        CASE WHEN n % 4 > 0 THEN (ARRAY[${names}])[1 + (n - 1) % ${customers} / ${CUSTOMERS_EACH}] END,
        'Ticket ' || n, 'Text ' || n, (ARRAY['open', 'pending'])[1 + n % 2], 'eu', '2024-01-01 12:00:00+00'
      FROM generate_series(1, ${3 * customers}) n;
    INSERT INTO ticket_messages (ticket_id, customer_id, author, body, sent_at)
      SELECT 1 + (n - 1) % ${customers}, 1 + (n - 1) % ${customers}, 'customer', 'Message ' || n, '2024-01-01 12:00:00+00'
      FROM generate_series(1, ${2 * customers}) n;
    ALTER SEQUENCE ticket_messages_id_seq RESTART ${NEW_KEYS};`;
}

/** The customers whom an answer shows: whoever's own row it has, or a row that says it is theirs. */
export function shownIn(value: unknown, found = new Set<number>()): ReadonlySet<number> {
  if (Array.isArray(value)) for (const one of value) shownIn(one, found);
  else if (typeof value === "object" && value !== null) {
    const row = value as Readonly<Record<string, unknown>>;
    const key = row.customer_id ?? row.customerId ?? (row.email === undefined ? undefined : row.id);
    if (key !== undefined) found.add(Number(key));
    for (const one of Object.values(row)) shownIn(one, found);
  }
  return found;
}

/** What is the same whoever came first, and whatever people are called in this run. */
export function comparable<T>(steps: readonly T[], people: readonly string[]): readonly T[] {
  let text = JSON.stringify(steps).replace(/\b9000\d\d\b/g, "900000");
  for (const [at, person] of people.entries()) text = text.replaceAll(person, `person ${at + 1}`);
  return JSON.parse(text) as readonly T[];
}
