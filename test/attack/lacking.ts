/**
 * Relations of which a reader lacks columns, by the names of protected ones: in PostgreSQL such a name goes on to mean
 * what is further out, and a write's target is there with its real values.
 */
export const LACKING_SETUP = `
  CREATE TABLE public.contacts (id bigint, customer_id bigint, email text, phone text, name text, address text,
    customers text, t text, note text);
  INSERT INTO public.contacts SELECT n, n, 'none', 'none', 'none', 'none', 'none', 'none', 'note ' || n FROM generate_series(1, 9) n;
  REVOKE ALL ON public.contacts FROM PUBLIC, anna, ben, cleo;
  GRANT SELECT (id, customer_id, note) ON public.contacts TO anna, ben, cleo;
  CREATE TABLE public.places (id bigint, email text, phone text, name text, t text, note text);
  INSERT INTO public.places SELECT n, 'none', 'none', 'none', 'none', 'note ' || n FROM generate_series(1, 9) n;
  GRANT SELECT ON public.places TO anna, ben, cleo;
  CREATE TABLE public.shops (id bigint, phone text, name text, t text, email text);
  INSERT INTO public.shops SELECT n, 'none', 'none', 'none', 'none' FROM generate_series(1, 9) n;
  REVOKE ALL ON public.shops FROM PUBLIC, anna, ben, cleo;
  GRANT SELECT (id, phone, name, t) ON public.shops TO anna, ben, cleo;
`;

/** Columns that are gone, and nobody has looked yet. */
export const LOST = `
  ALTER TABLE public.shops DROP COLUMN phone, DROP COLUMN name, DROP COLUMN t;
  ALTER TABLE public.places DROP COLUMN email, DROP COLUMN phone, DROP COLUMN name, DROP COLUMN t;
`;

const SET = "UPDATE customers SET country = 'x' WHERE id = 7";

export function lackingIn(relation: string): readonly string[] {
  return [
    `${SET} RETURNING (SELECT phone FROM ${relation} LIMIT 1)`,
    `${SET} RETURNING (SELECT n FROM (SELECT phone AS n FROM ${relation}) c LIMIT 1)`,
    `${SET} RETURNING (SELECT max(upper(email)) FROM ${relation})`,
    `${SET} RETURNING (SELECT phone FROM ${relation} c, LATERAL (SELECT 1) d LIMIT 1)`,
    `${SET} RETURNING (SELECT phone FROM ${relation} c JOIN notes ON true LIMIT 1)`,
    `${SET} RETURNING (SELECT id FROM ${relation} c ORDER BY phone LIMIT 1), (SELECT email FROM ${relation} GROUP BY email)`,
    `${SET} RETURNING ARRAY(SELECT phone FROM ${relation})`,
    `${SET} RETURNING (WITH w AS (SELECT phone FROM ${relation}) SELECT phone FROM w LIMIT 1)`,
    `${SET} RETURNING (SELECT phone FROM ${relation} UNION SELECT phone FROM ${relation} LIMIT 1)`,
    `${SET} RETURNING (SELECT * FROM (SELECT phone FROM ${relation}) AS phone (phone) LIMIT 1)`,
    `${SET} AND EXISTS (SELECT 1 FROM ${relation} WHERE phone LIKE 'QxZ%')`,
    `${SET} AND email IN (SELECT email FROM ${relation})`,
    `UPDATE customers t SET country = 'x' WHERE id = 7 RETURNING (SELECT t FROM ${relation} LIMIT 1)`,
    `UPDATE customers t SET country = (SELECT t::text FROM ${relation} LIMIT 1) WHERE id = 7 RETURNING country`,
    `UPDATE customers t SET country = (SELECT phone FROM ${relation} LIMIT 1) WHERE id = 7 RETURNING country`,
    `UPDATE customers SET (country, address) = (SELECT phone, 'x' FROM ${relation} LIMIT 1) WHERE id = 7 RETURNING country`,
    `DELETE FROM customers WHERE id = 7 RETURNING (SELECT name FROM ${relation} LIMIT 1)`,
    `DELETE FROM customers USING (SELECT id AS n FROM ${relation} WHERE phone LIKE 'QxZ%') c WHERE id = 7 RETURNING n`,
    `INSERT INTO customers (id, country, name, email, created_at) VALUES (7, 'x', 'y', 'z@', now()) ON CONFLICT (id) DO UPDATE SET country = (SELECT phone FROM ${relation} LIMIT 1) RETURNING country`,
    `WITH w AS (${SET} RETURNING (SELECT phone FROM ${relation} LIMIT 1) AS p) SELECT p FROM w`,
    `SELECT (SELECT phone FROM ${relation} LIMIT 1) FROM customers WHERE id = 7`,
    `SELECT (SELECT c FROM ${relation} LIMIT 1) FROM customers c WHERE id = 7`,
  ];
}
