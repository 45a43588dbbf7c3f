import pg from "pg";
import postgres from "postgres";
import { Op, QueryTypes, Sequelize } from "sequelize";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "../session/world.ts";

/*
 * A day at the desk: three people read by one application over two connections, all at once, as its framework does it. Each
 * person is charged exactly what they were shown.
 */

/** `from`: shows the customers from this key to the other. */
interface Desk {
  read(person: string, from: number, to: number): Promise<readonly number[]>;
  close(): Promise<unknown>;
}

const PEOPLE = ["desk_anna", "desk_ben", "desk_cleo"];

function poolAt(uri: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: uri, max: 2 });
  // The proxy may end a connection before the pool has.
  pool.on("error", () => undefined);
  return pool;
}

/** In a transaction that says first for whom it is. */
function byPool(uri: string, name: (person: string) => string, mark = ""): Desk {
  const pool = poolAt(uri);
  return {
    async read(person, from, to) {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        await client.query(name(person));
        const text = `SELECT id::int FROM customers WHERE id BETWEEN $1 AND $2${mark}`;
        return (await client.query(text, [from, to])).rows.map(({ id }) => id);
      } finally {
        await client.query("COMMIT");
        client.release();
      }
    },
    close: () => pool.end(),
  };
}

const DESKS: readonly (readonly [name: string, open: (uri: string) => Desk])[] = [
  ["pg, SET LOCAL", (uri) => byPool(uri, (person) => `SET LOCAL app.agent = '${person}'`)],
  ["pg, SET LOCAL ROLE", (uri) => byPool(uri, (person) => `SET LOCAL ROLE ${person}`)],
  [
    "pg, claims of a token",
    (uri) => byPool(uri, (person) => `SELECT set_config('request.jwt.claims', '{"sub":"${person}"}', true)`),
  ],
  [
    "pg, SET and DISCARD ALL",
    (uri) => {
      const pool = poolAt(uri);
      return {
        async read(person, from, to) {
          const client = await pool.connect();
          try {
            await client.query(`SET app.agent = '${person}'`);
            const page = await client.query("SELECT id::int FROM customers WHERE id BETWEEN $1 AND $2", [
              from,
              to,
            ]);
            return page.rows.map(({ id }) => id);
          } finally {
            await client.query("DISCARD ALL");
            client.release();
          }
        },
        close: () => pool.end(),
      };
    },
  ],
  [
    "pg, comments",
    (uri) => {
      const pool = poolAt(uri);
      return {
        async read(person, from, to) {
          const text = `SELECT id::int FROM customers WHERE id BETWEEN $1 AND $2 /*user='${person}'*/`;
          return (await pool.query(text, [from, to])).rows.map(({ id }) => id);
        },
        close: () => pool.end(),
      };
    },
  ],
  [
    "postgres.js",
    (uri) => {
      const sql = postgres(uri, { max: 2, onnotice: () => undefined });
      return {
        async read(person, from, to) {
          const page = await sql.begin(async (tx) => {
            await tx`SELECT set_config('app.agent', ${person}, true)`;
            return tx<{ id: number }[]>`SELECT id::int FROM customers WHERE id BETWEEN ${from} AND ${to}`;
          });
          return page.map(({ id }) => id);
        },
        close: () => sql.end(),
      };
    },
  ],
  [
    "Sequelize",
    (uri) => {
      const sequelize = new Sequelize(uri, { dialect: "postgres", logging: false, pool: { max: 2 } });
      const Customer = sequelize.define("customer", {}, { timestamps: false, tableName: "customers" });
      return {
        read: (person, from, to) =>
          sequelize.transaction(async (transaction) => {
            const options = { replacements: { person }, type: QueryTypes.SELECT, transaction } as const;
            await sequelize.query("SELECT set_config('app.agent', :person, true)", options);
            const where = { id: { [Op.between]: [from, to] } };
            const page = await Customer.findAll({ attributes: ["id"], where, transaction, raw: true });
            return page.map((row) => Number((row as unknown as { readonly id: string }).id));
          }),
        close: () => sequelize.close(),
      };
    },
  ],
];

const BEHIND = `    people_behind:
      - setting: app.agent
      - setting: { name: request.jwt.claims, path: sub }
      - comment: user
      - role: true
    unnamed: { budget: { 1h: 5 } }
`;
const POLICY = `version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers], budget: { 1h: 1000 } }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
${BEHIND}`;
const WATCHED = `${POLICY}    watch: true\n    budget: { 1h: 1000 }\n`;
const ACTING = `${POLICY}    acts_as: agent\n`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: WATCHED });
  await world.database.query(`
    CREATE ROLE desk_anna; CREATE ROLE desk_ben; CREATE ROLE desk_cleo;
    GRANT SELECT ON customers TO desk_anna, desk_ben, desk_cleo;
    GRANT desk_anna, desk_ben, desk_cleo TO helpdesk_app;
  `);
});
afterAll(() => world?.close());

const WAYS = [
  ["a watched role", WATCHED, undefined],
  ["people with roles", ACTING, undefined],
  ["people with roles over a pool", ACTING, { size: 2 }],
] as const;

const CASES = WAYS.flatMap(([way, policy, pool]) =>
  DESKS.map(([name, open]) => [name, way, policy, pool, open] as const),
);

test.each(CASES)("%s, %s: each person is charged what they were shown", async (_, __, policy, pool, open) => {
  const proxy = await startProxy(world.database, { policy, ...(pool && { pool }) });
  const desk = open(proxy.uri("helpdesk_app"));
  const shown = new Map<string, number>();
  // Pages of each person beside the other two's, and no customer twice: the log says who was shown whom.
  const pages = Array.from({ length: 30 }, (_, i) => ({ person: PEOPLE[i % 3] ?? "", from: 10 * i + 1 }));
  await Promise.all(
    pages.map(async ({ person, from }) => {
      const ids = await desk.read(person, from, from + (from % 7));
      shown.set(person, (shown.get(person) ?? 0) + ids.length);
    }),
  );
  await desk.close();
  const charged = () => {
    const counts = new Map<string, number>();
    for (const event of proxy.events)
      if ((event.kind === "statement" || event.kind === "rows") && event.people > 0)
        counts.set(event.user, (counts.get(event.user) ?? 0) + event.people);
    return counts;
  };
  await expect.poll(() => [...charged()].sort()).toEqual([...shown].sort());
  const owners = proxy.events.flatMap((event) =>
    event.kind === "statement"
      ? event.subjects.map((subject) => [Number(subject.split(" ").at(-1)), event.user])
      : [],
  );
  for (const [id, user] of owners)
    expect([id, user]).toEqual([id, PEOPLE[Math.floor((Number(id) - 1) / 10) % 3]]);
  await proxy.close();
});
