import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { checkAgainstCatalog } from "../../proxy/policy/against-catalog.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

const sealer = sealerOf(keyLine(1, 7));

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  phone: { mask: { last: 4 }, stored: token }
tables:
  public.people: { subject: id, columns: { email: email } }
  public.tickets:
    subject: id
    json:
      payload: { customer.email: email, "contacts[*].phone": phone, "tags[*]": phone }
      raw: { customer.email: email }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  agent: { users: [anna], reads: [public.people, public.tickets], finds: [email] }
  lead: { users: [ben], reads: [public.people, public.tickets], writes: [public.tickets], sees: [email, phone] }
`;

const SETUP = `
  CREATE TABLE people (id bigint PRIMARY KEY, email text);
  CREATE TABLE tickets (id bigint PRIMARY KEY, payload jsonb DEFAULT '{}', raw json, note text);
  CREATE VIEW letters AS SELECT id, payload AS letter FROM tickets;
  CREATE TABLE plain (id bigint, doc jsonb);
  GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase, anna, ben;
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let watched: pg.Client;
let agent: pg.Client;
let lead: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "documents");
  await database.query(SETUP);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  [app, watched, agent, lead] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("metabase"),
    sluice.connect("anna"),
    sluice.connect("ben"),
  ]);
  await app.query("INSERT INTO people VALUES (1, 'alice@example.com')");
  await app.query("INSERT INTO tickets VALUES (1, $1, $2, 'n')", [ALICE, RAW]);
});
afterAll(async () => {
  await Promise.all([app, watched, agent, lead].map((client) => client?.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const ALICE = {
  status: "open",
  customer: { email: "alice@example.com", name: "Alice" },
  contacts: [{ phone: "+49301234567" }, { phone: null }, {}],
  tags: ["vip"],
};
const RAW = '{ "customer": {"email": "a@x.de", "\\u0065mail":"b@x.de"}, "n": 1.00e2,  "n": 2 }';

const rowsOf = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await client.query({ text, ...(values && { values }), rowMode: "array" })).rows;
const one = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await rowsOf(client, text, values))[0]?.[0];

test("the database holds tokens at the paths, and everything else as it was written", async () => {
  const [row] = (await database.query("SELECT payload, raw::text AS raw FROM tickets WHERE id = 1")).rows;
  expect(row?.payload).toEqual({
    ...ALICE,
    customer: { email: expect.stringMatching(/^slt1_1_/), name: "Alice" },
    contacts: [{ phone: expect.stringMatching(/^slt1_1_/) }, { phone: null }, {}],
    tags: [expect.stringMatching(/^slt1_1_/)],
  });
  expect(row?.raw).toMatch(
    /^\{ "customer": \{"email": "slt1_1_[^"]*", "\\u0065mail":"slt1_1_[^"]*"\}, "n": 1\.00e2,\s\s"n": 2 \}$/,
  );
  const [same] = (
    await database.query(
      "SELECT payload->'customer'->>'email' = p.email AS is_same FROM tickets t, people p WHERE t.id = 1",
    )
  ).rows;
  expect(same?.is_same).toBe(true);
});

const WHOLE: readonly string[] = [
  "SELECT payload FROM tickets WHERE id = 1",
  "SELECT t.payload FROM tickets t JOIN people p ON p.id = t.id WHERE t.id = 1",
  "SELECT p FROM (SELECT payload AS p, id FROM tickets) s WHERE id = 1",
  "WITH w AS (SELECT payload FROM tickets WHERE id = 1) SELECT payload FROM w",
  "SELECT payload FROM tickets WHERE id = 1 UNION ALL SELECT NULL WHERE false",
  "SELECT letter FROM letters WHERE id = 1",
  "SELECT (SELECT payload FROM tickets WHERE id = 1)",
  "SELECT coalesce(payload, NULL) FROM tickets WHERE id = 1",
  "SELECT payload::jsonb FROM tickets WHERE id = 1",
  "SELECT payload::json FROM tickets WHERE id = 1",
];

test.each(WHOLE)("roles that see the classes read documents by %s", async (text) => {
  expect(await one(app, text)).toEqual(ALICE);
  expect(await one(watched, text)).toEqual(ALICE);
  if (!text.includes("letters")) expect(await one(lead, text)).toEqual(ALICE);
});

const MASKED = {
  ...ALICE,
  customer: { email: "a***@example.com", name: "Alice" },
  contacts: [{ phone: "********4567" }, { phone: null }, {}],
  tags: ["***"],
};

test.each(WHOLE.filter((text) => !text.includes("letters")))(
  "roles that do not see the classes get masks inside of documents by %s",
  async (text) => {
    expect(await one(agent, text)).toEqual(MASKED);
  },
);

const PARTS: readonly (readonly [text: string, value: unknown, masked: unknown])[] = [
  ["payload->'customer'->>'email'", "alice@example.com", "a***@example.com"],
  ["payload->'customer'", ALICE.customer, MASKED.customer],
  ["payload->'customer'->'email'", "alice@example.com", "a***@example.com"],
  ["payload #>> '{customer,email}'", "alice@example.com", "a***@example.com"],
  ["payload #> '{customer}'", ALICE.customer, MASKED.customer],
  ["payload #>> ARRAY['customer', 'email']", "alice@example.com", "a***@example.com"],
  ["payload['customer']['email']", "alice@example.com", "a***@example.com"],
  ["jsonb_extract_path_text(payload, 'customer', 'email')", "alice@example.com", "a***@example.com"],
  ["jsonb_extract_path(payload, 'customer')", ALICE.customer, MASKED.customer],
  ["payload->'contacts'->0->>'phone'", "+49301234567", "********4567"],
  ["payload #>> '{contacts,0,phone}'", "+49301234567", "********4567"],
  ["payload->'tags'->>-1", "vip", "***"],
  ["payload->'contacts'", ALICE.contacts, MASKED.contacts],
  ["payload->>'status'", "open", "open"],
  [
    "(SELECT c->>'phone' FROM jsonb_array_elements(payload->'contacts') c LIMIT 1)",
    "+49301234567",
    "********4567",
  ],
  ["(SELECT c FROM jsonb_array_elements_text(payload->'tags') AS x(c) LIMIT 1)", "vip", "***"],
];

test.each(PARTS)("a part of a document is turned back: %s", async (text, value, masked) => {
  const select = `SELECT ${text} FROM tickets WHERE id = 1`;
  expect(await one(app, select)).toEqual(value);
  expect(await one(watched, select)).toEqual(value);
  expect(await one(lead, select)).toEqual(value);
  expect(await one(agent, select)).toEqual(masked);
});

const SEARCHES: readonly [text: string, values?: unknown[]][] = [
  ["payload->'customer'->>'email' = 'alice@example.com'"],
  ["payload->'customer'->>'email' = $1", ["alice@example.com"]],
  ["payload #>> '{customer,email}' = $1", ["alice@example.com"]],
  ["(payload->'customer'->>'email')::text IN ('x', $1)", ["alice@example.com"]],
  ["payload->'customer'->>'email' = ANY($1)", [["x", "alice@example.com"]]],
  ["payload->'customer'->>'email' <> 'bob@example.com'"],
  ["jsonb_extract_path_text(payload, 'customer', 'email') = $1", ["alice@example.com"]],
  ['payload @> \'{"customer": {"email": "alice@example.com"}}\''],
  ["payload @> $1", [{ customer: { email: "alice@example.com" } }]],
  ["payload @> $1::jsonb", ['{"contacts": [{"phone": "+49301234567"}]}']],
  ["payload->'tags' @> '[\"vip\"]'"],
  ["payload->'contacts' @> $1::jsonb", ['[{"phone": "+49301234567"}]']],
  ['\'{"tags": ["vip"]}\' <@ payload'],
  ["payload ? 'customer'"],
  ["payload->>'status' = 'open'"],
  ["payload->>'status' LIKE 'op%'"],
  ["payload @? '$.status ? (@ == \"open\")'"],
  ["payload->'customer' ?& ARRAY['email', 'name']"],
  ["jsonb_typeof(payload->'customer'->'email') = 'string'"],
  ["jsonb_array_length(payload->'contacts') = 3"],
  ["EXISTS (SELECT 1 FROM jsonb_array_elements(payload->'contacts') c WHERE c->>'phone' = '+49301234567')"],
  ["EXISTS (SELECT 1 FROM people p WHERE p.email = payload->'customer'->>'email')"],
  ["payload->'customer'->>'email' IS NOT NULL"],
];

test.each(SEARCHES)("a search finds the document: %s", async (text, values) => {
  const select = `SELECT id FROM tickets WHERE id < 10 AND ${text}`;
  for (const client of [app, watched, lead]) expect(await rowsOf(client, select, values)).toEqual([["1"]]);
});

test.each([
  "payload->'customer'->>'email' LIKE 'alice%'",
  "payload->'customer'->'email' = '\"alice@example.com\"'",
  "payload::text LIKE '%alice%'",
  "payload->>'customer' LIKE '%alice%'",
  "lower(payload->'customer'->>'email') = 'alice@example.com'",
  "payload = '{}'",
  "payload->'tags' ? 'vip'",
  "payload->'tags' @> '\"vip\"'",
  "payload @? '$.customer.email ? (@ == \"alice@example.com\")'",
  "payload @? '$.** ? (@ == \"alice@example.com\")'",
  "payload @@ '$.customer.email == \"alice@example.com\"'",
  "jsonb_path_exists(payload, '$.customer.email ? (@ == \"alice@example.com\")')",
  "jsonb_path_exists(payload, '$.status ? (@ == $.customer.email)')",
  "payload->(id::text)->>'email' = 'alice@example.com'",
  "jsonb_pretty(payload) LIKE '%alice%'",
  'payload @> \'{"customer": {"email": 5}}\'',
  'payload @> \'{"customer": {"email": "slt1_1_abcdefghijklmnopqrstuvw"}}\'',
  "payload->'customer'->>'email' = 'slt1_1_abcdefghijklmnopqrstuvw'",
  "EXISTS (SELECT 1 FROM jsonb_each_text(payload->'customer') e WHERE e.value = 'alice@example.com')",
  "EXISTS (SELECT 1 FROM jsonb_to_recordset(payload->'contacts') AS x(phone text) WHERE x.phone = '+49301234567')",
  "JSON_VALUE(payload, '$.customer.email') = 'alice@example.com'",
  "payload->'customer'->>'email' = payload->>'status'",
  "('{}'::jsonb || payload)->'customer'->>'email' = 'alice@example.com'",
])("a search that tokens cannot do is refused: %s", async (text) => {
  for (const client of [app, watched, lead, agent])
    await expect(client.query(`SELECT id FROM tickets WHERE ${text}`)).rejects.toMatchObject({
      code: expect.stringMatching(/^(42501|22023)$/),
      ...((client === app || client === watched) && { hint: expect.stringMatching(/./) }),
    });
});

test.each([
  "payload->'customer'->>'email' = 'alice@example.com'",
  'payload @> \'{"customer": {"email": "alice@example.com"}}\'',
  'payload @> \'{"tags": ["vip"]}\'',
  "EXISTS (SELECT 1 FROM jsonb_array_elements(payload->'contacts') c WHERE c->>'phone' = '+49301234567')",
])("a role that does not see the classes may not search: %s", async (text) => {
  await expect(agent.query(`SELECT id FROM tickets WHERE ${text}`)).rejects.toMatchObject({ code: "42501" });
  await expect(agent.query(`SELECT ${text} FROM tickets`)).rejects.toMatchObject({ code: "42501" });
});

const DOCUMENT = '{"customer": {"email": "new@example.com"}, "contacts": [{"phone": "030 canary"}], "x": 1}';
const WRITES: readonly [text: string, values?: unknown[]][] = [
  [`INSERT INTO tickets (id, payload) VALUES (20, '${DOCUMENT}')`],
  ["INSERT INTO tickets (id, payload) VALUES (20, $1)", [DOCUMENT]],
  ["INSERT INTO tickets (id, payload) VALUES (20, $1::jsonb)", [DOCUMENT]],
  ["INSERT INTO tickets (id, payload) VALUES (20, $1::text::jsonb)", [DOCUMENT]],
  ["INSERT INTO tickets (id, payload) SELECT 20, $1::jsonb", [DOCUMENT]],
  [`INSERT INTO tickets (id, payload) SELECT v.a, v.b FROM (VALUES (20, '${DOCUMENT}'::jsonb)) v(a, b)`],
  [`INSERT INTO tickets (id, payload) VALUES (20, E'${DOCUMENT.replace("@", "\\x40")}')`],
  [`INSERT INTO tickets (id, payload) VALUES (20, $$${DOCUMENT}$$)`],
  [`INSERT INTO tickets (id) VALUES (20); UPDATE tickets SET payload = '${DOCUMENT}' WHERE id = 20`],
  [
    `INSERT INTO tickets (id) VALUES (20); INSERT INTO tickets (id, payload) VALUES (20, '${DOCUMENT}') ON CONFLICT (id) DO UPDATE SET payload = excluded.payload`,
  ],
  [
    `MERGE INTO tickets t USING (VALUES (20)) v(i) ON t.id = v.i WHEN NOT MATCHED THEN INSERT (id, payload) VALUES (v.i, '${DOCUMENT}')`,
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{}'); UPDATE tickets SET payload = payload || '${DOCUMENT}' WHERE id = 20`,
  ],
  [
    `INSERT INTO tickets (id) VALUES (20); UPDATE tickets SET payload = coalesce(payload, '{}'::jsonb) || '${DOCUMENT}'::jsonb - 'y' WHERE id = 20`,
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{"contacts": [{"phone": "030 canary"}], "x": 1}'); UPDATE tickets SET payload = jsonb_set(payload, '{customer}', '{"email": "new@example.com"}') WHERE id = 20`,
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{"customer": {}, "contacts": [{"phone": "030 canary"}], "x": 1}'); UPDATE tickets SET payload = jsonb_set(payload, '{customer,email}', '"new@example.com"') WHERE id = 20`,
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{"customer": {}, "contacts": [{}], "x": 1}'); UPDATE tickets SET payload = jsonb_set(jsonb_set(payload, ARRAY['customer', 'email'], to_jsonb('new@example.com'::text)), '{contacts,0,phone}', '"030 canary"') WHERE id = 20`,
  ],
  [
    "INSERT INTO tickets (id, payload) VALUES (20, jsonb_build_object('customer', jsonb_build_object('email', $1::text), 'contacts', jsonb_build_array(jsonb_build_object('phone', '030 canary')), 'x', 1))",
    ["new@example.com"],
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{"contacts": [], "x": 1, "customer": {}}'); UPDATE tickets SET payload['customer']['email'] = '"new@example.com"', payload['contacts'][0] = '{"phone": "030 canary"}' WHERE id = 20`,
  ],
  [
    `INSERT INTO tickets (id, payload) VALUES (20, '{"customer": {"email": "new@example.com"}, "contacts": [], "x": 1}'); UPDATE tickets SET payload = jsonb_insert(payload, '{contacts,0}', '{"phone": "030 canary"}') WHERE id = 20`,
  ],
];

test.each(WRITES)("what is written at the paths is stored as tokens: %s", async (text, values) => {
  for (const client of [app, watched, lead]) {
    if (client === lead && /;|MERGE/.test(text)) continue;
    await database.query("DELETE FROM tickets WHERE id = 20");
    await client.query(text, values);
    const [row] = (await database.query("SELECT payload::text AS held FROM tickets WHERE id = 20")).rows;
    expect(row?.held).not.toContain("new@example.com");
    expect(row?.held).not.toContain("030 canary");
    expect(await one(app, "SELECT payload FROM tickets WHERE id = 20")).toEqual(JSON.parse(DOCUMENT));
  }
  await database.query("DELETE FROM tickets WHERE id = 20");
});

test.each([
  ['ALTER TABLE tickets ALTER payload SET DEFAULT \'{"customer": {"email": "x"}}\''],
  ["UPDATE tickets SET payload = note::jsonb"],
  ["UPDATE tickets SET payload = jsonb_set(payload, ('{customer,' || 'email}')::text[], '\"x\"')"],
  ["UPDATE tickets SET payload = jsonb_set(payload, '{customer,email}', to_jsonb(note))"],
  ["UPDATE tickets SET payload = jsonb_set(payload, '{customer,email}', '5')", "22023"],
  ["UPDATE tickets SET payload = jsonb_set(payload, '{customer,email,x}', '5')"],
  ["UPDATE tickets SET payload = jsonb_build_object(note, 'x')"],
  ["UPDATE tickets SET payload = jsonb_build_object('customer', jsonb_build_object('email', note))"],
  ["UPDATE tickets SET payload = jsonb_build_object('customer', jsonb_build_object('email', 5))"],
  ["UPDATE tickets SET payload['customer'][note] = '\"x\"'"],
  ["UPDATE tickets SET payload['customer']['email'] = to_jsonb(note)"],
  ["INSERT INTO tickets (id, payload['customer']['email']) VALUES (30, '\"x\"')"],
  ["UPDATE tickets SET payload = row_to_json(tickets)"],
  ["UPDATE tickets SET payload = (SELECT jsonb_agg(note) FROM tickets)"],
  ['UPDATE tickets SET payload = \'{"customer": {"email": ["x"]}}\'', "22023"],
  ['UPDATE tickets SET payload = \'{"customer": {"email": {"x": 1}}}\'', "22023"],
  ['UPDATE tickets SET payload = \'{"customer": {"email": 1}}\'', "22023"],
  ['UPDATE tickets SET payload = \'{"customer": {"email": "slt1_1_abcdefghijklmnopqrstuvw"}}\''],
  ["UPDATE tickets SET payload = '{\"customer\": '", "22P02"],
  ["UPDATE tickets SET payload = payload->'customer'"],
  ["UPDATE tickets SET payload = jsonb_set(payload, '{tags}', payload->'contacts')"],
  ["UPDATE tickets SET payload = (SELECT doc FROM plain LIMIT 1)"],
  ["UPDATE tickets SET payload = jsonb_build_object('tags', payload->'status')"],
])("what would be stored in the clear is refused: %s", async (text, code = "42501") => {
  for (const client of [app, watched])
    await expect(client.query(text)).rejects.toMatchObject({ code, hint: expect.stringMatching(/./) });
});

const policyWith = (json: string) => `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token }
  card: { mask: { last: 4 }, stored: digits }
  name: { mask: initials }
tables:
  public.tickets: { ${json} }
`;

test.each([
  ["json: { payload: { customer: card } }", "stored: token"],
  ["json: { payload: { customer: name } }", "stored: token"],
  ["json: { payload: { customer: nobody } }", "class"],
  ["json: { payload: { customer: email, customer.email: email } }", "meets"],
  ['json: { payload: { "a[*].b": email, "a[*]": email } }', "meets"],
  ["json: { payload: { a.b: email, 'a.\"b\"': email } }", "meets"],
  ["json: { payload: { a..b: email } }", "no path"],
  ['json: { payload: { "": email } }', "no path"],
  ["json: { payload: {} }", "no path"],
  ["json: { payload: { a: email } }, columns: { payload: email }", "under"],
])("a policy with %s is refused", (json, what) => {
  const compiled = compilePolicies([{ name: "p.yaml", text: policyWith(json) }]);
  const problems = compiled.ok ? [] : compiled.problems;
  expect(problems.map(({ message, hint }) => `${message} ${hint}`).join("\n")).toContain(what);
  expect(problems.every(({ place, hint }) => place.line > 1 && hint !== "")).toBe(true);
});

test("a policy is compared with the types, defaults and constraints of documents", async () => {
  const other = await databaseOn(server.uri, "documents_checked");
  const client = new pg.Client(other.uri);
  await client.connect();
  try {
    await other.query(`CREATE TABLE tickets (id bigint, payload jsonb DEFAULT '{"b": 1}', empty jsonb DEFAULT '{}', list json DEFAULT '[]', raw json DEFAULT json_build_object('a', 'x'), note text,
      made text GENERATED ALWAYS AS (payload->>'a') STORED, CHECK (payload ? 'a'))`);
    const compiled = compilePolicies([
      {
        name: "p.yaml",
        text: policyWith(
          "json: { payload: { a: email }, empty: { a: email }, list: { a: email }, raw: { a: email }, note: { a: email }, gone: { a: email } }",
        ),
      },
    ]);
    if (!compiled.ok) throw new Error("the policy is in order");
    const problems = checkAgainstCatalog(
      compiled.policies.forDatabase(other.database),
      await readCatalog(client),
    );
    const told = problems.map(({ severity, message }) => `${severity}: ${message}`).sort();
    const has = "has values that are stored as tokens, and";
    expect(told).toEqual(
      [
        "error: public.tickets.note HAS its type text is not json or jsonb",
        'error: public.tickets.payload HAS "made" is generated from it',

        'error: the column "gone" is not in public.tickets',
        'warning: public.tickets.payload HAS "tickets_payload_check" will see tokens',
        "warning: public.tickets.payload HAS its default is stored as it is",
        "warning: public.tickets.raw HAS its default is stored as it is",
      ].map((line) => line.replace("HAS", has)),
    );
  } finally {
    await client.end();
    await other.drop();
  }
});

test("a parent table, through which rows are written, must name the same values", async () => {
  const other = await databaseOn(server.uri, "documents_of_parents");
  const client = new pg.Client(other.uri);
  await client.connect();
  try {
    await other.query(`CREATE TABLE parent (id int, payload jsonb) PARTITION BY RANGE (id);
      CREATE TABLE tickets PARTITION OF parent FOR VALUES FROM (0) TO (9)`);
    const toldOf = async (parent: string) => {
      const text = policyWith("json: { payload: { a: email } }").replace("tables:", `tables:${parent}`);
      const compiled = compilePolicies([{ name: "p.yaml", text }]);
      if (!compiled.ok) throw new Error("the policy is in order");
      const policy = compiled.policies.forDatabase(other.database);
      const problems = checkAgainstCatalog(policy, await readCatalog(client));
      return problems.flatMap(({ severity, message }) =>
        message.includes("parent") ? [`${severity}: ${message}`] : [],
      );
    };
    const told =
      "error: public.tickets.payload has values that are stored as tokens, and not the same ones as those of public.parent, through which its rows are written";
    expect(await toldOf("")).toEqual([told]);
    expect(await toldOf("\n  public.parent: { json: { payload: { b: email } } }")).toEqual([told]);
    expect(await toldOf("\n  public.parent: { json: { payload: { a: email } } }")).toEqual([]);
  } finally {
    await client.end();
    await other.drop();
  }
});
