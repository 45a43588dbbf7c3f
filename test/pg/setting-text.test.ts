import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isTrue, namesUtf8, splitNames } from "../../proxy/pg/setting-text.ts";
import { freshDatabase, PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const LONG = `${"x".repeat(62)}é`;
const SCHEMAS = [
  ...["Ärzte", "ärzte", "\u212A", "k", "İ", "a,b", 'a"b', "a b", "plain", "Mixed", "$user"],
  ...["x".repeat(62), "y".repeat(63), "\u00a0", "a\u00a0b"],
];
const POLICY = `
version: 1
classes: { name: { mask: redact } }
tables: { plain.people: { subject: id, columns: { name: name } } }
roles:
  agent: { users: [anna], reads: all, rows: 100 }
`;

let database: TestDatabase;
let direct: pg.Client;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("setting-text");
  for (const name of SCHEMAS) {
    const schema = pg.escapeIdentifier(name);
    await database.query(`CREATE SCHEMA ${schema}; GRANT USAGE ON SCHEMA ${schema} TO anna;
      CREATE TABLE ${schema}.t AS SELECT ${pg.escapeLiteral(name)} AS here; GRANT SELECT ON ${schema}.t TO anna;`);
  }
  await database.query("CREATE TABLE plain.people (id int PRIMARY KEY, name text)");
  direct = new pg.Client({ connectionString: database.uri });
  await direct.connect();
  sluice = await startSluice({ policy: POLICY, upstream: database.uri });
});
afterAll(async () => {
  await sluice?.close();
  await direct?.end();
  await database?.drop();
});

/** The schemas that the server takes the list for, or undefined where it takes it for none. */
async function ofServer(list: string): Promise<readonly string[] | undefined> {
  try {
    await direct.query("SELECT set_config('search_path', $1, false)", [list]);
  } catch (error) {
    expect(error).toMatchObject({ code: "22023" });
    return undefined;
  }
  const { rows } = await direct.query<{ path: string[] }>(
    "SELECT pg_catalog.current_schemas(false)::text[] AS path",
  );
  return rows[0]?.path;
}

function ofOurs(list: string): readonly string[] | undefined {
  const known = splitNames(list)?.filter((name) => SCHEMAS.includes(name));
  // The server drops a schema that is named twice, and "$user" means the user's own.
  return known && [...new Set(known)].filter((name) => name !== "$user");
}

const LISTS = [
  ...["", "  ", ",", "plain,", ",plain", "plain, ,k", '""', 'plain, "", k', '"plain', 'plain" , k', 'a"b, k'],
  ...[
    "Ärzte",
    "ärzte",
    '"Ärzte" , ärzte',
    "\u212A",
    "K",
    '"\u212A"',
    "İ",
    "MIXED",
    '"Mixed"',
    "PLAIN\t,\n\vk\f",
  ],
  ...[
    '"a,b"',
    '"a""b"',
    'a""b',
    '"a b"',
    "a b",
    "plain\u00a0,k",
    "\u00a0",
    "a\u00a0b",
    '"plain"k',
    '"plain""k"',
  ],
  ...["x".repeat(70), `"${"x".repeat(63)}"`, LONG, "Y".repeat(90), "plain, plain", '"$user", plain'],
];

describe("a list of names is read as the server reads it", () => {
  test.each(LISTS)("%j", async (list) => {
    expect(ofOurs(list)).toEqual(await ofServer(list));
  });

  test("whatever it is made of", async () => {
    const piece = fc.constantFrom(
      ...['"', ",", " ", "\t", "\u00a0", "\\", "$user"],
      ...["plain", "K", "Ä", "rzte", "x".repeat(61)],
    );
    const list = fc.array(piece, { maxLength: 7 }).map((pieces) => pieces.join(""));
    await fc.assert(
      fc.asyncProperty(list, async (text) => {
        expect(ofOurs(text)).toEqual(await ofServer(text));
      }),
      { numRuns: 300 },
    );
  });
});

describe("a guarded session reads the relation that the server would", () => {
  const there = LISTS.filter((list) => (ofOurs(list) ?? []).length > 0);

  test.each(there)("set at login, by set_config and by SET: %j", async (list) => {
    const expected = (await ofServer(list))?.[0];
    const escaped = list.replace(/[\\\s]/g, "\\$&");
    const uri = sluice.uriFor("anna", PASSWORDS.anna);
    const atStart = new pg.Client({ connectionString: uri, options: `-c SEARCH-path=${escaped}` });
    await atStart.connect();
    expect((await atStart.query("SELECT here FROM t")).rows).toEqual([{ here: expected }]);
    await atStart.query("SELECT set_config('Search_Path', 'plain', false)");
    expect((await atStart.query("SELECT here FROM t")).rows).toEqual([{ here: "plain" }]);
    await atStart.query(`SELECT set_config('search_path', ${pg.escapeLiteral(list)}, false)`);
    expect((await atStart.query("SELECT here FROM t")).rows).toEqual([{ here: expected }]);
    await atStart.end();
  });
});

const ENCODINGS = [
  ...[
    "UTF8",
    "utf-8",
    "UTF_8",
    "u t f 8",
    "'utf8'",
    "unicode",
    "Uni-Code",
    "utf",
    "utf16",
    "utf88",
    "sql_ascii",
    "latin1",
  ],
  ...["UNİCODE", "utf\u212A8", ""],
];

test("an encoding is UTF8 by the names that the server takes for it", async () => {
  for (const name of ENCODINGS) {
    const { rows } = await direct.query<{ is: boolean }>(
      "SELECT pg_encoding_to_char(pg_char_to_encoding($1)) = 'UTF8' AS is",
      [name],
    );
    expect([name, namesUtf8(name)]).toEqual([name, rows[0]?.is]);
  }
});

const WORDS = [
  "on",
  "ON",
  "o",
  "of",
  "off",
  "true",
  "tru",
  "T",
  "truee",
  "yes",
  "Ye",
  "y",
  "1",
  "01",
  "11",
  "0",
  "no",
  "n",
];

test("a setting is switched on by the words that the server takes for it", async () => {
  for (const word of [...WORDS, "", " on", "\u212A"]) {
    const isOn = await direct.query("SELECT set_config('enable_sort', $1, false) AS is", [word]).then(
      ({ rows }) => rows[0]?.is === "on",
      () => false,
    );
    expect([word, isTrue(word)]).toEqual([word, isOn]);
  }
});

test.each(["SET client_encoding = utf_8", "SET NAMES 'Uni-Code'", "SET standard_conforming_strings TO tru"])(
  "a guarded session may say %s",
  async (text) => {
    const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
    await client.connect();
    await client.query(text);
    await client.end();
  },
);
