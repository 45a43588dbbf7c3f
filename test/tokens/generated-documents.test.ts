import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/*
 * Statements run through the proxy on a table with tokens, and directly on a table of values: the answers must be equal, or
 * the proxy refuses the statement, and nothing in the files of the server holds a value in the clear.
 */

/** By hand: SLUICE_LONG=25 for 5000 cases. */
const RUNS = 200 * Number(process.env.SLUICE_LONG ?? 1);

const sealer = sealerOf(keyLine(1, 7));
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  phone: { mask: { last: 4 }, stored: token }
tables:
  public.docs:
    subject: id
    json:
      j: { a.e: email, "l[*].p": phone, "t[*]": phone, '"x.y"': email }
      r: { a.e: email, "l[*].p": phone, "t[*]": phone, '"x.y"': email }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead: { users: [ben], reads: [public.docs], writes: [public.docs], sees: [email, phone] }
  agent: { users: [anna], reads: [public.docs] }
`;
const SETUP = "CREATE TABLE docs (id int PRIMARY KEY, j jsonb, r json)";

let server: RunningPostgres;
let sealedDatabase: TestDatabase;
let clearDatabase: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let lead: pg.Client;
let direct: pg.Client;
let beside: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  sealedDatabase = await databaseOn(server.uri, "generated_sealed");
  await sealedDatabase.query(`${SETUP}; GRANT ALL ON docs TO helpdesk_app, ben, anna`);
  sluice = await startProxy(sealedDatabase, { policy: POLICY, tokens: sealer });
  [app, lead] = await Promise.all([sluice.connect("helpdesk_app"), sluice.connect("ben")]);
  beside = new pg.Client(sealedDatabase.uri);
  await beside.connect();
});
afterAll(async () => {
  await Promise.all([app, lead, direct, beside].map((client) => client?.end()));
  await sluice?.close();
  await Promise.all([sealedDatabase?.drop(), clearDatabase?.drop()]);
  await server?.stop();
});

/** Values at the paths; the server's files are looked through for the word. */
const CANARY = "kanarienvogel";
const VALUES = ["1", "2", "ü", '"', "\\", "'", "\n", "e\u0301", "😀", ""].map((end) => `${CANARY}${end}`);
const value = fc.constantFrom(...VALUES);
const place = fc.oneof({ weight: 4, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) });
const other = fc.oneof(
  fc.constantFrom<unknown>("open", 1, 1.5, true, null, [], {}, [1, "x"], { e: "no place" }),
  fc.dictionary(fc.constantFrom("e", "p", "z"), fc.constantFrom<unknown>("v", 2, null), {
    noNullPrototype: true,
  }),
);
const inner = fc.record({ e: place, z: other }, { requiredKeys: [], noNullPrototype: true });
const elements = fc.array(
  fc.oneof(
    fc.record({ p: place, q: other }, { requiredKeys: [], noNullPrototype: true }),
    fc.constantFrom<unknown>(5, null),
  ),
  { maxLength: 3 },
);
const document = fc.record(
  {
    a: fc.oneof(inner, fc.constantFrom<unknown>(null, 7)),
    l: elements,
    t: fc.array(place, { maxLength: 3 }),
    "x.y": place,
    s: other,
  },
  { requiredKeys: [], noNullPrototype: true },
);
const quoted = (text: string) =>
  `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n")}'`;
/** JSON in several spellings. */
const spelt = (made: unknown) =>
  fc.constantFrom(
    JSON.stringify(made),
    JSON.stringify(made, undefined, 1),
    JSON.stringify(made)
      .replaceAll('"e"', '"\\u0065"')
      .replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );
const json = document.chain(spelt);

interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
}
const id = fc.integer({ min: 1, max: 4 });
const give = (of: fc.Arbitrary<string>, cast = ""): fc.Arbitrary<{ sql: string; value?: string }> =>
  fc.oneof(
    of.map((text) => ({ sql: `${quoted(text)}${cast}` })),
    of.map((text) => ({ sql: `$1${cast === "" ? "" : `::text${cast}`}`, value: text })),
  );
/** What is written elsewhere than at the paths stays in the clear. */
const at = (path: string, given: { sql: string; value?: string }) => {
  const plain = (text: string) =>
    /^(?:\{a,e\}|\{l,-?\d,p\}|\{t,\d\}|\{x\.y\}|\['a'\]\['e'\]|\['l'\]\[0\]\['p'\]|\['t'\]\[0\]|\['x\.y'\])$/.test(
      path,
    )
      ? text
      : text.replaceAll(CANARY, "open");
  return { sql: plain(given.sql), ...(given.value !== undefined && { value: plain(given.value) }) };
};
const withValue = (text: string, { value: given }: { value?: string }): Statement => ({
  text,
  ...(given !== undefined && { values: [given] }),
});

/** Ways to write, each with one given document or value. */
const writes: fc.Arbitrary<Statement> = fc.oneof(
  fc
    .tuple(id, give(json, "::jsonb"))
    .map(([key, given]) =>
      withValue(
        `INSERT INTO docs (id, j) VALUES (${key}, ${given.sql}) ON CONFLICT (id) DO UPDATE SET j = excluded.j`,
        given,
      ),
    ),
  fc
    .tuple(id, give(json, "::json"))
    .map(([key, given]) =>
      withValue(
        `INSERT INTO docs (id, r) VALUES (${key}, ${given.sql}) ON CONFLICT (id) DO UPDATE SET r = excluded.r`,
        given,
      ),
    ),
  fc
    .tuple(id, give(json, "::jsonb"))
    .map(([key, given]) => withValue(`UPDATE docs SET j = ${given.sql} WHERE id = ${key}`, given)),
  fc
    .tuple(
      id,
      give(json, "::jsonb"),
      fc.constantFrom(
        "j || X",
        "coalesce(j, '{}') || X",
        "X || j",
        "j - 's' || X",
        "j #- '{a,e}' || X",
        "jsonb_strip_nulls(X)",
        "coalesce(X, j)",
        "CASE WHEN id < 3 THEN X ELSE j END",
      ),
    )
    .map(([key, given, form]) =>
      withValue(`UPDATE docs SET j = ${form.replace("X", given.sql)} WHERE id = ${key}`, given),
    ),
  fc
    .tuple(
      id,
      give(
        value.map((text) => JSON.stringify(text)),
        "::jsonb",
      ),
      fc.constantFrom("{a,e}", "{l,0,p}", "{l,-1,p}", "{t,0}", "{x.y}", "{s,e}", "{t}", "{a}", "{l,0}"),
      fc.constantFrom("jsonb_set", "jsonb_insert"),
    )
    .map(([key, given, path, call]) => [key, at(path, given), path, call] as const)
    .map(([key, given, path, call]) =>
      withValue(`UPDATE docs SET j = ${call}(j, '${path}', ${given.sql}) WHERE id = ${key}`, given),
    ),
  fc
    .tuple(id, give(value, "::text"), fc.constantFrom("{a,e}", "{l,0,p}", "{t,1}", "{s}"))
    .map(([key, given, path]) => [key, at(path, given), path] as const)
    .map(([key, given, path]) =>
      withValue(
        `UPDATE docs SET j = jsonb_set(j, '${path}', to_jsonb(${given.sql})) WHERE id = ${key}`,
        given,
      ),
    ),
  fc
    .tuple(
      id,
      give(
        inner.map((made) => JSON.stringify(made)),
        "::jsonb",
      ),
    )
    .map(([key, given]) =>
      withValue(`UPDATE docs SET j = jsonb_set(j, '{a}', ${given.sql}) WHERE id = ${key}`, given),
    ),
  fc
    .tuple(
      id,
      give(value, "::text"),
      fc.constantFrom(
        "'a', jsonb_build_object('e', X)",
        "'t', jsonb_build_array(X, NULL)",
        "'x.y', X",
        "'l', jsonb_build_array(jsonb_build_object('p', X, 'q', 1))",
        "'s', 5, 'a', jsonb_build_object('e', coalesce(X, 'kanarienvogel'))",
      ),
    )
    .map(([key, given, form]) =>
      withValue(
        `UPDATE docs SET j = jsonb_build_object(${form.replace("X", given.sql)}) WHERE id = ${key}`,
        given,
      ),
    ),
  fc
    .tuple(
      id,
      give(
        value.map((text) => JSON.stringify(text)),
        "::jsonb",
      ),
      fc.constantFrom("['a']['e']", "['l'][0]['p']", "['t'][0]", "['x.y']", "['s']"),
    )
    .map(([key, given, way]) => [key, at(way, given), way] as const)
    .map(([key, given, way]) => withValue(`UPDATE docs SET j${way} = ${given.sql} WHERE id = ${key}`, given)),
  id.map((key) => ({
    text: `UPDATE docs SET j = jsonb_build_object('a', j->'a', 't', j->'t', 's', j->'s') WHERE id = ${key}`,
  })),
  fc.tuple(id, id).map(([one, two]) => ({
    text: `UPDATE docs SET j = (SELECT d.j FROM docs d WHERE d.id = ${two}) WHERE id = ${one}`,
  })),
);

const searches: fc.Arbitrary<Statement> = fc.oneof(
  fc
    .tuple(
      give(value, ""),
      fc.constantFrom(
        "j->'a'->>'e'",
        "j #>> '{a,e}'",
        "j->'l'->0->>'p'",
        "j->'t'->>0",
        "j->>'x.y'",
        "r->'a'->>'e'",
        "jsonb_extract_path_text(j, 'a', 'e')",
        "j #>> '{t,0}'",
      ),
      fc.constantFrom("=", "<>", "IS DISTINCT FROM"),
    )
    .map(([given, side, operator]) =>
      withValue(`SELECT id FROM docs WHERE ${side} ${operator} ${given.sql} ORDER BY id`, given),
    ),
  fc
    .tuple(give(value, ""))
    .map(([given]) =>
      withValue(`SELECT id FROM docs WHERE j->'a'->>'e' IN (${given.sql}, '${CANARY}1') ORDER BY id`, given),
    ),
  fc
    .tuple(
      give(
        document.map((made) => JSON.stringify(made)),
        "::jsonb",
      ),
    )
    .map(([given]) => withValue(`SELECT id FROM docs WHERE j @> ${given.sql} ORDER BY id`, given)),
  fc
    .tuple(
      give(
        value.map((text) => JSON.stringify({ a: { e: text } })),
        "::jsonb",
      ),
      fc.constantFrom("j @> X", "X <@ j", "j <@ X"),
    )
    .map(([given, form]) =>
      withValue(`SELECT id FROM docs WHERE ${form.replace("X", given.sql)} ORDER BY id`, given),
    ),
  fc
    .tuple(give(value, ""))
    .map(([given]) =>
      withValue(
        `SELECT d.id FROM docs d, jsonb_array_elements(CASE jsonb_typeof(d.j->'l') WHEN 'array' THEN d.j->'l' ELSE '[]' END) c WHERE c->>'p' = ${given.sql} ORDER BY 1`,
        given,
      ),
    ),
  fc
    .constantFrom(
      "j",
      "r",
      "j->'a'",
      "j->'a'->'e'",
      "j->'a'->>'e'",
      "j->'l'",
      "j->'l'->1",
      "j->'t'->>0",
      "j['l'][0]['p']",
      "j #> '{l,0}'",
      "j ? 'a'",
      "j->'s'",
      "j->>'s'",
      "jsonb_typeof(j->'a'->'e')",
      "coalesce(j->'a'->>'e', NULL)",
      "(SELECT x.j FROM docs x WHERE x.id = docs.id)",
      "j || NULL",
    )
    .map((what) => ({ text: `SELECT id, ${what} AS what FROM docs ORDER BY id` })),
  fc
    .constantFrom(
      "one.j->'a'->>'e' = two.j->'a'->>'e'",
      "one.j->'a'->>'e' = two.r->'a'->>'e'",
      "one.j->'t'->0 = two.j->'t'->0",
    )
    .map((on) => ({ text: `SELECT one.id, two.id FROM docs one JOIN docs two ON ${on} ORDER BY 1, 2` })),
);

type Answer = { readonly rows: readonly unknown[] } | { readonly code: string };
async function answer(client: pg.Client, { text, values }: Statement): Promise<Answer> {
  try {
    return {
      rows: (
        await client.query({ text, values: values && [...values], rowMode: "array" } as pg.QueryArrayConfig)
      ).rows,
    };
  } catch (error) {
    return { code: (error as { code?: string }).code ?? String(error) };
  }
}

/** What the proxy alone says: the server would have taken the statement. */
const REFUSED = /^(42501|22023|55000)$/;

test("statements on documents do what they do on values, or are refused, and no file holds a value", {
  timeout: 1_200_000,
}, async () => {
  // The database of values is made afterwards: its files would hold them.
  const done: { readonly client: pg.Client; readonly statement: Statement; readonly answer: Answer }[] = [];
  const refused = { writes: 0, searches: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(writes, { minLength: 1, maxLength: 4 }),
      fc.array(searches, { maxLength: 3 }),
      fc.boolean(),
      async (writing, searching, isLead) => {
        const client = isLead ? lead : app;
        for (const statement of [...writing, ...searching]) {
          const got = await answer(client, statement);
          done.push({ client, statement, answer: got });
          if ("code" in got && REFUSED.test(got.code))
            refused[writing.includes(statement) ? "writes" : "searches"]++;
        }
        const held = await beside.query("SELECT j::text || coalesce(r::text, '') AS held FROM docs");
        for (const row of held.rows) expect(row.held ?? "").not.toContain(CANARY);
      },
    ),
    { numRuns: RUNS, seed: 7, endOnFailure: true },
  );
  await beside.query("ANALYZE docs; CHECKPOINT; SELECT pg_switch_wal()");
  const files = readdirSync(server.dataFolder, { recursive: true, encoding: "utf8" })
    .map((name) => join(server.dataFolder, name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
  expect(files.filter((file) => readFileSync(file).includes(CANARY))).toEqual([]);

  clearDatabase = await databaseOn(server.uri, "generated_clear");
  await clearDatabase.query(SETUP);
  direct = new pg.Client(clearDatabase.uri);
  await direct.connect();
  for (const { statement, answer: got } of done) {
    if ("code" in got && REFUSED.test(got.code)) continue;
    expect([statement, await answer(direct, statement)]).toEqual([statement, got]);
  }
  // Most of what is generated is meant to work.
  expect(refused.writes + refused.searches).toBeLessThan(done.length / 3);
});

test("psql writes documents by COPY in both formats, and reads them back", async () => {
  await beside.query("TRUNCATE docs");
  const rows = [{ a: { e: "tab\there" } }, { a: { e: 'q"u\\o' }, l: [{ p: "line\nbreak" }] }];
  const [first, second] = rows.map((row) => JSON.stringify(row));
  const folder = mkdtempSync(join(tmpdir(), "sluice-copy-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "rows.csv");
  writeFileSync(file, `2,"${second?.replaceAll('"', '""')}","{ ""a"":{""e"":""x"",""e"":""y""} }"\n`);
  const input = [
    "COPY docs (id, j, r) FROM STDIN;",
    `1\t${first?.replaceAll("\\", "\\\\")}\t\\N`,
    "\\.",
    `\\copy docs (id, j, r) FROM '${file}' (FORMAT csv)`,
    "COPY docs (id, j, r) TO STDOUT (FORMAT csv);",
    "COPY (SELECT j->'a' FROM docs ORDER BY id) TO STDOUT;",
    "",
  ].join("\n");
  const { stdout, stderr } = await psql(["-q"], { uri: sluice.uri("helpdesk_app"), input });
  expect(stderr).toBe("");
  const held = (
    await beside.query("SELECT string_agg(j::text || coalesce(r::text, ''), '') AS held FROM docs")
  ).rows[0].held;
  expect(held).not.toMatch(/tab|line|q\\"|"x"|"y"/);
  expect((await app.query("SELECT j FROM docs ORDER BY id")).rows.map(({ j }) => j)).toEqual(rows);
  expect(stdout).toContain('"{ ""a"":{""e"":""x"",""e"":""y""} }"');
  expect(stdout).toContain('{"e": "tab\\\\there"}');
  const bad = await psql(["-q"], {
    uri: sluice.uri("helpdesk_app"),
    input: 'COPY docs (id, j) FROM STDIN;\n3\t{"a":{"e":5}}\n\\.\n',
  });
  expect(bad.stderr).toContain("no string");
});

test("documents are sent and given in binary format as well", async () => {
  await beside.query("TRUNCATE docs");
  const given = { a: { e: "binär" } };
  const binary = (made: unknown) => Buffer.concat([Buffer.from([1]), Buffer.from(JSON.stringify(made))]);
  await app.query({ text: "INSERT INTO docs (id, j) VALUES (1, $1)", values: [binary(given)] });
  expect((await beside.query("SELECT j->'a'->>'e' AS e FROM docs")).rows[0].e).toMatch(/^slt1_/);
  const types = { getTypeParser: () => (field: Buffer) => field } as unknown as pg.CustomTypesConfig;
  // Without values it would be sent as a simple query, whose answer is in text format.
  const asked = {
    text: "SELECT j, j->'a' AS a FROM docs WHERE id = $1",
    values: [1],
    binary: true,
    types,
  } as pg.QueryConfig;
  const [row] = (await app.query(asked)).rows as { readonly j: Buffer; readonly a: Buffer }[];
  for (const [field, made] of [
    [row?.j, given],
    [row?.a, given.a],
  ] as const) {
    expect(field?.[0]).toBe(1);
    expect(JSON.parse(String(field?.subarray(1)))).toEqual(made);
  }
});

test("cursors, prepared statements and pooled connections turn documents back", async () => {
  await beside.query("TRUNCATE docs");
  const given = { a: { e: "x@y.z" } };
  await app.query("INSERT INTO docs (id, j) VALUES (1, $1) RETURNING j", [given]);
  for (const client of [app, lead]) {
    await client.query("BEGIN");
    await client.query("DECLARE c CURSOR FOR SELECT j, j->'a' AS a FROM docs");
    expect((await client.query("FETCH ALL FROM c")).rows).toEqual([{ j: given, a: given.a }]);
    await client.query("COMMIT");
  }
  await app.query("PREPARE p AS SELECT j, j->'a'->>'e' AS e FROM docs");
  expect((await app.query("EXECUTE p")).rows).toEqual([{ j: given, e: "x@y.z" }]);
  const pooled = await startProxy(sealedDatabase, { policy: POLICY, tokens: sealer, pool: { size: 1 } });
  const clients = await Promise.all([pooled.connect("helpdesk_app"), pooled.connect("helpdesk_app")]);
  try {
    for (const [index, client] of clients.entries()) {
      await client.query({
        name: "add",
        text: "INSERT INTO docs (id, j) VALUES ($1, $2)",
        values: [10 + index, given],
      });
      const read = {
        name: "read",
        text: "SELECT j FROM docs WHERE j->'a'->>'e' = $1 AND id = $2",
        values: ["x@y.z", 10 + index],
      };
      expect((await client.query(read)).rows).toEqual([{ j: given }]);
    }
  } finally {
    await Promise.all(clients.map((client) => client.end()));
    await pooled.close();
  }
});
