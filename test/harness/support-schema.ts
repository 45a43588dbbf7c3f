import pg from "pg";

/** The users of the helpdesk and their passwords. */
export const PASSWORDS = {
  anna: "anna-password",
  ben: "ben-password",
  cleo: "cleo-password",
  metabase: "metabase-password",
  helpdesk_app: "helpdesk-password",
} as const;

export type SupportUser = keyof typeof PASSWORDS;

/** Roles belong to the whole server: created once for the run. */
export async function createRoles(uri: string): Promise<void> {
  await execute(
    uri,
    Object.entries(PASSWORDS)
      .map(
        ([name, password]) => `
          DO $$ BEGIN CREATE ROLE ${name}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
          SET password_encryption = 'scram-sha-256';
          ALTER ROLE ${name} LOGIN PASSWORD '${password}';`,
      )
      .join(""),
  );
}

/**
 * A small helpdesk, the same at every call: 1,000 customers, 2,000 tickets, 4,000 messages, 1,500 payments. Customer 7
 * is `Alice Ng 7 <alice.ng.7@example.com>`, and so on: see the INSERT.
 */
export async function supportSchema(uri: string): Promise<void> {
  await execute(uri, `BEGIN; ${TABLES} ${ROWS} ${VIEWS} ${GRANTS} COMMIT; ANALYZE;`);
}

const TABLES = `
  CREATE TABLE public.customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    phone text,
    address text,
    birth_date date,
    country text NOT NULL,
    created_at timestamptz NOT NULL
  );
  CREATE INDEX customers_phone ON public.customers (phone);

  CREATE TABLE public.tickets (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES public.customers,
    assignee text,
    subject text NOT NULL,
    body text NOT NULL,
    status text NOT NULL,
    region text NOT NULL,
    created_at timestamptz NOT NULL
  );
  CREATE INDEX tickets_customer_id ON public.tickets (customer_id);

  CREATE TABLE public.ticket_messages (
    id bigint PRIMARY KEY,
    ticket_id bigint NOT NULL REFERENCES public.tickets,
    customer_id bigint NOT NULL REFERENCES public.customers,
    author text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz NOT NULL
  );
  CREATE INDEX ticket_messages_ticket_id ON public.ticket_messages (ticket_id);
  CREATE INDEX ticket_messages_customer_id ON public.ticket_messages (customer_id);

  CREATE TABLE public.payments (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES public.customers,
    amount_cents integer NOT NULL,
    currency text NOT NULL,
    card_number text,
    paid_at timestamptz NOT NULL
  );
  CREATE INDEX payments_customer_id ON public.payments (customer_id);

  CREATE TABLE public.contact_log (
    id bigint NOT NULL,
    customer_id bigint NOT NULL,
    email text NOT NULL,
    note text,
    logged_on date NOT NULL,
    PRIMARY KEY (id, logged_on)
  ) PARTITION BY RANGE (logged_on);
  CREATE TABLE public.contact_log_2023 PARTITION OF public.contact_log
    FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
  CREATE TABLE public.contact_log_2024 PARTITION OF public.contact_log
    FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');

  CREATE TABLE public.vip_customers (manager text) INHERITS (public.customers);
`;

// Uses only n::text and modulo: the same rows on every server version.
const ROWS = `
  INSERT INTO public.customers
    SELECT n, first || ' ' || last || ' ' || n,
      lower(first) || '.' || lower(last) || '.' || n || '@example.com',
      CASE WHEN n % 20 <> 0 THEN '+1 555 01' || lpad((n % 100)::text, 2, '0') || lpad(n::text, 5, '0') END,
      n || ' Sample Street, Exampleton', date '1950-01-01' + n * 17 % 18000,
      (ARRAY['DE', 'FR', 'GB', 'IT', 'US'])[1 + n % 5], timestamptz '2023-01-01 00:00:00+00' + n * interval '1 hour'
    FROM generate_series(1, 1000) n,
      LATERAL (SELECT (ARRAY['Ada', 'Bela', 'Carl', 'Dora', 'Emil', 'Fay', 'Gus', 'Alice', 'Hana', 'Ivo'])[1 + n % 10],
                      (ARRAY['Ash', 'Birch', 'Cole', 'Dune', 'Elm', 'Fern', 'Ng'])[1 + (n + 6) % 7]) AS called(first, last);
  INSERT INTO public.tickets
    SELECT n, 1 + n % 1000, (ARRAY['anna', 'ben', 'cleo', NULL])[1 + n % 4],
      'Ticket ' || n || ' of customer ' || 1 + n % 1000, 'Please call me, my number ends in ' || n % 100,
      (ARRAY['open', 'pending', 'closed'])[1 + n % 3], (ARRAY['eu', 'us'])[1 + n % 2],
      timestamptz '2023-06-01 00:00:00+00' + n * interval '1 hour'
    FROM generate_series(1, 2000) n;
  INSERT INTO public.ticket_messages
    SELECT n, t.id, t.customer_id, CASE WHEN n % 2 = 0 THEN 'customer' ELSE 'agent' END,
      'Message ' || n || ' about ticket ' || t.id, t.created_at + n % 24 * interval '1 minute'
    FROM generate_series(1, 4000) n JOIN public.tickets t ON t.id = 1 + n % 2000;
  INSERT INTO public.payments
    SELECT n, 1 + n % 1000, 100 + n * 7 % 90000, (ARRAY['EUR', 'USD'])[1 + n % 2],
      '4000 0000 0000 ' || lpad(n::text, 4, '0'), timestamptz '2024-01-01 00:00:00+00' + n * interval '1 hour'
    FROM generate_series(1, 1500) n;
  INSERT INTO public.contact_log
    SELECT c.id, c.id, c.email, 'called', date '2023-01-01' + (c.id % 700)::int
    FROM public.customers c WHERE c.id <= 700;
  INSERT INTO public.vip_customers
    SELECT 5000 + n, 'Vera Vip ' || n, 'vera.vip.' || n || '@example.com', '+1 555 0199 ' || n, NULL,
      date '1970-01-01', 'US', timestamptz '2024-01-01 00:00:00+00', 'cleo'
    FROM generate_series(1, 10) n;
`;

const VIEWS = `
  CREATE VIEW public.customer_directory AS SELECT id, name, email, phone, country FROM public.customers;
  CREATE VIEW public.customer_upper AS SELECT id, upper(email) AS email_upper, country FROM public.customers;
  CREATE VIEW public.tickets_open AS
    SELECT t.id, t.customer_id, c.email AS customer_email, t.subject
    FROM public.tickets t JOIN public.customers c ON c.id = t.customer_id WHERE t.status = 'open';
  CREATE VIEW public.customers_per_country AS SELECT country, count(*) AS people FROM public.customers GROUP BY country;
  CREATE MATERIALIZED VIEW public.customer_copy AS SELECT id, name, email FROM public.customers;
`;

const GRANTS = `
  GRANT USAGE ON SCHEMA public TO anna, ben, cleo, metabase, helpdesk_app;
  GRANT SELECT ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, metabase, helpdesk_app;
  GRANT INSERT, UPDATE ON public.tickets, public.ticket_messages TO anna, ben, cleo;
  GRANT INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO helpdesk_app;
  GRANT CREATE ON SCHEMA public TO helpdesk_app;
`;

async function execute(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Empty for users whom the server trusts. */
export function passwordOf(user: string): string {
  return Object.entries(PASSWORDS).find(([name]) => name === user)?.[1] ?? "";
}
