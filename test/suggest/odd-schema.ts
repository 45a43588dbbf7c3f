/** Names and shapes that a real database may have. */
export const ODD_SCHEMA = `
  CREATE SCHEMA "Büro";
  CREATE SCHEMA "Büro 1";
  CREATE SCHEMA "dotted.schema";
  CREATE TABLE "Büro"."Kunden" (
    "KundenNr" int PRIMARY KEY, "Vorname" varchar(40), "E-Mail: Adresse" text, "Geburtsdatum" date, "Straße" text,
    "IPv4" inet, kontakt jsonb, tel bigint, "🙂 email" text, " email" text, "it's ""quoted"" email" text,
    "a\nemail: &x !!y\n#" text, "\u2028\u202ephone\u009b\ufeff" text, "- email # x" text, "email: *a" text,
    "__proto__" text, "constructor" int, "<<" int, "~" int, "null" int, "123" int, "true" boolean, "#" int, "select" text
  );
  COMMENT ON TABLE "Büro"."Kunden" IS E'x\nmode: enforce';
  COMMENT ON COLUMN "Büro"."Kunden"."select" IS E'the customer''s mobile phone\nroles: { agent: { sees: all } }';
  COMMENT ON COLUMN "Büro"."Kunden"."Vorname" IS 'nobody: shown # to all';
  COMMENT ON COLUMN "Büro"."Kunden"."#" IS 'passport number';
  INSERT INTO "Büro"."Kunden" ("KundenNr", "E-Mail: Adresse", "a\nemail: &x !!y\n#", "\u2028\u202ephone\u009b\ufeff", "__proto__", "#")
    VALUES (1, 'alice@example.com', 'alice@example.com', '+1 555 0100', 'alice@example.com', 4711);
  CREATE TABLE "Büro"."Bestellungen: {x}" (
    "Bestell ID" bigint PRIMARY KEY, "KundenNr" int REFERENCES "Büro"."Kunden", "Notiz" text, "*" text, "a.b" int
  );
  CREATE TABLE "Büro"."Posten" ("Bestell ID" bigint REFERENCES "Büro"."Bestellungen: {x}", "Menge" int);
  CREATE TABLE "Büro 1"."leads
- all" (id int PRIMARY KEY, email text);
  CREATE TABLE "Büro 1".calls (id int PRIMARY KEY, "leads - all" int REFERENCES "Büro 1"."leads
- all");
  CREATE TABLE "dotted.schema".customers (id int PRIMARY KEY, email text);
  CREATE TABLE public."dotted.customers" (id int PRIMARY KEY, email text);
  CREATE TABLE public."star*" (id int PRIMARY KEY, email text);
  CREATE TABLE public."->" (id int PRIMARY KEY, customer int);
  CREATE TABLE public."arrow" ("a -> b" int PRIMARY KEY, email text);
  CREATE TABLE public."user" ("order" int PRIMARY KEY, "group" text, name text);
  CREATE VIEW public.directory AS SELECT "KundenNr", "E-Mail: Adresse" AS mail, upper("Vorname") AS shouted FROM "Büro"."Kunden";
  CREATE MATERIALIZED VIEW public."Copy" AS SELECT * FROM "Büro"."Kunden";
`;

/** How tables may hang together. */
export const RELATED_SCHEMA = `
  CREATE TABLE employees (id uuid PRIMARY KEY, full_name text, salary numeric, email varchar(10));
  CREATE TABLE patients (tenant int, id int, name text, email text, PRIMARY KEY (tenant, id));
  CREATE TABLE clients (tenant int, id int, code uuid NOT NULL UNIQUE, name text, PRIMARY KEY (tenant, id));
  CREATE TABLE guests (name text, phone text);
  CREATE TABLE members (id int, joined date, email text, PRIMARY KEY (id, joined)) PARTITION BY RANGE (joined);
  CREATE TABLE members_2024 PARTITION OF members FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
  CREATE TABLE persons (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
  CREATE TABLE persons_0 PARTITION OF persons FOR VALUES WITH (MODULUS 1, REMAINDER 0);
  CREATE TABLE logins (at timestamptz, person_id int REFERENCES persons, user_agent text, ip text);
  CREATE TABLE customers (id int PRIMARY KEY, name text, mail text UNIQUE, referred_by int REFERENCES customers);
  CREATE TABLE special_customers (nickname text, note text) INHERITS (customers);
  CREATE TABLE orders (
    id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, handled_by uuid NOT NULL REFERENCES employees, total numeric);
  CREATE TABLE order_lines (id int PRIMARY KEY, order_id int REFERENCES orders, gift_message text);
  CREATE TABLE shipments (id int PRIMARY KEY, order_line int REFERENCES order_lines);
  CREATE TABLE newsletters (customer_mail text REFERENCES customers (mail), topic text);
  CREATE TABLE invoices (id int PRIMARY KEY, person_id int, pdf bytea);
  CREATE TABLE big_invoices (discount int) INHERITS (invoices);
  CREATE TABLE invoice_mails (id int PRIMARY KEY, invoice_id int REFERENCES invoices, sent_to_email text);
  CREATE TABLE subscriptions (id int PRIMARY KEY, holder_email text, password_hash text);
  CREATE TABLE heirs (id int PRIMARY KEY, person_id int REFERENCES persons, first_name text);
  CREATE TABLE children (id int PRIMARY KEY, person_id int REFERENCES persons, first_name text);
  CREATE TABLE products (id int PRIMARY KEY, name text, price numeric);
  CREATE TABLE nothing ();
`;
