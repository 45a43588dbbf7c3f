/** The people of the storm and what each client may see of them: every answer can be told right from wrong. */

export const PEOPLE = 5_000;
/** Of an account each; what they hold adds up to nothing. */
export const ACCOUNTS = 500;
/** Stands in every protected value, and in no mask of one. */
export const CANARY = "anarie";
/** Rows that one statement of a guarded user may have. */
export const ROW_LIMIT = 100;
/** People whom one of the users with a small budget may read. */
export const SMALL_BUDGET = 60;
/** The share of it that a proxy lends while Redis is away. */
export const GRACE_SHARE = 0.1;

const REGIONS = ["north", "south", "east", "west"] as const;

/** What a user may do: agents read as much as they like, the others 60 people a day; with grace, or without. */
export type Kind = "agent" | "thrifty" | "lenient" | "app";

const USERS: Readonly<Record<Kind, number>> = { agent: 20, thrifty: 6, lenient: 6, app: 4 };

export function usersOf(kind: Kind): readonly string[] {
  return Array.from({ length: USERS[kind] }, (_, n) => `${kind}_${n}`);
}

export function kindOf(user: string): Kind {
  return user.slice(0, user.indexOf("_")) as Kind;
}

export const KINDS = Object.keys(USERS) as readonly Kind[];

/** The client of this number: of ten, six are agents, and two work for the application. */
export function userOf(client: number): string {
  const kinds: readonly Kind[] = [
    ...(["agent", "agent", "app", "agent", "thrifty"] as const),
    ...(["agent", "agent", "app", "agent", "lenient"] as const),
  ];
  const kind = kinds[client % kinds.length] ?? "agent";
  const users = usersOf(kind);
  return users[Math.floor(client / kinds.length) % users.length] ?? `${kind}_0`;
}

export function emailOf(id: number): string {
  return `k${CANARY}.${id}@example.com`;
}

export function nameOf(id: number): string {
  return `K${CANARY} ${id}`;
}

export function regionOf(id: number): string {
  return REGIONS[id % REGIONS.length] ?? "";
}

/** How names look changes while the storm goes on: each of these is right. */
export const NAME_MASKS = { first: "{ first: 1 }", constant: "redact" } as const;

/** Whether this is how the name of any person may look to a guarded user. */
export function isMaskedName(name: string | null | undefined): boolean {
  return name === "[redacted]" || /^K\*+$/.test(name ?? "");
}

export const MASKED_EMAIL = "k***@example.com";

export function policy(nameMask: string): string {
  const list = (kind: Kind) => `[${usersOf(kind).join(", ")}]`;
  return `version: 1
classes:
  name: { mask: ${nameMask} }
  email: { mask: email }
tables:
  public.people: { subject: id, columns: { name: name, email: email } }
roles:
  agent:
    users: ${list("agent")}
    reads: [public.people, public.notes]
    writes: [public.notes]
    finds: [email]
    rows: ${ROW_LIMIT}
    budget: { 1d: 100000000 }
  thrifty: { extends: agent, users: ${list("thrifty")}, budget: { 1d: ${SMALL_BUDGET} } }
  lenient:
    extends: agent
    users: ${list("lenient")}
    budget: { 1d: ${SMALL_BUDGET} }
    on_counter_loss: { grace: ${GRACE_SHARE} }
  app: { users: ${list("app")}, reads: all, writes: all, sees: all, budget: none }
`;
}

export const TABLES = `
  CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, region text NOT NULL);
  INSERT INTO people SELECT n, 'K${CANARY} ' || n, 'k${CANARY}.' || n || '@example.com',
    (ARRAY['${REGIONS.join("','")}'])[n % ${REGIONS.length} + 1] FROM generate_series(1, ${PEOPLE}) n;
  CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
  INSERT INTO accounts SELECT n, 0 FROM generate_series(1, ${ACCOUNTS}) n;
  CREATE TABLE notes (marker text PRIMARY KEY, body text NOT NULL);
  ${KINDS.flatMap(usersOf)
    .map((user) => `CREATE ROLE ${user} LOGIN;`)
    .join(" ")}
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${KINDS.flatMap(usersOf).join(", ")};
`;
