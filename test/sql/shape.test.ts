import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import { normalise, withParameters } from "../../proxy/sql/normalise.ts";
import { plainTokens } from "../../proxy/sql/parse/plain-tokens.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { isShareable, shapeOf } from "../../proxy/sql/shape.ts";
import { survey } from "../../proxy/sql/survey.ts";
import { readCorpus } from "./corpus.ts";
import { type Judged, openJudged } from "./judged.ts";

let judge: Judged;
let app: Scope;
beforeAll(async () => {
  judge = await openJudged();
  app = judge.scope("helpdesk_app");
});
afterAll(() => judge.close());

/** Statements with literals in positions of every kind. */
const STATEMENTS = [
  "SELECT abalance FROM pgbench_accounts WHERE aid = 1;",
  "SELECT * FROM customers WHERE id = 7 AND name = 'it''s' AND id <> -3 LIMIT 10 OFFSET 5",
  "select c.id, 'x' as \"odd name\" from customers c join tickets t on t.customer_id = c.id order by 1, 2 desc",
  "SELECT name, count(*) FROM customers GROUP BY 1 HAVING count(*) > 5.5",
  "WITH a AS (SELECT 1 AS n), b AS (SELECT n + 2 FROM a) SELECT * FROM a, b WHERE n IN (1, 2, 3)",
  "INSERT INTO tickets (id, subject) VALUES (1, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET subject = 'c'",
  "UPDATE customers SET name = 'Ada', phone = NULL WHERE id = 12345678901 RETURNING id",
  "DELETE FROM tickets WHERE created_at < now() - interval '1 day' AND subject LIKE 'a%' ESCAPE '!'",
  "SELECT CAST('5' AS numeric(10, 2)), '1'::varchar(5), interval '1' day, interval(3) '2', date '2024-01-01'",
  "SELECT CAST(id AS float(20)), float '1.5' FROM customers",
  "SELECT * FROM customers TABLESAMPLE bernoulli (10) REPEATABLE (1) FETCH FIRST 3 ROWS ONLY",
  "SELECT set_config('search_path', 'evil', false), pg_sleep(1), extract('year' from created_at) FROM customers",
  "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a int PATH '$', b text PATH '$.b')) j, customers",
  "SELECT xmlelement(name a, 'x'), json_value('{}', '$.a' DEFAULT 5 ON EMPTY), a[1:2] FROM customers, tickets",
  "SELECT $1 + 5, $2 FROM customers WHERE id = 3 AND name = $3",
  "VALUES (1, 'a'), (2, 'b')",
  "SELECT 1 INTO evidence FROM customers",
  "SELECT name FROM customers WHERE id = 1 FOR UPDATE",
  "SELECT name AS ämter, 'Köln', E'a\\'b' FROM customers WHERE phone = E'\\\\' AND name = '\\'",
];

const literal = {
  string: fc.string({ unit: fc.constantFrom(..."abc 'A%_,;()$1-/*é語\\".split("")) }).map(quoted),
  escapes: fc
    .array(fc.constantFrom("a", "é", "\\'", "\\\\", "\\n", "''", "--", "/*"))
    .map((parts) => `E'${parts.join("")}'`),
  integer: fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 999_999_999 })).map(String),
  number: fc.tuple(fc.nat(999), fc.nat(9_999)).map(([whole, part]) => `${whole}.${part}`),
};

function keyOf(sql: string): string | undefined {
  const shape = shapeOf(Buffer.from(sql));
  return shape === undefined || shape.literals.length === 0 ? undefined : shape.key;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** The same statement with other literals. */
function withOthers(sql: string): fc.Arbitrary<string> {
  const tokens = plainTokens(sql) ?? [];
  const parts = tokens.map(({ text }, index) => {
    const between = sql.slice(tokens[index - 1]?.end ?? 0, tokens[index]?.start);
    return otherOf(text).map((other) => between + other);
  });
  const rest = sql.slice(tokens.at(-1)?.end ?? 0);
  return fc.tuple(...parts).map((texts) => texts.join("") + rest);
}

function otherOf(token: string): fc.Arbitrary<string> {
  if (token.startsWith("'")) return literal.string;
  if (/^e'/i.test(token)) return literal.escapes;
  if (!/^\d/.test(token)) return fc.constant(token);
  return token.length < 10 && !token.includes(".") ? literal.integer : literal.number;
}

/** What the log and the metrics record about a statement. */
function noted(sql: string) {
  return { statements: survey(sql, app), text: normalise(sql) };
}

function expectNoDifference(sql: string, runs: number): void {
  if (keyOf(sql) === undefined || !isShareable(sql)) return;
  const own = noted(sql);
  fc.assert(
    fc.property(withOthers(sql), (other) => {
      // For example, two strings that are now adjacent are other tokens.
      if (keyOf(other) !== keyOf(sql)) return;
      expect(noted(other)).toEqual(own);
    }),
    { numRuns: runs },
  );
}

test.each(STATEMENTS)("whatever its literals, the same is recorded for %s", (sql) => {
  expectNoDifference(sql, 300);
});

test("the same is true of real clients' statements and Postgres's own tests", async (context) => {
  const statements = [...((await readCorpus("clients")) ?? []), ...((await readCorpus("regress")) ?? [])];
  context.skip(statements.length === 0, "the corpus is not here");
  const shared = statements.filter(({ sql }) => keyOf(sql) !== undefined && isShareable(sql));
  expect(shared.length).toBeGreaterThan(1_000);
  for (const { sql } of shared) expectNoDifference(sql, 2);
}, 120_000);

test("an application that asks for one customer after the other is analysed once", () => {
  const lookups: boolean[] = [];
  const cache = new VerdictCache({
    onLookup: (hit) => lookups.push(hit),
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  });
  const ask = (sql: string, scope: Scope) => cache.judge(Buffer.from(sql), scope);
  const first = ask("SELECT name FROM customers WHERE id = 1", app);
  expect(ask("SELECT name FROM customers WHERE id = 22222", app)).toBe(first);
  expect(lookups).toEqual([false, true]);
  // Another kind of number, other spaces, another table: other texts.
  for (const other of [
    "SELECT name FROM customers WHERE id = 2.5",
    "SELECT name FROM customers  WHERE id = 1",
    "SELECT name FROM tickets WHERE id = 1",
  ]) {
    expect(ask(other, app)).not.toBe(first);
  }
});

test("also for a guarded role, and each gets its own literals back", () => {
  const lookups: boolean[] = [];
  const cache = new VerdictCache({
    onLookup: (hit) => lookups.push(hit),
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  });
  const agent = judge.scope("anna");
  const asked = ["1", "22222"].map((id) =>
    cache.judge(Buffer.from(`SELECT name, email FROM customers WHERE id = ${id} AND name <> 'x'`), agent),
  );
  expect(asked.map((verdict) => verdict.kind === "rewrite" && verdict.sql.toString().slice(-30))).toEqual([
    expect.stringContaining("id = 1 AND name <> 'x'"),
    expect.stringContaining("id = 22222 AND name <> 'x'"),
  ]);
  expect(lookups).toEqual([false, true]);
});

test.each([
  ...STATEMENTS,
  "SELECT name, email FROM customers WHERE email = 'a@example.com' AND id > 5",
  "SELECT * FROM customers WHERE phone IN ('1', '2') OR id = 3",
  "SELECT c.*, 7 FROM customers c, tickets t WHERE t.customer_id = c.id AND c.id BETWEEN 3 AND 5 LIMIT 4",
  "SELECT email LIKE 'a%', 'x' || email, substr(email, 2, 3) FROM customers WHERE id = 1 ORDER BY 1",
  "SELECT public.customers.email FROM public.customers WHERE id = 1 GROUP BY 1 HAVING min(id) > 2",
  "UPDATE tickets SET body = 'x' WHERE id = 5 RETURNING id, 9, body",
  "INSERT INTO tickets (customer_id, subject) VALUES (1, 'a') RETURNING *",
  "DELETE FROM tickets WHERE id = 5",
])("a hit gives the very verdict that a miss would give: %s", (sql) => {
  const silent = {
    onLookup: () => {},
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  };
  for (const user of ["anna", "helpdesk_app"] as const) {
    const scope = judge.scope(user);
    const warm = new VerdictCache(silent);
    warm.judge(Buffer.from(sql), scope);
    fc.assert(
      fc.property(withOthers(sql), (other) => {
        const [hit, miss] = [warm, new VerdictCache(silent)].map((cache) =>
          cache.judge(Buffer.from(other), scope),
        );
        expect(hit).toEqual(miss);
      }),
      { numRuns: 50 },
    );
  }
});

/** One of each kind: only the applications care what a comment contains. */
const COMMENTS = [
  fc.string({ unit: fc.constantFrom(..."ab'\"-$;é".split("")) }).map((text) => `/*${text}*/`),
  fc.string({ unit: fc.constantFrom(..."ab'\"-*/$;é".split("")) }).map((text) => `--${text}\n`),
];

/** The statement with comments of these kinds after its tokens. */
function commented(sql: string, kinds: readonly (0 | 1 | undefined)[]): fc.Arbitrary<string> {
  const tokens = plainTokens(sql) ?? [];
  const parts = tokens.map(({ end }, index) => {
    const kind = kinds[index % kinds.length];
    const text = sql.slice(tokens[index - 1]?.end ?? 0, end);
    const comment = kind === undefined ? undefined : COMMENTS[kind];
    return comment === undefined ? fc.constant(text) : comment.map((made) => `${text} ${made}`);
  });
  return fc.tuple(...parts).map((texts) => texts.join(""));
}

test.each([
  "SELECT name, email FROM customers WHERE email = 'a@example.com' AND id > 5 ORDER BY 2, 1 LIMIT 3",
  "SELECT c.*, 7 FROM customers c, tickets t WHERE t.customer_id = c.id AND c.id BETWEEN 3 AND 5",
  "SELECT country, count(*) FROM customers GROUP BY country HAVING count(*) > 2",
  "UPDATE tickets SET body = 'x' WHERE id = 5 RETURNING id, 9, body",
  "WITH a AS (SELECT * FROM customers WHERE id = 4) SELECT name FROM a",
])("comments that differ share a verdict, and each text keeps its own: %s", (sql) => {
  const silent = {
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  };
  const kinds = fc.array(fc.constantFrom(0 as const, 1 as const, undefined), { minLength: 1, maxLength: 9 });
  const twice = kinds.chain((each) => fc.tuple(commented(sql, each), commented(sql, each)));
  for (const user of ["anna", "helpdesk_app"] as const) {
    const scope = judge.scope(user);
    fc.assert(
      fc.property(twice, ([one, other]) => {
        const lookups: boolean[] = [];
        const warm = new VerdictCache({ ...silent, onLookup: (hit) => lookups.push(hit) });
        warm.judge(Buffer.from(one), scope);
        const hit = warm.judge(Buffer.from(other), scope);
        const miss = new VerdictCache({ ...silent, onLookup: () => {} }).judge(Buffer.from(other), scope);
        expect(hit).toEqual(miss);
        // Only a refusal, whose message may name a position in the text, belongs to one text.
        if (miss.kind !== "refuse" && keyOf(one) !== undefined) expect(keyOf(other)).toBe(keyOf(one));
        // An edit that removes a literal or a comment is made for each text.
        if (user === "helpdesk_app" || !/^UPDATE|ORDER BY/.test(sql)) expect(lookups).toEqual([false, true]);
      }),
      { numRuns: 50 },
    );
  }
});

test("a literal that is no constant of an expression keeps the text from being shared, and out of the log all the same", () => {
  const path = "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a int PATH '$.secret')) j";
  expect(withParameters(path).includes("secret")).toBe(!isShareable(path));
  expect(normalise(path)).not.toContain("secret");
});

test.each([
  "SELECT 1; SELECT 2",
  "SET search_path = 'a'",
  "COPY customers TO '/tmp/x'",
  "DO 'BEGIN END'",
  "SELECT CAST(1.5 AS float(20))",
  "SELECT name FROM customers",
])("%s has no shape", (sql) => {
  expect(keyOf(sql)).toBeUndefined();
});

test("users of a role share verdicts where the policy never names the user, and never where it does", () => {
  // The policy of these tests shows agents the texts of tickets that are assigned to them.
  expect(judge.scope("anna")).not.toBe(judge.scope("ben"));
  expect(judge.scope("anna").user).toBe("anna");
  expect(judge.scope("helpdesk_app").user).toBeUndefined();
  const { policy, role, catalog } = judge.scope("metabase");
  const scopes = new Scopes();
  const of = (user: string) =>
    scopes.of({
      policy,
      role,
      user,
      catalog,
      searchPath: ["public"],
      unreadable: new Set(["a.b.c"]),
      maskKey: undefined,
    });
  expect(of("one")).toBe(of("another"));
});

test("users with other columns closed to them share no verdict, whatever characters the names hold", () => {
  const { policy, role, catalog } = judge.scope("metabase");
  const scopes = new Scopes();
  const of = (...unreadable: string[]) =>
    scopes.of({
      policy,
      role,
      user: "one",
      catalog,
      searchPath: ["public"],
      unreadable: new Set(unreadable),
      maskKey: undefined,
    });
  expect(of("public.t.a,public.t.b")).not.toBe(of("public.t.a", "public.t.b"));
  expect(of("public.t.a", "public.t.b")).toBe(of("public.t.b", "public.t.a"));
});
