import { createHmac } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { maskSql } from "../../proxy/policy/masks/all.ts";
import type { MaskedType } from "../../proxy/policy/masks/mask.ts";
import type { Mask } from "../../proxy/policy/policy.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";

/*
 * Masks run where they will be used: in a real Postgres, under a search_path whose first schema contains impostors of
 * the functions, operators and types that masks use.
 */

const KEY = Buffer.from("0123456789abcdef0123456789abcdef");

const TYPES = {
  text: { sql: "text", category: "S", name: "text" },
  varchar: { sql: "character varying(30)", category: "S", name: "varchar" },
  char: { sql: "character(30)", category: "S", name: "bpchar" },
  name: { sql: "name", category: "S", name: "name" },
  int2: { sql: "smallint", category: "N", name: "int2" },
  int4: { sql: "integer", category: "N", name: "int4" },
  int8: { sql: "bigint", category: "N", name: "int8" },
  numeric: { sql: "numeric", category: "N", name: "numeric" },
  price: { sql: "numeric(5,2)", category: "N", name: "numeric" },
  float4: { sql: "real", category: "N", name: "float4" },
  float8: { sql: "double precision", category: "N", name: "float8" },
  date: { sql: "date", category: "D", name: "date" },
  timestamp: { sql: "timestamp without time zone", category: "D", name: "timestamp" },
  timestamptz: { sql: "timestamp(3) with time zone", category: "D", name: "timestamptz" },
  uuid: { sql: "uuid", category: "U", name: "uuid" },
  jsonb: { sql: "jsonb", category: "U", name: "jsonb" },
  array: { sql: "text[]", category: "A", name: "_text" },
} as const satisfies Record<string, MaskedType>;

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase("masks");
  await database.query(`
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.left(text, int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
    CREATE FUNCTION evil.repeat(text, int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''evil''';
    CREATE FUNCTION evil.char_length(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';
    CREATE FUNCTION evil.add(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''evil''';
    CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.add);
    CREATE DOMAIN evil.text AS pg_catalog.text;
    CREATE DOMAIN evil.date AS pg_catalog.date;
    CREATE DOMAIN evil.uuid AS pg_catalog.uuid;
    CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb;
    SET search_path = evil, pg_catalog;
  `);
});

afterAll(() => database?.drop());

function made(mask: Mask, type: MaskedType, column = "c"): string {
  const result = maskSql(mask, column, type, KEY);
  if (!result.ok) throw new Error(result.problem);
  return result.sql;
}

/** Masked values as text, for values given as text. */
async function masked(
  mask: Mask,
  type: MaskedType,
  values: readonly (string | null)[],
): Promise<readonly (string | null)[]> {
  const { rows } = await database.query<{ m: string | null }>(
    `SELECT (${made(mask, type)})::pg_catalog.text AS m
       FROM (SELECT v::${type.sql.includes(" ") ? type.sql : `pg_catalog.${plain(type)}`} AS c, n
               FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS t(v, n)) s ORDER BY n`,
    [values],
  );
  return rows.map(({ m }) => m);
}

function plain(type: MaskedType): string {
  return type.name === "_text" ? "text[]" : `${type.name}${/\(.*\)/.exec(type.sql)?.[0] ?? ""}`;
}

test("each mask gives the documented result", async () => {
  const cases: readonly [Mask, MaskedType, readonly [string, string | null][]][] = [
    [{ kind: "null" }, TYPES.text, [["Alice", null]]],
    [
      { kind: "constant", value: "[redacted]" },
      TYPES.text,
      [
        ["Alice", "[redacted]"],
        ["", "[redacted]"],
      ],
    ],
    [{ kind: "constant", value: "it's a \\ 'quote'" }, TYPES.text, [["Alice", "it's a \\ 'quote'"]]],
    [
      { kind: "initials" },
      TYPES.text,
      [
        ["Alice Ng", "A. N."],
        ["  Ana  María de la Cruz ", "A. M. d. l."],
        ["王小明", "王."],
        ["", ""],
      ],
    ],
    [
      { kind: "email" },
      TYPES.text,
      [
        ["alice@example.com", "a***@example.com"],
        ["a@example.com", "***@example.com"],
        ["@example.com", "[redacted]"],
        [" @example.com", "[redacted]"],
        ["@ @example.com", "[redacted]"],
        ['"a@b"@example.com', '"***@example.com'],
        ["alice", "[redacted]"],
        ["alice@", "[redacted]"],
        ["alice@example.com, call +1 555", "[redacted]"],
        ["", "[redacted]"],
      ],
    ],
    [
      { kind: "last", count: 2 },
      TYPES.text,
      [
        ["+1 555 0100", "*********00"],
        ["00", "**"],
        ["0", "*"],
        ["", ""],
      ],
    ],
    [
      { kind: "first", count: 3 },
      TYPES.varchar,
      [
        ["SW1A 2AA", "SW1*****"],
        ["SW1", "***"],
        ["S", "*"],
      ],
    ],
    [
      { kind: "last", count: 4 },
      TYPES.char,
      [["4111111111111111", `************1111${" ".repeat(14)}`.trimEnd()]],
    ],
    [
      { kind: "round", to: 10 },
      TYPES.int4,
      [
        ["47", "50"],
        ["44", "40"],
        ["-47", "-50"],
        ["0", "0"],
      ],
    ],
    [
      { kind: "round", to: 0.5 },
      TYPES.numeric,
      [
        ["1.26", "1.5"],
        ["NaN", "NaN"],
      ],
    ],
    [
      { kind: "round", to: 100 },
      TYPES.float8,
      [
        ["149.9", "100"],
        ["-150.1", "-200"],
      ],
    ],
    [{ kind: "truncate", to: "year" }, TYPES.date, [["1984-07-19", "1984-01-01"]]],
    [{ kind: "truncate", to: "month" }, TYPES.timestamp, [["1984-07-19 12:34:56.7", "1984-07-01 00:00:00"]]],
    [{ kind: "sql", expression: "left(value, 3) || 'value'" }, TYPES.text, [["secret", "secvalue"]]],
  ];
  await database.query("SET search_path = pg_catalog");
  for (const [mask, type, pairs] of cases) {
    const results = await masked(
      mask,
      type,
      pairs.map(([value]) => value),
    );
    expect.soft(results, JSON.stringify(mask)).toEqual(pairs.map(([, result]) => result));
  }
});

test("impostors of functions, operators and types that come first in the search path have no effect", async () => {
  await database.query("SET search_path = evil, pg_catalog");
  expect(await masked({ kind: "email" }, TYPES.text, ["alice@example.com"])).toEqual(["a***@example.com"]);
  expect(await masked({ kind: "last", count: 2 }, TYPES.text, ["+1 555 0100"])).toEqual(["*********00"]);
  const typed = await database.query<{ t: string }>(
    `SELECT pg_catalog.pg_typeof(${made({ kind: "truncate", to: "year" }, TYPES.date)})::pg_catalog.oid::pg_catalog.int4 AS t
       FROM (SELECT '2020-02-02'::pg_catalog.date AS c) s`,
  );
  expect(typed.rows).toEqual([{ t: 1082 }]);
});

/** Masks that fit a type, and random values of it. */
const FITTING: readonly [MaskedType, readonly Mask[], fc.Arbitrary<string>][] = [
  ...[TYPES.text, TYPES.varchar, TYPES.char].map(
    (type) =>
      [
        type,
        [
          { kind: "null" },
          { kind: "constant", value: "[redacted]" },
          { kind: "email" },
          { kind: "first", count: 2 },
          { kind: "last", count: 2 },
          { kind: "token", prefix: "t_" },
        ],
        fc.oneof(
          fc.string({ unit: "grapheme", minLength: 3, maxLength: 12 }),
          fc.emailAddress().filter((address) => address.length <= 30),
          fc.stringMatching(/^[a-z@. \\'%*_-]{3,20}$/),
        ),
      ] as [MaskedType, readonly Mask[], fc.Arbitrary<string>],
  ),
  [TYPES.text, [{ kind: "hash" }, { kind: "initials" }], fc.stringMatching(/^[a-z]{2,9}( [a-z]{2,9}){0,3}$/)],
  [
    TYPES.int2,
    [{ kind: "null" }, { kind: "round", to: 1000 }],
    fc.integer({ min: -32_768, max: 32_767 }).map(String),
  ],
  [TYPES.int4, [{ kind: "round", to: 10 }], fc.integer().map(String)],
  [
    TYPES.int8,
    [
      { kind: "round", to: 1000 },
      { kind: "token", prefix: "" },
    ],
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
  ],
  [TYPES.numeric, [{ kind: "round", to: 25 }], fc.integer().map((n) => `${n}.37`)],
  [
    TYPES.price,
    [{ kind: "round", to: 10 }],
    fc.integer({ min: -99_999, max: 99_999 }).map((n) => (n / 100).toFixed(2)),
  ],
  [
    TYPES.float4,
    [{ kind: "round", to: 10 }],
    fc.float({ noNaN: false }).map((n) => (Object.is(n, -0) ? "0" : String(n))),
  ],
  [
    TYPES.float8,
    [{ kind: "round", to: 10 }],
    fc.double({ noNaN: false }).map((n) => (Object.is(n, -0) ? "0" : String(n))),
  ],
  [TYPES.uuid, [{ kind: "null" }, { kind: "token", prefix: "u" }], fc.uuid()],
  [
    TYPES.date,
    [
      { kind: "truncate", to: "year" },
      { kind: "truncate", to: "month" },
    ],
    fc.constantFrom(
      "1984-07-19",
      "2024-02-29",
      "infinity",
      "-infinity",
      "5874897-12-31",
      "4714-11-24 BC",
      "0001-01-02",
    ),
  ],
  [
    TYPES.timestamptz,
    [
      { kind: "truncate", to: "year" },
      { kind: "truncate", to: "month" },
    ],
    fc.constantFrom(
      "1984-07-19 01:02:03+05",
      "infinity",
      "-infinity",
      "294276-12-31 23:59:59+00",
      "4714-11-24 00:00 BC",
    ),
  ],
  [
    TYPES.jsonb,
    [{ kind: "null" }],
    fc.json().filter((text) => !text.includes("\\u0000") && /[^\d]/.test(text)),
  ],
  [TYPES.array, [{ kind: "null" }], fc.constantFrom("{a,b}", "{secret}")],
];

const VISIBLE_AS_IS = new Set(["round", "truncate"]);

test("no mask fails on any value, none shows it, and NULL stays NULL", async () => {
  await database.query("SET search_path = pg_catalog");
  for (const [type, masks, values] of FITTING) {
    // The server accepts no unpaired surrogate and no zero byte; neither is text for it.
    const sample = fc
      .sample(values, 60)
      .filter((value) => !value.includes("\0") && Buffer.from(value).toString() === value);
    for (const mask of masks) {
      const results = await masked(mask, type, [null, ...sample]);
      expect(results[0], `${mask.kind} of NULL as ${type.sql}`).toBeNull();
      if (VISIBLE_AS_IS.has(mask.kind)) continue;
      sample.forEach((value, i) => {
        const inner = value.trim();
        // A mask may show up to two characters, however many UTF-16 code units they are.
        if ([...inner].length < 3) return;
        // A value that contains stars can look like its mask.
        if (inner.includes("*")) return;
        expect(results[i + 1] ?? "", `${mask.kind} of "${value}" as ${type.sql}`).not.toContain(inner);
      });
    }
  }
});

test("a rounded value never leaves the range of its type, and is a multiple", async () => {
  expect(await masked({ kind: "round", to: 10 }, TYPES.int4, ["2147483647", "-2147483648"])).toEqual([
    "2147483640",
    "-2147483640",
  ]);
  expect(await masked({ kind: "round", to: 10 }, TYPES.price, ["999.99", "-999.99"])).toEqual([
    "990.00",
    "-990.00",
  ]);
  expect(
    await masked({ kind: "round", to: 10 }, TYPES.float8, ["1.7976931348623157e308", "Infinity"]),
  ).toEqual([null, null]);
});

test("a mask keeps the column's exact type and modifier", async () => {
  for (const [type, masks] of FITTING) {
    for (const mask of masks) {
      const { fields } = await database.query(
        `SELECT (${made(mask, type)}) AS m, NULL::${type.sql} AS c FROM (SELECT NULL::${type.sql} AS c) s`,
      );
      const [m, c] = fields;
      expect([m?.dataTypeID, m?.dataTypeModifier], `${mask.kind} as ${type.sql}`).toEqual([
        c?.dataTypeID,
        c?.dataTypeModifier,
      ]);
    }
  }
});

test("an index on another column can be used through every mask", async () => {
  await database.query("SET search_path = public");
  await database.query(`CREATE TABLE person (id int PRIMARY KEY, c text, d timestamptz);
    INSERT INTO person SELECT i, 'person' || i || '@example.com', now() FROM generate_series(1, 5000) i; ANALYZE person`);
  const masks: readonly [Mask, MaskedType, string][] = [
    [{ kind: "initials" }, TYPES.text, "c"],
    [{ kind: "email" }, TYPES.text, "c"],
    [{ kind: "last", count: 2 }, TYPES.text, "c"],
    [{ kind: "hash" }, TYPES.text, "c"],
    [{ kind: "token", prefix: "t_" }, TYPES.text, "c"],
    [{ kind: "truncate", to: "month" }, TYPES.timestamptz, "d"],
  ];
  for (const [mask, type, column] of masks) {
    const inner = `SELECT id, ${made(mask, type, `"${column}"`)} AS m FROM public.person`;
    const { rows } = await database.query<{ "QUERY PLAN": string }>(
      `EXPLAIN (COSTS off) SELECT p.m FROM (${inner}) p JOIN public.person q ON q.id = p.id WHERE p.id = 7`,
    );
    const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
    expect(plan, mask.kind).not.toContain("Seq Scan");
    expect(plan, mask.kind).not.toContain("Subquery Scan");
  }
});

test("equal values have equal tokens, other prefixes and keys give others, and a token is HMAC-SHA-256", async () => {
  const token: Mask = { kind: "token", prefix: "cust_" };
  const [first, again, other] = await masked(token, TYPES.text, [
    "alice@example.com",
    "alice@example.com",
    "bob@example.com",
  ]);
  expect(first).toBe(again);
  expect(first).not.toBe(other);
  expect(first).toMatch(/^cust_[0-9a-f]{16}$/);
  const inner = createHmac("sha256", KEY).update("sluice token mask\0cust_").digest();
  const expected = createHmac("sha256", inner).update("alice@example.com").digest("hex").slice(0, 16);
  expect(first).toBe(`cust_${expected}`);
  const [elsewhere] = await masked({ kind: "token", prefix: "user_" }, TYPES.text, ["alice@example.com"]);
  expect(elsewhere?.slice(5)).not.toBe(first?.slice(5));
});

test("the month of a timestamp does not change with the session's time zone", async () => {
  const month: Mask = { kind: "truncate", to: "month" };
  const query = `SELECT extract(epoch FROM ${made(month, TYPES.timestamptz)})::text AS e FROM (SELECT '2024-01-31 23:30+00'::timestamptz(3) AS c) s`;
  const seen = new Set<string | undefined>();
  for (const zone of ["UTC", "Asia/Tokyo", "America/New_York"]) {
    await database.query(`SET TimeZone = '${zone}'`);
    seen.add((await database.query<{ e: string }>(query)).rows[0]?.e);
  }
  await database.query("SET TimeZone = 'UTC'");
  expect(seen.size).toBe(1);
});

test("text masks work on a column with a nondeterministic collation, and keep its collation", async () => {
  await database.query("SET search_path = public");
  await database.query(`CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE folded (c text COLLATE nocase); INSERT INTO folded VALUES ('Alice@Example.com')`);
  const type: MaskedType = { ...TYPES.text, collation: '"public"."nocase"' };
  for (const mask of [
    { kind: "initials" },
    { kind: "email" },
    { kind: "last", count: 3 },
    { kind: "token", prefix: "" },
  ] as const) {
    const { rows } = await database.query<{ m: string; k: string }>(
      `SELECT m, pg_catalog.pg_collation_for(m) AS k FROM (SELECT ${made(mask, type)} AS m FROM folded) s`,
    );
    expect(rows[0]?.m).not.toContain("lice");
    expect(rows[0]?.k).toContain("nocase");
  }
});

test("a mask that cannot keep a column's type says why", () => {
  const problem = (mask: Mask, type: MaskedType, key: Buffer | undefined = KEY) => {
    const result = maskSql(mask, "c", type, key);
    return result.ok ? undefined : result.problem;
  };
  const refused: readonly [Mask, MaskedType][] = [
    [{ kind: "constant", value: "x" }, TYPES.int4],
    [{ kind: "constant", value: "x" }, TYPES.array],
    [{ kind: "email" }, TYPES.jsonb],
    [{ kind: "hash" }, TYPES.uuid],
    [{ kind: "hash" }, TYPES.varchar],
    [{ kind: "token", prefix: "" }, TYPES.int4],
    [
      { kind: "token", prefix: "a_long_prefix_" },
      { ...TYPES.varchar, sql: "character varying(20)" },
    ],
    [{ kind: "round", to: 10 }, TYPES.text],
    [{ kind: "round", to: 1 }, TYPES.int4],
    [{ kind: "round", to: 0.01 }, TYPES.price],
    [{ kind: "truncate", to: "year" }, TYPES.text],
    [{ kind: "initials" }, { sql: "public.mood", category: "E", name: "other" }],
  ];
  for (const [mask, type] of refused)
    expect.soft(problem(mask, type), `${mask.kind} as ${type.sql}`).toBeTypeOf("string");
  expect(maskSql({ kind: "token", prefix: "" }, "c", TYPES.text, undefined).ok).toBe(false);
});
