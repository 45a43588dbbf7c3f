import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { checkAgainstCatalog } from "../../proxy/policy/against-catalog.ts";
import { bytesOfText, hexText, readBytesField } from "../../proxy/tokens/byte-values.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { executeMessage, parseMessage, syncMessage } from "../../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, message, uint16 } from "../../proxy/wire/messages.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { knows } from "../harness/postgres-versions.ts";
import { policiesOf, startProxy, type TestProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

const RUNS = 8 * Number(process.env.SLUICE_LONG ?? 1);
const KEYS = [keyLine(1), keyLine(2)] as const;
const sealer = sealerOf(KEYS[0]);
const STORAGE = { associated: "bytes of column public.scans.scan", form: "bytes", version: 1 } as const;

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  scan: { mask: redact, stored: token }
  print: { mask: email, stored: token, joinable: true }
tables:
  public.scans: { subject: id, columns: { scan: scan, print: print, note: print } }
  public.prints: { columns: { print: print } }
  public.old: { columns: { scan: scan } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead: { users: [ben], reads: [public.scans, public.prints], writes: [public.scans], sees: [scan, print] }
  agent: { users: [anna], reads: [public.scans], sees: [print] }
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let lead: pg.Client;
let agent: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "bytes");
  await database.query(`
    CREATE TABLE scans (id bigint PRIMARY KEY, scan bytea, print bytea UNIQUE, note text, plain bytea);
    CREATE TABLE prints (id bigint PRIMARY KEY, print bytea REFERENCES scans (print));
    CREATE TABLE old (id bigint PRIMARY KEY, scan bytea);
    GRANT ALL ON scans, prints, old TO helpdesk_app, ben, anna`);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  [app, lead, agent] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("ben"),
    sluice.connect("anna"),
  ]);
});
afterAll(async () => {
  await Promise.all([app, lead, agent].map((client) => client?.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

/** What the server itself holds. */
async function stored(id: number): Promise<string | null> {
  const { rows } = await database.query("SELECT encode(scan, 'hex') AS hex FROM scans WHERE id = $1", [id]);
  return rows[0]?.hex === null ? null : `\\x${String(rows[0]?.hex)}`;
}

const read = async (client: pg.Client, text: string, binary = false): Promise<unknown[]> =>
  binary
    ? await readBinary(client.user ?? "", text)
    : (await client.query({ text, rowMode: "array" })).rows.map(([one]) => one as unknown);

/** pg takes fields for text, in binary format too. */
async function readBinary(user: string, text: string): Promise<(Buffer | null)[]> {
  const raw = await sluice.raw(user);
  const inBinary = [uint16(0), uint16(0), uint16(1), uint16(1)];
  raw.send(
    parseMessage("", Buffer.from(text)),
    message(Frontend.Bind, cstring(""), cstring(""), ...inBinary),
    executeMessage("", 0),
    syncMessage,
  );
  const answer = await raw.until("Z");
  raw.socket.destroy();
  const rows = answer.filter(({ type }) => type === "D");
  // The first field's length word is behind the type, the length and the number of fields.
  return rows.map(({ bytes }) =>
    bytes.readInt32BE(7) < 0 ? null : bytes.subarray(11, 11 + bytes.readInt32BE(7)),
  );
}

const BYTES = Buffer.from([0, 1, 0x5c, 0x27, 0x22, 0xff, 0x80, 10]);

const WRITES: readonly [string, unknown[]?][] = [
  ["INSERT INTO scans (id, scan) VALUES (1, '\\x00015c2722ff800a')"],
  ["INSERT INTO scans (id, scan) VALUES (1, '\\x00 01 5C 27 22 FF 80 0A'::bytea)"],
  ["INSERT INTO scans (id, scan) VALUES (1, E'\\\\x00015c2722ff800a')"],
  ["INSERT INTO scans (id, scan) VALUES (1, '\\000\\001\\\\''\"\\377\\200\n')"],
  ["INSERT INTO scans (id, scan) VALUES (1, $1)", [BYTES]],
  ["INSERT INTO scans (id, scan) VALUES (1, $1::bytea)", [hexText(BYTES)]],
  ["INSERT INTO scans (id, scan) SELECT 1, $1", [BYTES]],
  [
    "INSERT INTO scans (id) VALUES (1); UPDATE scans SET scan = coalesce(scan, '\\x00015c2722ff800a') WHERE id = 1",
  ],
  [
    "MERGE INTO scans s USING (VALUES (1)) v(i) ON s.id = v.i WHEN NOT MATCHED THEN INSERT (id, scan) VALUES (v.i, '\\x00015c2722ff800a')",
  ],
];

test.each(WRITES.filter(([text]) => knows(text)))(
  "bytes are sealed by %s, and read in text and binary format",
  async (text, values) => {
    for (const client of [app, lead]) {
      if (client === lead && /;|MERGE|INSERT.*SELECT/.test(text)) continue;
      await database.query("DELETE FROM scans");
      await client.query(text, values);
      expect(sealer.open((await stored(1)) ?? "", STORAGE)).toBe(hexText(BYTES));
      for (const binary of [false, true])
        expect(await read(client, "SELECT scan FROM scans WHERE id = 1", binary)).toEqual([BYTES]);
    }
  },
);

const values = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.string({ unit: "grapheme" }).map((text) => Buffer.from(text)),
  fc.constantFrom(
    Buffer.alloc(0),
    Buffer.alloc(90_000, "long "),
    Buffer.from("\\x01"),
    Buffer.from("slt1_1_x"),
  ),
);

test("any bytes come back as they were written: as parameters, constants, in lists and by COPY", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.option(values), { minLength: 1, maxLength: 5 }), async (all) => {
      await database.query("DELETE FROM scans");
      for (const [id, one] of all.entries()) {
        await app.query("INSERT INTO scans (id, scan) VALUES ($1, $2)", [id, one]);
        const sealed = await stored(id);
        expect(sealed?.startsWith(one === null ? "" : "\\x01736c74315f31") ?? null).toBe(
          one === null ? null : true,
        );
      }
      for (const binary of [false, true])
        expect(await read(app, "SELECT scan FROM scans ORDER BY id", binary)).toEqual(all);
      const given = all.filter((one) => one !== null);
      const found = async (sql: string, parameters?: unknown[]) =>
        Number((await app.query(`SELECT count(*) AS n FROM scans WHERE ${sql}`, parameters)).rows[0]?.n);
      expect(await found("scan = ANY($1)", [given])).toBe(given.length);
      const [first] = given;
      if (first !== undefined) {
        const same = given.filter((one) => one.equals(first)).length;
        expect(await found("scan = $1", [first])).toBe(same);
        expect(await found(`scan = '${hexText(first)}'`)).toBe(same);
        expect(await found(`scan IN ('${hexText(first)}'::bytea, '\\xabcdef0123456789')`)).toBe(same);
        expect(await found(`scan <> '${hexText(first)}'`)).toBe(given.length - same);
      }
      const { stdout } = await psql(["-qAt"], {
        uri: sluice.uri("helpdesk_app"),
        input: "COPY (SELECT id, scan FROM scans ORDER BY id) TO STDOUT;\n",
      });
      const lines = stdout.split("\n").slice(0, -1);
      expect(lines).toEqual(all.map((one, id) => `${id}\t${one === null ? "\\N" : `\\${hexText(one)}`}`));
      await database.query("DELETE FROM scans");
      const input = `COPY scans (id, scan) FROM STDIN;\n${lines.map((line) => `${line}\n`).join("")}\\.\n`;
      expect(await psql(["-q"], { uri: sluice.uri("helpdesk_app"), input })).toMatchObject({ stderr: "" });
      expect(await read(app, "SELECT scan FROM scans ORDER BY id")).toEqual(all);
    }),
    { numRuns: RUNS },
  );
}, 120_000);

test("texts of bytes are read as the server reads them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string({ unit: fc.constantFrom("\\", "x", "0", "1", "3", "7", "a", "F", " ", "\n", "é", "'") }),
        fc.string({ unit: fc.constantFrom("0", "1", "a", "F", " ", "\t") }).map((text) => `\\x${text}`),
      ),
      async (text) => {
        const server = await database.query("SELECT $1::text::bytea AS bytes", [text]).then(
          ({ rows }) => rows[0]?.bytes as unknown as Buffer,
          () => undefined,
        );
        const own = bytesOfText(text);
        if (/[^\0-\x7f]/.test(text)) expect(own).toBeUndefined();
        else expect(own).toEqual(server);
      },
    ),
    { numRuns: 25 * RUNS },
  );
});

test("long texts of bytes are read as well", () => {
  const long = Buffer.alloc(20_000_000, 0xa5);
  expect(bytesOfText(hexText(long))?.equals(long)).toBe(true);
  expect(bytesOfText("\\245".repeat(1_000_000))?.length).toBe(1_000_000);
  expect(bytesOfText(`\\x${"00 ".repeat(1_000_000)}`)?.length).toBe(1_000_000);
});

test("bytea_output = escape shows values in that format", async () => {
  await database.query("DELETE FROM scans");
  await app.query("INSERT INTO scans (id, scan) VALUES (1, $1), (2, $2)", [BYTES, Buffer.from("a\\b")]);
  const lines = [
    "SET bytea_output = escape;",
    "SELECT scan FROM scans ORDER BY id;",
    "COPY scans (scan) TO STDOUT (FORMAT csv);",
  ];
  const through = await psql(["-qAt"], { uri: sluice.uri("helpdesk_app"), input: lines.join("\n") });
  await database.query("UPDATE scans SET scan = CASE id WHEN 1 THEN $1::bytea ELSE $2::bytea END", [
    BYTES,
    Buffer.from("a\\b"),
  ]);
  const beside = await psql(["-qAt"], { uri: database.uri, input: lines.join("\n") });
  expect(through).toEqual(beside);
  expect(through.stdout).toContain("\\000");
});

test("tokens of bytes are equal, unique and refer to each other; a text of the same class is another value", async () => {
  await database.query("DELETE FROM prints; DELETE FROM scans");
  await app.query("INSERT INTO scans (id, print, note) VALUES (1, '\\x6162', 'ab'), (2, '\\x6163', NULL)");
  await app.query("INSERT INTO prints VALUES (1, '\\x6162')");
  await expect(app.query("INSERT INTO scans (id, print) VALUES (3, '\\x61 62')")).rejects.toMatchObject({
    code: "23505",
  });
  await expect(app.query("INSERT INTO prints VALUES (2, '\\x99')")).rejects.toMatchObject({ code: "23503" });
  expect(await read(app, "SELECT s.id FROM scans s JOIN prints p ON p.print = s.print")).toEqual(["1"]);
  expect(
    await read(app, "SELECT print FROM scans WHERE id = 2 UNION SELECT print FROM prints WHERE id = 9"),
  ).toEqual([Buffer.from("ac")]);
  expect(await read(app, "SELECT print FROM scans GROUP BY print")).toEqual(
    expect.arrayContaining([Buffer.from("ab"), Buffer.from("ac")]),
  );
  const { rows } = await database.query("SELECT print, note FROM scans WHERE id = 1");
  expect(String(rows[0]?.note)).toMatch(/^slt1_1_/);
  const print = rows[0]?.print as unknown as Buffer;
  expect(print.subarray(0, 8).toString("latin1")).toBe("\x01slt1_1_");
  expect(sealer.open(hexText(print), { ...STORAGE, associated: "class print" })).toBeUndefined();
});

test("a role that does not see the class gets NULL, whatever the mask, and can search nothing", async () => {
  await database.query("DELETE FROM prints; DELETE FROM scans");
  await app.query("INSERT INTO scans (id, scan) VALUES (1, '\\x6162')");
  await database.query("INSERT INTO scans (id, scan) VALUES (2, '\\x6163')");
  for (const binary of [false, true])
    expect(await read(agent, "SELECT scan FROM scans ORDER BY id", binary)).toEqual([null, null]);
  await expect(agent.query("SELECT id FROM scans WHERE scan = '\\x6162'")).rejects.toMatchObject({
    code: "42501",
  });
  expect(await read(lead, "SELECT scan FROM scans ORDER BY id")).toEqual([
    Buffer.from("ab"),
    Buffer.from("ac"),
  ]);
});

test.each([
  ["SELECT length(scan) FROM scans", "42501", "Tokens can be compared"],
  ["SELECT octet_length(scan) FROM scans", "42501", "Tokens can be compared"],
  ["SELECT encode(scan, 'hex') FROM scans", "42501", "Tokens can be compared"],
  ["SELECT substring(scan FROM 1 FOR 3) FROM scans", "42501", "Tokens can be compared"],
  ["SELECT scan || '\\x00' FROM scans", "42501", "Tokens can be compared"],
  ["SELECT scan::text FROM scans", "42501", "Tokens can be compared"],
  ["SELECT id FROM scans WHERE scan < '\\x00'", "42501", "Tokens can be compared"],
  ["SELECT id FROM scans ORDER BY scan", "42501", "Tokens can be compared"],
  ["SELECT id FROM scans WHERE scan = print", "42501", "joinable"],
  ["SELECT id FROM scans WHERE scan = plain", "42501", ""],
  ["INSERT INTO scans (id, scan) VALUES (80, decode('YWI=', 'base64'))", "42501", "Compute the value"],
  ["INSERT INTO scans (id, scan) VALUES (80, convert_to('ab', 'UTF8'))", "42501", "Compute the value"],
  ["INSERT INTO scans (id, scan) VALUES (80, 'ab'::text)", "42501", "Compute the value"],
  ["UPDATE scans SET scan = plain", "42501", "Compute the value"],
  ["INSERT INTO scans (id, scan) VALUES (80, '\\x012')", "22023", "hexadecimal digits"],
  ["INSERT INTO scans (id, scan) VALUES (80, 'é')", "22023", "hexadecimal digits"],
  ["INSERT INTO scans (id, scan) VALUES (80, '\\x01736c74315f315f00')", "42501", "the proxy makes the token"],
  ["INSERT INTO scans (id, scan) VALUES (80, '\\001slt1_1_ab')", "22023", "hexadecimal digits"],
  ["SELECT id FROM scans WHERE scan = $1::text", "42501", ""],
])("what tokens of bytes cannot do is refused: %s", async (text, code, hint) => {
  for (const client of [app, lead])
    await expect(client.query(text, text.includes("$1") ? ["x"] : undefined)).rejects.toMatchObject({
      code: expect.stringMatching(client === app ? code : `${code}|42501`),
      ...(client === app && { hint: expect.stringContaining(hint) }),
    });
  expect(Number((await database.query("SELECT count(*) AS n FROM scans WHERE id = 80")).rows[0]?.n)).toBe(0);
});

test("a binary parameter that begins like a token is refused, and nothing is stored", async () => {
  const token = Buffer.from((sealer.seal("\\x6162", STORAGE) ?? "").slice(2), "hex");
  await expect(app.query("INSERT INTO scans (id, scan) VALUES (81, $1)", [token])).rejects.toMatchObject({
    code: "42501",
  });
  const declared = "PREPARE p (text) AS SELECT id FROM scans WHERE scan = $1";
  await expect(app.query(declared)).rejects.toMatchObject({ code: "42501" });
});

test("no file of the server and no row beside the proxy holds bytes that were written through the proxy", {
  timeout: 60_000,
}, async () => {
  const directory = String((await database.query("SHOW data_directory")).rows[0]?.data_directory);
  const placesOf = async (text: string) => {
    await database.query("CHECKPOINT");
    const files = (readdirSync(directory, { recursive: true }) as string[])
      .map((name) => join(directory, name))
      .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
    const { rows } = await database.query("SELECT scans::text AS row FROM scans");
    const hex = Buffer.from(text).toString("hex");
    return [
      ...files.filter((file) => readFileSync(file).includes(text) || readFileSync(file).includes(hex)),
      ...rows.map(({ row }) => String(row)).filter((row) => row.includes(hex)),
    ];
  };
  const write = async (client: pg.Client, uri: string, text: string) => {
    const hex = (end: string) => hexText(Buffer.from(`${text}${end}`));
    await client.query("DELETE FROM scans");
    await client.query(`INSERT INTO scans (id, scan, print) VALUES (90, '${hex("1")}', '${hex("2")}')`);
    await client.query("INSERT INTO scans (id, scan) VALUES ($1, $2)", [91, Buffer.from(`${text}3`)]);
    await client.query("UPDATE scans SET scan = $1 WHERE id = 91", [hex("4")]);
    await client.query(`UPDATE scans SET scan = '${text}5' WHERE scan = '${hex("4")}'`);
    await client.query("SELECT id FROM scans WHERE scan = ANY($1)", [[Buffer.from(`${text}5`)]]);
    const input = `COPY scans (id, scan) FROM STDIN;\n92\t\\${hex("6")}\n93\t${text}7\n\\.\n`;
    expect(await psql(["-q"], { uri, input })).toMatchObject({ stderr: "" });
  };
  await database.query("DELETE FROM prints; CREATE INDEX IF NOT EXISTS by_scan ON scans (scan)");
  await write(app, sluice.uri("helpdesk_app"), "kept-as-bytes-token");
  await database.query("ANALYZE scans");
  expect(await placesOf("kept-as-bytes-token")).toEqual([]);
  const open = await startProxy(database, {
    policy: POLICY.replaceAll(/, stored: \w+|, joinable: true|token_canary.*/g, "").replaceAll(
      /mask: \w+/g,
      'mask: "null"',
    ),
  });
  const client = await open.connect("helpdesk_app");
  await write(client, open.uri("helpdesk_app"), "kept-in-clear-bytes");
  const places = await placesOf("kept-in-clear-bytes");
  expect(places.filter((place) => place.startsWith("/")).length).toBeGreaterThan(1);
  expect(places.filter((place) => place.startsWith("(")).length).toBeGreaterThan(0);
  await client.query("DELETE FROM scans");
  await client.end();
  await open.close();
});

async function order(
  name: "migrate" | "restore" | "rotate" | "verify",
  ...keys: readonly (string | undefined)[]
) {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bytes-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "policy.yaml"), POLICY);
  let [output, errors] = ["", ""];
  const status = await tokensColumn(
    name,
    ["public.old.scan", "--policy", folder, "--upstream", database.uri],
    { SLUICE_TOKEN_KEYS: keys.join("\n") },
    { output: { write: (text) => (output += text) }, errors: { write: (text) => (errors += text) } },
  );
  expect({ status, errors }).toMatchObject({ status: 0 });
  return output;
}

test("a column of bytes is migrated, rotated, verified and restored, whatever bytea_output says", async () => {
  const all = [BYTES, Buffer.alloc(0), Buffer.alloc(50_000, "a'\\"), Buffer.from("ü")];
  for (const [id, one] of all.entries()) await database.query("INSERT INTO old VALUES ($1, $2)", [id, one]);
  await database.query("INSERT INTO old VALUES (9, NULL)");
  await database.query(`ALTER DATABASE "${database.database}" SET bytea_output = escape`);
  onTestFinished(
    async () => void (await database.query(`ALTER DATABASE "${database.database}" RESET bytea_output`)),
  );
  const held = async () =>
    (await database.query("SELECT encode(scan, 'hex') AS hex FROM old ORDER BY id")).rows.map(
      ({ hex }) => hex,
    );
  const clear = [...all.map((one) => one.toString("hex")), null];
  expect(await order("migrate", KEYS[0])).toContain("4 rows changed");
  expect(await order("verify", KEYS[0])).toContain("4 tokens of key 1 (active)\n0 values in the clear");
  expect(await read(app, "SELECT scan FROM old ORDER BY id")).toEqual([...all, null]);
  expect(await order("rotate", ...KEYS)).toContain("4 rows changed");
  expect((await held()).every((hex) => hex === null || String(hex).startsWith("01736c74315f325f"))).toBe(
    true,
  );
  expect(await order("verify", ...KEYS)).toContain("4 tokens of key 2 (active)\n0 values in the clear");
  expect(await order("restore", ...KEYS)).toContain("4 rows changed");
  expect(await held()).toEqual(clear);
});

test("while keys are rotated bytes are found under each key, by constants and lists", async () => {
  await database.query("DELETE FROM prints; DELETE FROM scans");
  await app.query("INSERT INTO scans (id, scan) VALUES (1, '\\x6162'), (3, '\\x99')");
  const both = await startProxy(database, { policy: POLICY, tokens: sealerOf(...KEYS) });
  const client = await both.connect("helpdesk_app");
  onTestFinished(async () => {
    await client.end();
    await both.close();
  });
  await client.query("INSERT INTO scans (id, scan) VALUES (2, $1)", [Buffer.from("ab")]);
  const hexes = (await database.query("SELECT encode(scan, 'hex') AS hex FROM scans ORDER BY id")).rows;
  expect(hexes.map(({ hex }) => String(hex).slice(0, 16))).toEqual(
    [1, 2, 1].map((key) => `01736c74315f3${key}5f`),
  );
  const found = async (condition: string, values?: unknown[]) =>
    (await client.query(`SELECT id FROM scans WHERE ${condition} ORDER BY id`, values)).rows.map(
      ({ id }) => id,
    );
  expect(await found("scan = '\\x6162'")).toEqual(["1", "2"]);
  expect(await found("scan IN ('\\x6162'::bytea, '\\x00')")).toEqual(["1", "2"]);
  expect(await found("scan <> '\\x6162'")).toEqual(["3"]);
  expect(await found("scan = ANY ($1)", [[Buffer.from("ab")]])).toEqual(["1", "2"]);
  expect(await found("scan = ANY ('{\"\\\\x6162\"}')")).toEqual(["1", "2"]);
  await expect(found("scan = $1", [Buffer.from("ab")])).rejects.toMatchObject({
    code: "55000",
    hint: expect.stringContaining("Send it in a list"),
  });
});

test("a bytea column is checked like others, and needs no mask of bytes", async () => {
  await database.query("CREATE TABLE preset (id bigint PRIMARY KEY, scan bytea DEFAULT '\\x00', mail bytea)");
  onTestFinished(async () => void (await database.query("DROP TABLE preset")));
  const policy = policiesOf(`
version: 1
token_canary: ${canaryToken(sealer)}
classes: { scan: { mask: email, stored: token }, mail: { mask: "null", stored: email } }
tables: { public.preset: { columns: { scan: scan, mail: mail } }, public.scans: { columns: { scan: scan } } }
`).forDatabase("any");
  const catalog = await (await sluice.catalogs.of(database.database)).refresh();
  expect(
    new Set(checkAgainstCatalog(policy, catalog).map(({ severity, message }) => `${severity}: ${message}`)),
  ).toEqual(
    new Set([
      "error: public.preset.scan is stored as tokens, and its default would be stored as it is",
      "error: public.preset.mail is stored as tokens, which its type bytea cannot hold",
    ]),
  );
});

test("a field is known as a token in text format, hexadecimal or escape, and in binary format alone", () => {
  const token = sealer.seal("\\x00ff", STORAGE) ?? "";
  const raw = Buffer.from(token.slice(2), "hex");
  expect(readBytesField(raw)?.token).toBe(token);
  expect(readBytesField(Buffer.from(token))?.token).toBe(token);
  for (const other of ["", "\\x", "slt1_1_abc", "\\x736c74315f", "\x01slt0_"])
    expect(readBytesField(Buffer.from(other))).toBeUndefined();
  expect(sealer.open(token.toUpperCase().replace("\\X", "\\x"), STORAGE)).toBeUndefined();
  expect(sealer.open(`${token.slice(0, -2)}00`, STORAGE)).toBeUndefined();
});
