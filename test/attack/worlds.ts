import type { SupportUser } from "../harness/postgres.ts";
import { type Judged, openJudged } from "../sql/judged.ts";
import { LACKING_SETUP } from "./lacking.ts";

/**
 * Two databases made by the same script that differ only in what a role may not see. Whatever a client may
 * receive must be the same in both: then it tells nothing of the difference.
 */

/** `cleo` sees and finds nothing, `ben` sees a part of the rows, `anna` finds by exact value. */
export const ATTACK_POLICY = `
version: 1
classes:
  name:  { mask: redact }
  email: { mask: { constant: "hidden" } }
  phone: { mask: { constant: "000" } }
  text:  { mask: redact }
  card:  { mask: "null" }
tables:
  public.customers:
    subject: id
    columns: { name: name, email: email, phone: phone, address: text }
  public.tickets:
    subject: customer_id
    columns: { subject: text, body: text }
  public.payments:
    subject: customer_id
    columns: { card_number: card }
  public.contact_log:
    subject: customer_id
    columns: { email: email }
roles:
  outsider:
    users: [cleo]
    reads: all
    writes: [public.tickets, public.customers, public.notes]
    sees: []
  finder:
    users: [anna]
    reads: all
    writes: [public.tickets, public.customers, public.notes]
    sees: []
    finds: [email, phone]
  european:
    users: [ben]
    reads: [public.tickets, public.customers]
    writes: [public.tickets]
    sees: [name, email, phone, text, card]
    only: { public.tickets: "region = 'eu'" }
`;

const COMMON = `
  CREATE TABLE public.notes (id bigint, body text, marks text[], counts int[]);
  INSERT INTO public.notes VALUES (1, 'first', '{a,b}', '{1,2}');
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo;
  ${LACKING_SETUP}
`;

/** Fills a table anew, in the order of its key, so that both worlds have their rows in the same order. */
function refill(table: string, values: string): string {
  return `
    CREATE TEMP TABLE old AS SELECT * FROM ONLY public.${table};
    DELETE FROM ONLY public.${table};
    INSERT INTO public.${table} SELECT ${values} FROM old ORDER BY id;
    DROP TABLE old;`;
}

function world(secret: (column: string) => string, hidden: string): string {
  const customers = `id, ${secret("name")}, ${secret("email")}, ${secret("phone")}, ${secret("address")}, birth_date, country, created_at`;
  return `
    ${COMMON}
    SET session_replication_role = replica;
    ${refill("customers", customers)}
    ${refill("vip_customers", `${customers}, manager`)}
    ${refill("tickets", `id, customer_id, assignee, ${secret("subject")}, ${secret("body")}, status, region, created_at`)}
    ${refill("payments", `id, customer_id, amount_cents, currency, ${secret("card_number")}, paid_at`)}
    UPDATE public.contact_log SET email = ${secret("email")};
    ${hidden}
    RESET session_replication_role;
    REFRESH MATERIALIZED VIEW public.customer_copy;
    ANALYZE;`;
}

const same = (column: string): string => column;
/** Another value of another length, still unique; NULL stays NULL, for a mask shows it. */
const other = (column: string): string => `'Z' || reverse(${column}) || id % 7`;

export interface Worlds {
  readonly first: Judged;
  /** Other names, addresses, texts and card numbers. */
  readonly second: Judged;
  close(): Promise<void>;
}

/** Worlds that differ in the values of protected columns, on the run's server or another one. */
export async function protectedWorlds(server?: string): Promise<Worlds> {
  return openWorlds(world(same, ""), world(other, ""), server);
}

/** Worlds that differ in the rows that ben's filter hides. */
export async function filteredWorlds(): Promise<Worlds> {
  return openWorlds(
    world(same, ""),
    world(
      same,
      `DELETE FROM public.tickets WHERE region = 'us' AND id % 3 = 0;
       UPDATE public.tickets SET status = 'odd', assignee = 'nobody', customer_id = 3, subject = 'x' || id WHERE region = 'us';`,
    ),
  );
}

async function openWorlds(first: string, second: string, server?: string): Promise<Worlds> {
  const on = server === undefined ? {} : { server };
  const worlds = await Promise.all(
    [first, second].map((setup) => openJudged({ policy: ATTACK_POLICY, setup, ...on })),
  );
  const [one, two] = worlds;
  if (one === undefined || two === undefined) throw new Error("two worlds are needed");
  return {
    first: one,
    second: two,
    async close() {
      for (const each of worlds) await each.close();
    },
  };
}

/** Everything that a client would receive of each statement, one after the other in a transaction that is undone. */
export async function received(
  judged: Judged,
  user: SupportUser,
  statements: readonly string[],
): Promise<readonly string[]> {
  return transaction((sql) => judged.run(user, sql), statements);
}

/** The same statements as the client wrote them, run by the owner of all: what there is to be learnt. */
export async function unguarded(judged: Judged, statements: readonly string[]): Promise<readonly string[]> {
  return transaction(
    (sql) =>
      judged.database.query({ text: sql, rowMode: "array" } as unknown as string) as unknown as ReturnType<
        Judged["run"]
      >,
    statements,
  );
}

async function transaction(
  run: (sql: string) => ReturnType<Judged["run"]>,
  statements: readonly string[],
): Promise<readonly string[]> {
  const outcomes: string[] = [];
  await run("BEGIN");
  try {
    for (const sql of statements) {
      await run("SAVEPOINT here");
      const outcome = await run(sql).then(
        // Several statements of one message give several results.
        (results) => JSON.stringify([results].flat().map(shown)),
        (error: { code?: string; message: string }) => JSON.stringify([error.code, error.message]),
      );
      if (!outcome.startsWith("[[")) await run("ROLLBACK TO here");
      outcomes.push(outcome);
    }
  } finally {
    await run("ROLLBACK");
  }
  return outcomes;
}

function shown({ command, rowCount, rows, fields }: Awaited<ReturnType<Judged["run"]>>): unknown {
  return [
    command,
    rowCount,
    // Postgres promises no order where none is asked for.
    rows.map((row) => JSON.stringify(row)).sort(),
    // Oids from 16384 on are given out by each database for itself.
    fields.map(({ name, dataTypeID, dataTypeModifier }) => [
      name,
      Math.min(dataTypeID, 16384),
      dataTypeModifier,
    ]),
  ];
}
