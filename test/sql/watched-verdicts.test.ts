import { afterAll, beforeAll, expect, test } from "vitest";
import { VerdictCache } from "../../proxy/sql/cache.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY.replace("sees: all\n", "sees: all\n    watch: true\n") });
});
afterAll(() => judged?.close());

function sentFor(texts: readonly string[]): { readonly sent: readonly string[]; readonly analysed: number } {
  let analysed = 0;
  const end = () => {
    analysed++;
  };
  const cache = new VerdictCache({
    ...{ onLookup: () => {}, onRefusal: () => {}, onLeftover: () => {} },
    onAnalysis: () => ({ stage: () => {}, end }),
  });
  const sent = texts.map((text) => {
    const verdict = cache.judge(Buffer.from(text), judged.scope("helpdesk_app"));
    return verdict.kind === "rewrite" ? verdict.sql.toString() : text;
  });
  return { sent, analysed };
}

test("texts that differ in their constants share a verdict", () => {
  const { sent, analysed } = sentFor([7, 8, 9].map((id) => `SELECT name FROM customers WHERE id = ${id}`));
  expect(analysed).toBe(1);
  expect(sent[2]).toMatch(/"sluice subject" FROM customers WHERE id = 9$/);
});

test("a number that names a column behind the client's own is seen in each text", () => {
  const order = (column: number) => `SELECT name, country FROM customers ORDER BY ${column}`;
  const { sent } = sentFor([order(2), order(3), order(1)]);
  expect(sent.map((text) => text.includes("sluice subject"))).toEqual([true, false, true]);
});

test("what sets a setting is seen in each text", () => {
  const cache = new VerdictCache({
    onLookup: () => {},
    onAnalysis: () => ({ stage: () => {}, end: () => {} }),
    onRefusal: () => {},
    onLeftover: () => {},
  });
  const touches = (name: string) =>
    cache
      .judge(
        Buffer.from(`SELECT set_config('${name}', 'x', true), pg_ls_dir('.')`),
        judged.scope("helpdesk_app"),
      )
      .statements.map(({ touch }) => touch?.session);
  expect([touches("statement_timeout"), touches("app.agent"), touches("work_mem")]).toEqual([
    [false],
    [true],
    [false],
  ]);
});

test.each([
  [
    "SELECT DISTINCT customers.id, customers.name FROM customers JOIN tickets ON tickets.customer_id = customers.id",
    1,
    0,
  ],
  ["SELECT DISTINCT * FROM customers", 1, 0],
  ["SELECT DISTINCT c.* FROM customers c JOIN tickets t ON t.customer_id = c.id ORDER BY c.name", 1, 0],
  ["SELECT DISTINCT name FROM customers", 0, 1],
  ["SELECT DISTINCT ON (name) customers.id, name FROM customers", 0, 1],
  ["SELECT DISTINCT customers.id + 1 FROM customers", 0, 1],
  ["SELECT DISTINCT t.id, t.subject FROM tickets t JOIN customers c ON c.id = t.customer_id", 1, 0],
  ["SELECT DISTINCT t.subject FROM tickets t", 0, 1],
  // Whoever is left out would be another one in each row, and equal rows would be several.
  ["SELECT DISTINCT c.id, c.name FROM tickets t LEFT JOIN customers c ON c.name = t.subject", 0, 2],
  ["SELECT DISTINCT t.id, c.id, c.name FROM tickets t LEFT JOIN customers c ON c.name = t.subject", 1, 1],
])(
  "of DISTINCT only rows that hold the subject or the row's key name their people: %s",
  (sql, subjects, unknown) => {
    const { metering } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
    expect([metering?.subjects.length, metering?.unknown]).toEqual([subjects, unknown]);
  },
);

const PAGE =
  "SELECT t.id AS t_id, t.customer_id AS t_customer_id, t.subject AS t_subject, c.id AS c_id, c.name AS c_name FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id";
test.each([
  // TypeORM's pages: the keys first.
  [`SELECT DISTINCT d.t_id AS ids FROM (${PAGE}) d ORDER BY t_id LIMIT 4`, 1, 0],
  [`SELECT d.t_subject FROM (${PAGE} WHERE t.status = 'open' ORDER BY t.id LIMIT 4) d`, 2, 0],
  [`SELECT e.x FROM (SELECT d.t_subject AS x, d.t_customer_id FROM (${PAGE}) d) e`, 1, 0],
  [`WITH page AS (${PAGE}) SELECT t_subject FROM page`, 2, 0],
  // What names nobody: the key is not passed on, two rows are one, or the query is read twice.
  ["SELECT d.subject FROM (SELECT subject FROM tickets) d", 0, 1],
  [`SELECT DISTINCT d.t_subject FROM (${PAGE}) d`, 0, 2],
  ["SELECT d.n FROM (SELECT customer_id, count(*) AS n FROM tickets GROUP BY customer_id) d", 0, 1],
  ["SELECT d.id FROM (SELECT id, customer_id FROM tickets UNION SELECT id, id FROM customers) d", 0, 2],
  ["WITH p AS (SELECT id, customer_id FROM tickets) SELECT p.id FROM p JOIN p q ON q.id > p.id", 0, 2],
  ["SELECT d.a FROM (SELECT id, customer_id FROM tickets) d(a, a)", 0, 1],
])("a subquery in FROM passes its people on by name: %s", (sql, subjects, unknown) => {
  const { metering } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
  expect([metering?.subjects.length, metering?.unknown]).toEqual([subjects, unknown]);
});

test.each([
  ["SELECT c.*, count(t.id) FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id GROUP BY c.id", 2],
  ["SELECT t.*, count(*) FROM tickets t GROUP BY t.id ORDER BY t.id LIMIT 20", 1],
  ["SELECT customer_id, max(subject) FROM tickets GROUP BY customer_id", 1],
  ["SELECT t.customer_id AS who, max(t.subject) FROM tickets t GROUP BY who", 1],
  ["SELECT id, country FROM customers GROUP BY id, country", 1],
  ["SELECT d.id, max(d.name) FROM (SELECT id, name FROM customers) d GROUP BY d.id", 1],
  // A crowd in each row: another person's rows, other people, a sum over them.
  [
    "SELECT c.id, max(o.name) FROM customers c JOIN customers o ON o.country = c.country GROUP BY c.id",
    undefined,
  ],
  ["SELECT name, count(*) FROM customers GROUP BY name", undefined],
  ["SELECT country AS id, max(name) FROM customers c(i) GROUP BY id", undefined],
  ["SELECT id, max(name) FROM customers GROUP BY GROUPING SETS ((id), ())", undefined],
])("a group of one person's rows names them: %s", (sql, named) => {
  const { metering } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
  expect(metering?.groups?.namespaces.length).toBe(named);
});

const GET = (source: string) =>
  `WITH pgrst_source AS (${source}) SELECT null::bigint AS total_result_set, pg_catalog.count(p) AS page_total, coalesce(json_agg(p), '[]') AS body, nullif(current_setting('response.headers', true), '') AS response_headers FROM (SELECT * FROM pgrst_source) p`;
test.each([
  ["a page", GET("SELECT t.id, t.customer_id FROM tickets t WHERE t.assignee = 'anna' LIMIT 4"), 1],
  [
    "a page with each ticket's customer",
    GET(
      "SELECT t.id, t.customer_id, row_to_json(c.*) AS customer FROM tickets t LEFT JOIN LATERAL (SELECT i.id, i.name FROM customers i WHERE i.id = t.customer_id) c ON TRUE",
    ),
    1,
  ],
  ["one person's row", GET("SELECT id, name FROM customers WHERE id = 7"), 1],
  ["one person's rows", "SELECT json_agg(subject) FROM tickets WHERE customer_id = 7", 1],
  ["a change", GET("UPDATE tickets SET status = 'closed' WHERE id = 7 RETURNING id, customer_id"), 1],
  ["nobody: counts", GET("SELECT status, count(*) FROM tickets GROUP BY status"), 0],
  [
    "nobody: an INSERT without representation",
    GET("INSERT INTO tickets (subject) VALUES ('x') RETURNING 1"),
    0,
  ],
  ["by size: no key", GET("SELECT name FROM customers"), undefined],
  ["a page with the number of each row", GET("SELECT id, row_number() OVER (ORDER BY id) FROM customers"), 1],
  [
    "by size: groups of a protected column",
    "SELECT json_agg(d) FROM (SELECT name, count(*) FROM customers GROUP BY name) d",
    undefined,
  ],
  [
    "by size: others beside those whom it names",
    "SELECT json_agg(x.name) FROM customers c, LATERAL (SELECT y.name FROM customers y WHERE y.id <> c.id) x",
    undefined,
  ],
  [
    "by size: all names in each row",
    GET("SELECT id, string_agg(name, ',') OVER () FROM customers"),
    undefined,
  ],
  [
    "by size: the name of the row before",
    GET("SELECT id, lag(name) OVER (ORDER BY id) FROM customers"),
    undefined,
  ],
  [
    "by size: rows that are another person's now",
    GET("UPDATE tickets SET customer_id = 7 RETURNING id, customer_id, body"),
    undefined,
  ],
])("an answer that the server makes in one row names its people: %s", (_, sql, people) => {
  const [statement] = judged.judge("helpdesk_app", sql).statements;
  const { metering, uncounted = false } = statement ?? {};
  expect([uncounted, metering?.groups?.namespaces.length ?? 0]).toEqual([people === undefined, people ?? 0]);
});

test.each([
  ["SELECT subject FROM tickets WHERE customer_id = current_setting('app.tenant')::bigint", 1, false],
  ["SELECT current_setting('app.' || country), name FROM customers", 1, false],
  ["SELECT pg_notify('seen', id::text), name FROM customers", 1, false],
  ["SELECT set_config('app.kept', name, false) FROM customers", 0, true],
  ["SELECT query_to_xml('SELECT * FROM customers', true, true, ''), name FROM customers", 0, true],
  ["SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL)", 0, true],
])("calls that show nothing that is stored leave people their names: %s", (sql, subjects, bySize) => {
  const { metering, uncounted = false } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
  expect([metering?.subjects.length ?? 0, uncounted]).toEqual([subjects, bySize]);
});

test.each([
  ["UPDATE tickets SET customer_id = 7 WHERE customer_id = 9 RETURNING body", 1],
  ["UPDATE tickets SET (status, customer_id) = ('open', 7) WHERE customer_id = 9 RETURNING body", 1],
  ["UPDATE tickets SET status = 'open' WHERE customer_id = 9 RETURNING body", 0],
  ["WITH w AS (UPDATE tickets SET customer_id = 7 RETURNING body, customer_id) SELECT * FROM w", 1],
  ["INSERT INTO tickets (customer_id, body) VALUES (7, 'x') RETURNING body", 0],
  [
    "INSERT INTO tickets (id, customer_id) VALUES (1, 7) ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id RETURNING body",
    1,
  ],
  [
    "INSERT INTO tickets (id, customer_id) VALUES (1, 7) ON CONFLICT (id) DO UPDATE SET status = 'open' RETURNING body",
    0,
  ],
])("a row that a write gives to another person shows the one before, too: %s", (sql, unknown) => {
  const { metering } = judged.judge("helpdesk_app", sql).statements[0] ?? {};
  expect([metering?.subjects.length, metering?.unknown]).toEqual([1, unknown]);
});

test("to a guarded role such a row is a person without a name: what is left out of it has its price", () => {
  const { metering } =
    judged.judge("anna", "SELECT d.id FROM (SELECT id, customer_id FROM tickets) d").statements[0] ?? {};
  expect(metering?.subjects).toEqual([]);
});
