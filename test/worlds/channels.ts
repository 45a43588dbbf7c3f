import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { plantedText } from "./planted.ts";
import type { RoleName } from "./policy.ts";
import type { Sent } from "./worlds.ts";

/**
 * Ways to learn about people without being counted, as transcripts: data. Each gets people of its own, whom no one has
 * read. Persons 1 to 20 are the same in all worlds, and represent people who are already counted.
 */

export interface Channel {
  readonly name: string;
  readonly role: RoleName;
  /** How many people it needs, besides the equal ones. */
  readonly people: number;
  /** Sent first; its answers are ignored. */
  before?(people: readonly number[]): readonly string[];
  steps(people: readonly number[]): readonly Sent[];
}

/** A simple query. */
export function query(sql: string): Sent {
  return { messages: [queryMessage(Buffer.from(sql))], ready: 1 };
}

/** Several simple queries, one after the other, as one step. */
export function queries(...statements: readonly string[]): Sent {
  return { messages: statements.map((sql) => queryMessage(Buffer.from(sql))), ready: statements.length };
}

/** Parse, Bind, Describe, Execute. */
export function extended(sql: string, rows = 0): Sent {
  const messages = [
    parseMessage("", Buffer.from(sql)),
    bindMessage("", ""),
    describeMessage({ target: "portal", name: "" }),
    executeMessage("", rows),
    syncMessage,
  ];
  return { messages, ready: 1 };
}

/** `n` bits of a value, starting with bit `from` (1: the first), as a number. */
export function bits(column: string, n = 32, from = 1): string {
  return `translate(substr(${column}, ${from}, ${n}), 'ABab', '0101')::bit(${n})::bigint`;
}

/** A name as a number of 32 decimal digits, each of which is a bit. */
const DIGITS = "translate(name, 'AB', '01')";

/** One bit of a value, as a condition. */
export const isSet = (column: string, bit: number): string => `substr(${column}, ${bit}, 1) = 'B'`;

/** One person after the other. */
const each =
  (sql: (person: number) => string, send: (sql: string) => Sent = query) =>
  (people: readonly number[]): readonly Sent[] =>
    people.map((person) => send(sql(person)));

const from = (person: number): string => `FROM customers WHERE id = ${person}`;
export const among = (people: readonly number[]): string => `id BETWEEN ${people[0]} AND ${people.at(-1)}`;
const once =
  (sql: (people: readonly number[]) => string) =>
  (people: readonly number[]): readonly Sent[] => [query(sql(people))];

type Named = readonly [name: string, sql: (person: number) => string];

const BIG = 2 ** 40;
const FIGURES: readonly Named[] = [
  ["get_bit", (p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}`],
  ["set_bit", (p) => `SELECT set_bit('\\x00'::bytea, ${BIG} + ${bits("name")}, 1) ${from(p)}`],
  ["get_byte", (p) => `SELECT get_byte('\\x00'::bytea, (65536 + ${bits("name", 16)})::int) ${from(p)}`],
  ["set_byte", (p) => `SELECT set_byte('\\x00'::bytea, (65536 + ${bits("name", 16)})::int, 1) ${from(p)}`],
  ["get_bit of bits", (p) => `SELECT get_bit(B'0', (65536 + ${bits("name", 16)})::int) ${from(p)}`],
  ["chr", (p) => `SELECT chr((1114112 + ${bits("name", 16)})::int) ${from(p)}`],
  [
    "regexp_count, whose quoted word is the client's own",
    (p) => `SELECT regexp_count('a', 'a', (-65536 - ${bits("name", 16)})::int) /* start */ ${from(p)}`,
  ],
  ["make_date", (p) => `SELECT make_date(2000, (64 + ${bits("name", 5)})::int, 1) ${from(p)}`],
  ["COPY", (p) => `COPY (SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}) TO STDOUT`],
  [
    "an aggregate",
    (p) =>
      `SELECT count(*) FROM customers WHERE id = ${p} AND get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) = 1`,
  ],
  [
    "UPDATE",
    (p) =>
      `UPDATE tickets SET status = status FROM customers c WHERE c.id = ${p} AND tickets.customer_id = c.id AND get_bit('\\x00'::bytea, ${BIG} + ${bits("c.name")}) = 1`,
  ],
  ["ORDER BY", (p) => `SELECT 1 ${from(p)} ORDER BY get_bit('\\x00'::bytea, ${BIG} + ${bits("name")})`],
];

/** Which error occurs, or whether there is one. */
const STATES: readonly Named[] = [
  [
    "division by zero",
    (p) =>
      `SELECT count(*) FROM (SELECT 1 / ${bits("name", 1)} ${from(p)}) s WHERE false OR 1 / (SELECT ${bits("name", 1)} ${from(p)}) < 0`,
  ],
  [
    "the SQLSTATE of eight",
    (p) => `SELECT CASE ${bits("name", 3)} WHEN 0 THEN 1 / (id - ${p}) WHEN 1 THEN sqrt(${p} - 1 - id)
      WHEN 2 THEN ln(id - ${p}) WHEN 3 THEN ('x' || id)::int WHEN 4 THEN (id * 1000000)::int2
      WHEN 5 THEN length(substr('a', 1, (${p} - 1 - id)::int)) WHEN 6 THEN ascii(chr((id - ${p})::int)) ELSE (id || '-')::date - current_date END ${from(p)}`,
  ],
  [
    "more than one row",
    (p) =>
      `SELECT (SELECT 1 FROM generate_series(1, 1 + ${bits("name", 1)}::int)) < 0 ${from(p)} AND (SELECT g FROM generate_series(1, 1 + ${bits("name", 1)}::int) g) > 5`,
  ],
  ["a cast's overflow", (p) => `SELECT 1 ${from(p)} AND (32767 + ${bits("name", 1)})::int2 < 0`],
  ["a pattern", (p) => `SELECT 1 ${from(p)} AND 'a' ~ CASE WHEN ${isSet("name", 1)} THEN '(' ELSE 'b' END`],
  [
    "a JSON text",
    (p) => `SELECT 1 ${from(p)} AND (CASE WHEN ${isSet("name", 1)} THEN '{' ELSE '1' END)::jsonb = '2'`,
  ],
];

/** An error that quotes a value from the client's own text reveals it: a dictionary in a comment. */
const QUOTES: readonly Named[] = [
  ["one letter", (p) => `SELECT substr(name, 1, 1)::int ${from(p)} /* A B */`],
  ["a dictionary", (p) => `SELECT left(name, 5)::int ${from(p)} /* ${words(5)} */`],
  ["a dictionary in a literal", (p) => `SELECT left(name, 4)::date, '${words(4)}' ${from(p)}`],
  ["a UUID", (p) => `SELECT left(name, 4)::uuid ${from(p)} /* ${words(4)} */`],
  [
    "a setting",
    (p) => `SELECT left(name, 4)::regclass ${from(p)} /* ${words(4).toLowerCase()} ${words(4)} */`,
  ],
];

function words(length: number): string {
  return Array.from({ length: 2 ** length }, (_, i) =>
    i.toString(2).padStart(length, "0").replaceAll("0", "A").replaceAll("1", "B"),
  ).join(" ");
}

const NOTICE_A = "plainto_tsquery('english', left('the' || c.name, (3 + n - n)::int))::text";
const NOTICE_B = "to_tsvector('simple', repeat('a', 3000 + n))::text";

const NOTICES: readonly Channel[] = [
  {
    name: "the order of notices",
    role: "agent",
    people: 4,
    steps: once(
      (
        people,
      ) => `SELECT 1 FROM customers c CROSS JOIN LATERAL generate_series(1, 32) g(n) WHERE c.${among(people)} AND
        CASE WHEN substr(c.name, n, 1) = 'B' THEN ${NOTICE_A} ELSE ${NOTICE_B} END IS NULL`,
    ),
  },
  {
    name: "the number of notices",
    role: "agent",
    people: 6,
    steps: each(
      (p) => `SELECT 1 FROM customers c CROSS JOIN LATERAL generate_series(1, ${bits("c.name", 6)}) g(n)
        WHERE c.id = ${p} AND ${NOTICE_A} IS NULL`,
    ),
  },
];

/** Rows that do not identify the people whose values they contain. */
const WIDE: readonly (readonly [name: string, people: number, sql: (people: readonly number[]) => string])[] =
  [
    [
      "a sum of many digits",
      40,
      (p) =>
        `SELECT sum((${DIGITS} || repeat('0', (33 * (id - ${p[0]}))::int))::numeric)::text FROM customers WHERE ${among(p)}`,
    ],
    [
      "a sum of powers",
      20,
      (p) =>
        `SELECT sum(${DIGITS}::numeric * 10::numeric ^ (33 * (id - ${p[0]}))) FROM customers WHERE ${among(p)}`,
    ],
    [
      "a product",
      20,
      (p) =>
        `SELECT round(exp(sum(ln(CASE WHEN ${isSet("name", 1)} THEN 10::numeric ^ (2 * 1) ELSE 1 END)))), ${p
          .map(
            (id) => `round(exp(sum(ln((1 + ${bits("name", 16)})::numeric)) FILTER (WHERE id = ${id}))) - 1`,
          )
          .join(", ")} FROM customers WHERE ${among(p)}`,
    ],
    [
      "count() FILTER, one bit in each column",
      10,
      (p) =>
        `SELECT ${p.flatMap((id) => [1, 2, 3, 4, 5, 6, 7, 8].map((bit) => `count(*) FILTER (WHERE id = ${id} AND ${isSet("name", bit)})`)).join(", ")} FROM customers WHERE ${among(p)}`,
    ],
    [
      "bool_or, one bit in each column",
      10,
      (p) =>
        `SELECT ${p.flatMap((id) => [1, 2, 3, 4, 5, 6, 7, 8].map((bit) => `bool_or(id = ${id} AND ${isSet("name", bit)})`)).join(", ")} FROM customers WHERE ${among(p)}`,
    ],
    [
      "max() FILTER, a name in each column",
      10,
      (p) =>
        `SELECT ${p.map((id) => `max(name) FILTER (WHERE id = ${id})`).join(", ")} FROM customers WHERE ${among(p)}`,
    ],
    [
      "bit_or",
      10,
      (p) =>
        `SELECT ${p.map((id) => `bit_or(CASE WHEN id = ${id} THEN ${bits("name")} ELSE 0 END)`).join(", ")} FROM customers WHERE ${among(p)}`,
    ],
    [
      "sum over a join",
      10,
      (p) =>
        `SELECT sum(${bits("c.name")} * f.k) FROM customers c JOIN (VALUES ${p.map((id, i) => `(${id}, 4294967296::numeric ^ ${i})`).join(", ")}) f(id, k) USING (id)`,
    ],
    [
      "HAVING and groups: names of a subset",
      10,
      (p) => `SELECT name FROM customers WHERE ${among(p)} GROUP BY name HAVING count(*) = 1 ORDER BY 1`,
    ],
    ["scalar subqueries", 4, (p) => `SELECT ${p.map((id) => `(SELECT name ${from(id)})`).join(", ")}`],
    [
      "scalar subqueries of letters beside a counted person",
      8,
      (p) =>
        `SELECT id, ${p.map((id) => `(SELECT ${bits("name")} ${from(id)})`).join(" || ' ' || ")} FROM customers WHERE id = 1`,
    ],
    ["a set operation", 10, (p) => `SELECT name FROM customers WHERE ${among(p)} UNION SELECT '' ORDER BY 1`],
    ["DISTINCT", 10, (p) => `SELECT DISTINCT left(name, 16) FROM customers WHERE ${among(p)} ORDER BY 1`],
    [
      "windows beside a counted person",
      6,
      (p) =>
        `SELECT * FROM (SELECT id, ${[1, 2, 3, 4].map((n) => `lead(name, ${n}) OVER (ORDER BY id)`).join(" || ")} AS s FROM customers WHERE id = 1 OR ${among(p)}) q WHERE id <= 20`,
    ],
    ["string_agg", 10, (p) => `SELECT string_agg(name, '' ORDER BY id) FROM customers WHERE ${among(p)}`],
    ["json_agg", 10, (p) => `SELECT json_agg(name ORDER BY id) FROM customers WHERE ${among(p)}`],
    ["ARRAY()", 10, (p) => `SELECT ARRAY(SELECT name FROM customers WHERE ${among(p)} ORDER BY id)`],
    [
      "a recursive query",
      5,
      (p) => `WITH RECURSIVE r(id, s) AS (SELECT ${p[0]}::bigint, ''::text UNION ALL
      SELECT r.id + 1, r.s || c.name FROM r JOIN customers c USING (id) WHERE r.id <= ${p.at(-1)}) SELECT s FROM r ORDER BY id DESC LIMIT 1`,
    ],
    [
      "min of concatenated levels",
      6,
      (p) =>
        `SELECT max(a.name || b.name) FROM customers a, customers b WHERE a.id = ${p[0]} AND b.id = ${p[1]}`,
    ],
  ];

const EMPTIES: readonly Named[] = [
  ["HAVING", (p) => `SELECT 1 ${from(p)} HAVING min(name) < 'B'`],
  ["EXISTS", (p) => `SELECT 1 WHERE EXISTS (SELECT ${from(p)} AND ${isSet("name", 1)})`],
  ["an aggregate's HAVING", (p) => `SELECT count(*) ${from(p)} HAVING bool_or(${isSet("name", 1)})`],
  [
    "a condition",
    (p) =>
      `SELECT 1 FROM customers WHERE id IN (1, ${p}) AND id = 1 AND EXISTS (SELECT ${from(p)} AND ${isSet("name", 1)})`,
  ],
];

/** The number in the tag, and the rows that a cursor skips. */
const MOVES: readonly Channel[] = [
  {
    name: "MOVE: a number made of the value",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 FROM customers c CROSS JOIN LATERAL generate_series(1, ${bits("c.name", 12)}) g(n) WHERE c.id = ${p}`,
      (sql) => queries("BEGIN", `DECLARE k CURSOR FOR ${sql}`, "MOVE ALL FROM k", "ROLLBACK"),
    ),
  },
  {
    name: "MOVE: how many have a bit",
    role: "agent",
    people: 12,
    steps: (p) =>
      [1, 2, 3].map((bit) =>
        queries(
          "BEGIN",
          `DECLARE k CURSOR FOR SELECT 1 FROM customers WHERE ${among(p)} AND ${isSet("name", bit)}`,
          "MOVE ALL FROM k",
          "ROLLBACK",
        ),
      ),
  },
  {
    name: "FETCH ABSOLUTE past rows that are not shown",
    role: "agent",
    people: 4,
    steps: each(
      (
        p,
      ) => `SELECT c.id FROM customers c, generate_series(1, CASE WHEN c.id = ${p} THEN ${bits("c.name", 6)} ELSE 1 END) g
        WHERE c.id IN (1, ${p}) ORDER BY c.id DESC`,
      (sql) =>
        queries(
          "BEGIN",
          `DECLARE k SCROLL CURSOR FOR ${sql}`,
          "FETCH LAST FROM k",
          "MOVE BACKWARD ALL FROM k",
          "ROLLBACK",
        ),
    ),
    before: () => ["SELECT name FROM customers WHERE id = 1"],
  },
  {
    name: "an error in a cursor",
    role: "agent",
    people: 4,
    steps: each(
      (p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}`,
      (sql) => queries("BEGIN", `DECLARE k CURSOR FOR ${sql}`, "FETCH 1 FROM k", "ROLLBACK"),
    ),
  },
  {
    name: "an error in EXECUTE",
    role: "agent",
    people: 4,
    steps: each(
      (p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}`,
      (sql) => queries(`PREPARE k AS ${sql}`, "EXECUTE k", "DEALLOCATE k"),
    ),
  },
  {
    name: "an error in the extended protocol",
    role: "agent",
    people: 4,
    steps: each((p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}`, extended),
  },
];

const TAGS: readonly Channel[] = [
  {
    name: "the tag of a rolled-back UPDATE … FROM",
    role: "agent",
    people: 12,
    steps: (p) =>
      [1, 2, 3].map((bit) =>
        queries(
          "BEGIN",
          `UPDATE tickets SET status = status FROM customers c WHERE c.id = tickets.customer_id AND ${isSet("c.name", bit)} AND c.${among(p)}`,
          "ROLLBACK",
        ),
      ),
  },
  {
    name: "the tag of an UPDATE that asks for one",
    role: "agent",
    people: 6,
    steps: each(
      (p) =>
        `UPDATE tickets SET status = status WHERE id = ${p} AND EXISTS (SELECT ${from(p)} AND ${isSet("name", 1)})`,
    ),
  },
  {
    name: "the tag of COPY",
    role: "agent",
    people: 6,
    steps: each((p) => `COPY (SELECT ${from(p)} AND ${isSet("name", 1)}) TO STDOUT`),
  },
  {
    name: "tickets that the reader assigns to themselves",
    role: "agent",
    people: 4,
    steps: each(
      (p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("subject")}) FROM tickets WHERE id = ${p}`,
      (sql) => {
        const [id] = /\d+$/.exec(sql) ?? [];
        return queries("BEGIN", `UPDATE tickets SET assignee = 'anna' WHERE id = ${id}`, sql, "ROLLBACK");
      },
    ),
  },
  {
    name: "a CHECK that joins a seen column with a masked one",
    role: "agent",
    people: 4,
    steps: each(
      (p) => `UPDATE credit SET wish = 2048 WHERE id = ${p}`,
      (sql) => queries("BEGIN", sql, "ROLLBACK"),
    ),
  },
  {
    name: "whether a transaction got a number",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `UPDATE tickets SET status = status WHERE id = ${p} AND EXISTS (SELECT ${from(p)} AND ${isSet("name", 1)})`,
      (sql) => queries("BEGIN", sql, "SELECT pg_current_xact_id_if_assigned() IS NULL", "ROLLBACK"),
    ),
  },
];

const LOCKS =
  "SELECT page, tuple FROM pg_locks l JOIN pg_class c ON c.oid = relation WHERE mode = 'SIReadLock' AND relname = 'marks' AND pid = pg_backend_pid() ORDER BY 1, 2";
const REGISTER = `SELECT 1 FROM customers c, notes n WHERE c.id = n.id AND ${isSet("c.name", 1)} HAVING count(*) > 0`;
/** One person, but not by their key: they are not counted before the statement runs. */
const unpinned = (person: number): string => `FROM customers WHERE id BETWEEN ${person} AND ${person}`;

/** System views that each read a different table. */
const LOCKABLE = ["pg_policies", "pg_stats", "pg_group", "pg_user_mappings"];

/** Traces of an execution that can be read later. */
const ELSEWHERE: readonly Channel[] = [
  {
    name: "EXPLAIN ANALYZE of a table that is not masked",
    role: "lead",
    people: 4,
    steps: each(
      (p) =>
        `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF, BUFFERS OFF) SELECT (SELECT sum(1) FROM generate_series(1, ${bits("subject", 8)})) FROM tickets WHERE id = ${p}`,
    ),
  },
  {
    name: "setseed and random",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 ${unpinned(p)} AND (SELECT sum(random()) FROM generate_series(1, ${bits("name", 8)})) < 0`,
      (sql) => queries("SELECT setseed(0.5)", sql, "SELECT random()"),
    ),
  },
  {
    name: "a sequence",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 ${unpinned(p)} AND (SELECT sum(nextval('numbers')) FROM generate_series(1, ${bits("name", 8)})) < 0`,
      (sql) => queries(sql, "SELECT last_value FROM numbers"),
    ),
  },
  {
    name: "advisory locks",
    role: "agent",
    people: 4,
    steps: each(
      (p) => `SELECT pg_try_advisory_lock(1000000 + ${bits("name", 8)}) ${unpinned(p)}`,
      (sql) =>
        queries(
          sql,
          "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
          "SELECT pg_advisory_unlock_all()",
        ),
    ),
  },
  {
    name: "locks that catalog functions keep",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 ${unpinned(p)} AND concat(${LOCKABLE.map(
          (view, i) => `CASE WHEN ${isSet("name", i + 1)} THEN pg_get_viewdef('${view}'::regclass) END`,
        ).join(", ")}) = 'x'`,
      (sql) =>
        queries(
          "BEGIN",
          sql,
          "SELECT relation::regclass FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' ORDER BY 1",
          "ROLLBACK",
        ),
    ),
  },
  {
    name: "the session's own counters",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 ${unpinned(p)} AND (SELECT count(*) FROM marks WHERE marks.id <= ${bits("customers.name", 8)} AND marks.id > 0) < 0`,
      (sql) =>
        queries(
          "BEGIN",
          "SET LOCAL enable_seqscan = off",
          sql,
          "SELECT seq_tup_read, idx_tup_fetch, idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'marks'",
          "ROLLBACK",
        ),
    ),
  },
  {
    name: "which row a serializable transaction has read",
    role: "agent",
    people: 4,
    steps: each(
      (p) =>
        `SELECT 1 ${unpinned(p)} AND (SELECT k.id FROM marks k WHERE k.id = 1 + ${bits("customers.name", 8)} OFFSET 0) < 0`,
      (sql) =>
        queries(
          "BEGIN ISOLATION LEVEL SERIALIZABLE",
          "SET LOCAL enable_seqscan = off",
          "SET LOCAL enable_bitmapscan = off",
          sql,
          LOCKS,
          "ROLLBACK",
        ),
    ),
  },
  {
    name: "the same question, which is about whomever a row of the reader's own names",
    role: "agent",
    people: 12,
    before: () => ["UPDATE notes SET id = 5", REGISTER, REGISTER],
    steps: each(
      (p) => `UPDATE notes SET id = ${p}`,
      (sql) => queries(sql, REGISTER),
    ),
  },
  {
    name: "EXPLAIN ANALYZE: many plans in one",
    role: "lead",
    people: 4,
    steps: each((p) => {
      const plans = [1, 9, 17, 25].map(
        (at) => `(SELECT sum(1) FROM generate_series(1, ${bits("subject", 8, at)}))`,
      );
      return `EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, COSTS OFF, BUFFERS OFF) SELECT ${plans.join(", ")} FROM tickets WHERE id = ${p}`;
    }),
  },
  {
    name: "which rows a serializable transaction has read, of two people",
    role: "agent",
    // If more than two rows of a page are read, Postgres locks the page (max_pred_locks_per_page).
    people: 2,
    steps: (p) => [
      queries(
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "SET LOCAL enable_seqscan = off",
        "SET LOCAL enable_bitmapscan = off",
        `SELECT 1 FROM customers WHERE ${among(p)} AND (SELECT k.id FROM marks k
          WHERE k.id = 32 * (customers.id - ${(p[0] ?? 0) - 1}) + ${bits("customers.name", 5)} OFFSET 0) < 0`,
        LOCKS,
        "ROLLBACK",
      ),
    ],
  },
];

/** Rows of counted people that carry data about others; and refusals. */
const COUNTED: readonly Channel[] = [
  {
    name: "which of two rows OFFSET leaves, where the other is counted",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) =>
        `SELECT id FROM customers WHERE id IN (7, ${p}) ORDER BY CASE WHEN id = ${p} THEN ascii(name) ELSE 65.5 END LIMIT CASE WHEN (SELECT ${bits("name", 1)} ${from(p)}) = 0 THEN 1 ELSE 0 END OFFSET 1`,
    ),
  },
  {
    name: "a CASE over somebody else, passed over by OFFSET",
    role: "agent",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) => `SELECT c.id, g FROM customers c, generate_series(1, 80) g WHERE c.id IN (7, ${p})
        AND g <= CASE WHEN c.id = ${p} THEN ${bits("c.name", 6)} ELSE 80 END ORDER BY c.id DESC, g OFFSET 63 LIMIT 2`,
    ),
  },
  {
    name: "a row of a counted person chosen by somebody else's value",
    role: "agent",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id BETWEEN 1 AND 17"],
    steps: each(
      (p) =>
        `SELECT a.id FROM customers a WHERE a.id BETWEEN 1 AND 16 AND EXISTS (SELECT FROM customers p WHERE p.id = ${p} AND a.id = 1 + ${bits("p.name", 4)})`,
    ),
  },
  {
    name: "DISTINCT ON: the row of a counted person stands before somebody else's or not",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) =>
        `SELECT DISTINCT ON (id > 0) id FROM customers WHERE id IN (7, ${p}) ORDER BY id > 0, CASE WHEN id = ${p} THEN ascii(name) ELSE 65.5 END DESC`,
    ),
  },
  {
    name: "ties: a counted person's rank among others",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) =>
        `SELECT id, rank() OVER (ORDER BY CASE WHEN id = ${p} THEN ascii(name) ELSE 65.5 END) FROM customers WHERE id IN (7, ${p}) ORDER BY id LIMIT 1`,
    ),
  },
  {
    name: "a refusal, where the budget is used up",
    role: "tight",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id BETWEEN 7 AND 9"],
    steps: each(
      (p) =>
        `SELECT id FROM customers WHERE id IN (7, ${p}) AND (id = 7 OR ${isSet("name", 1)}) ORDER BY id LIMIT 2`,
    ),
  },
  {
    name: "errors, where the budget is used up",
    role: "tight",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id BETWEEN 7 AND 9"],
    steps: each((p) => `SELECT get_bit('\\x00'::bytea, ${BIG} + ${bits("name")}) ${from(p)}`),
  },
  {
    name: "a row of a counted person and a join that leaves somebody out",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) =>
        `SELECT c.id, d.id FROM customers c LEFT JOIN customers d ON d.id = ${p} AND ${isSet("d.name", 1)} WHERE c.id = 7 AND d.id IS NULL`,
    ),
  },
];

const BESIDE: readonly Channel[] = [
  {
    name: "EXCEPT of somebody else's bit, beside a counted person",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) => `SELECT id FROM customers WHERE id = 7 EXCEPT SELECT 7 ${from(p)} AND ${isSet("name", 1)}`,
    ),
  },
  {
    name: "how many rows a counted person stands beside",
    role: "agent",
    people: 6,
    before: () => ["SELECT name FROM customers WHERE id = 7"],
    steps: each(
      (p) =>
        `SELECT id, count(*) OVER () FROM customers WHERE id = 7 OR id = ${p} AND ${isSet("name", 1)} ORDER BY id LIMIT 1`,
    ),
  },
  {
    name: "how many rows of a counted person come before an error",
    role: "unlimited",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id = 1"],
    steps: each(
      (p) => `SELECT c.id FROM generate_series(1, 4096) g LEFT JOIN customers c ON c.id IN (1, ${p})
        AND CASE WHEN c.id = ${p} THEN 1 / (g - ${bits("c.name", 12)}) < -5 ELSE true END`,
    ),
  },
];

/** Binds a statement without executing it. */
function bound(sql: string): Sent {
  return { messages: [parseMessage("", Buffer.from(sql)), bindMessage("", ""), syncMessage], ready: 1 };
}

/** A row of another person that is too long to pass, after a number of rows of a counted person. */
const behindCounted =
  (length: number) =>
  (person: number): string =>
    `SELECT c.id, CASE WHEN c.id = ${person} THEN repeat('x', ${length}) END FROM customers c, generate_series(0, 63) g
      WHERE c.id = 1 OR c.id = ${person} AND g = ${bits("c.name", 6)} ORDER BY g, c.id`;

/** Results that stop at a row that is not shown. */
const STOPS: readonly Channel[] = [
  {
    name: "a row past the limit of bytes",
    role: "agent",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id = 1"],
    steps: each(behindCounted(300_000)),
  },
  {
    name: "a row at which a result is truncated",
    role: "short",
    people: 4,
    before: () => ["SELECT name FROM customers WHERE id = 1"],
    steps: each(behindCounted(300_000)),
  },
  {
    name: "a row for which a budget of bytes has no room",
    role: "short",
    people: 4,
    before: () => ["SELECT repeat('x', 200000) FROM customers WHERE id = 1"],
    steps: each(behindCounted(200_000)),
  },
];

const EXPECTED = `SELECT g, repeat('x', CASE WHEN ${isSet("max(c.name)", 1)} THEN 300000 ELSE 0 END)
  FROM customers c, notes n, generate_series(1, 90) g WHERE c.id = n.id GROUP BY g ORDER BY g`;

const INSTEAD: readonly Channel[] = [
  {
    name: "an answer that was expected, or a row past the limit of bytes in its place",
    role: "agent",
    people: 12,
    // The answer for customer 1, whose name begins with A, is complete, and so it is remembered.
    before: () => ["UPDATE notes SET id = 1", EXPECTED, EXPECTED],
    steps: each(
      (p) => `UPDATE notes SET id = ${p}`,
      (sql) => queries(sql, EXPECTED),
    ),
  },
];

/** Statements that name nothing protected, or fetch no row. */
const BENEATH: readonly Channel[] = [
  {
    name: "groups of a view whose rows a protected column chooses",
    role: "lead",
    people: 0,
    steps: () => [
      query("SELECT id % 8, count(*) FROM angry_tickets GROUP BY 1 ORDER BY 1"),
      query("SELECT DISTINCT status FROM angry_tickets WHERE id % 60 = 21 ORDER BY 1"),
    ],
  },
  {
    name: "a Bind that fails on a value that ANALYZE has stored",
    role: "lead",
    people: 0,
    steps: () => ["ABABABAB", "BBABAABA"].map((name) => bound(beginsWith(name))),
  },
  {
    name: "a DECLARE that fails on a value that ANALYZE has stored",
    role: "lead",
    people: 0,
    steps: () => [queries("BEGIN", `DECLARE k CURSOR FOR ${beginsWith("BABAABAB")}`, "ROLLBACK")],
  },
];

/** The planner evaluates it on stored values of the column. The end of the pattern is only found to be wrong if its beginning matches. */
function beginsWith(letters: string): string {
  return `SELECT 1 FROM ticket_messages WHERE body LIKE '${letters}%\\'`;
}

/** Guesses that are right in some of the worlds. */
const LOOKUPS: readonly Channel[] = [
  {
    name: "a lookup that is answered by an error",
    role: "agent",
    people: 20,
    steps: (p) => [
      query(
        `SELECT get_bit('\\x00'::bytea, ${BIG} + id) FROM customers WHERE phone IN (${p.map((id, world) => `'${plantedText(world, "phone", id)}'`).join(", ")})`,
      ),
    ],
  },
  {
    name: "a lookup that is answered by a key",
    role: "agent",
    people: 20,
    steps: (p) =>
      p
        .slice(0, 4)
        .map((id, world) =>
          queries(
            "BEGIN",
            `INSERT INTO customers (id, name, email, country, created_at) VALUES (${900_000 + id}, 'x', '${plantedText(world, "email", id)}.${id}@example.com', 'x', '2024-01-01')`,
            "ROLLBACK",
          ),
        ),
  },
];

const errors = ([name, sql]: Named): Channel => ({
  name: `errors: ${name}`,
  role: "agent",
  people: 4,
  steps: each(sql),
});

/** All of them. */
export const CHANNELS: readonly Channel[] = [
  ...FIGURES.map(errors),
  ...STATES.map(errors),
  ...QUOTES.map(errors),
  ...NOTICES,
  ...WIDE.map(
    ([name, people, sql]): Channel => ({ name: `wide: ${name}`, role: "agent", people, steps: once(sql) }),
  ),
  ...EMPTIES.map(
    ([name, sql]): Channel => ({ name: `nothing: ${name}`, role: "agent", people: 6, steps: each(sql) }),
  ),
  ...MOVES,
  ...TAGS,
  ...ELSEWHERE,
  ...COUNTED,
  ...BESIDE,
  ...STOPS,
  ...INSTEAD,
  ...BENEATH,
  ...LOOKUPS,
];
