-- The tables that policies/support.yaml names, without rows: Sluice does not serve a policy whose tables are missing.
-- Postgres runs this once, when the volume is new.
CREATE TABLE customers (
  id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, phone text NOT NULL, address text, birth_date date
);
CREATE TABLE tickets (
  id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, assignee text, subject text NOT NULL,
  body text NOT NULL, status text NOT NULL DEFAULT 'open', created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ticket_messages (
  id bigint PRIMARY KEY, ticket_id bigint NOT NULL REFERENCES tickets, customer_id bigint NOT NULL REFERENCES customers,
  author text NOT NULL, body text NOT NULL, sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE payments (
  id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, amount_cents int NOT NULL,
  card_number text NOT NULL, paid_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON customers (phone);
CREATE INDEX ON tickets (customer_id);
CREATE INDEX ON ticket_messages (customer_id);
CREATE INDEX ON payments (customer_id);

-- How an agent takes a ticket: session_user is the agent who calls. The path is fixed, as it runs with its owner's
-- rights (Postgres docs, "Writing SECURITY DEFINER Functions Safely").
CREATE FUNCTION take_ticket(ticket bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ UPDATE public.tickets SET assignee = session_user WHERE id = ticket AND assignee IS NULL $$;
