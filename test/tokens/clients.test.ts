import { DataTypes, Op, Sequelize } from "sequelize";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  createRoles,
  databaseOn,
  pgDump,
  psql,
  startDebianPostgres,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/* Clients that know nothing of tokens read, write, search, migrate, dump and restore. */

const sealer = sealerOf(keyLine(1, 7));
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  phone: { mask: { last: 4 }, stored: token }
tables:
  public.people: { subject: id, columns: { email: email, phone: phone }, allow_missing: true }
  public.mails: { subject: person_id, columns: { sender: email }, allow_missing: true }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;

beforeAll(async () => {
  // pg_dump reads servers up to its own version.
  server = await startDebianPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "clients");
  await database.query("GRANT CREATE ON SCHEMA public TO helpdesk_app");
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

/** Columns of tokens that hold something else. */
async function clearValues(): Promise<readonly unknown[]> {
  const { rows } = await database.query(
    "SELECT * FROM (SELECT email AS value FROM people UNION ALL SELECT phone FROM people UNION ALL SELECT sender FROM mails) v WHERE value NOT LIKE 'slt1\\_%'",
  );
  return rows;
}

function sequelizeOn(uri: string) {
  const sequelize = new Sequelize(uri, { dialect: "postgres", logging: false, pool: { max: 2 } });
  onTestFinished(() => sequelize.close());
  const options = { timestamps: false, underscored: true } as const;
  const Person = sequelize.define(
    "person",
    {
      id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
      name: DataTypes.TEXT,
      email: { type: DataTypes.TEXT, unique: true },
      phone: DataTypes.STRING(200),
    },
    { ...options, tableName: "people" },
  );
  const Mail = sequelize.define(
    "mail",
    {
      id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
      sender: DataTypes.TEXT,
      body: DataTypes.TEXT,
    },
    { ...options, tableName: "mails" },
  );
  Person.hasMany(Mail);
  Mail.belongsTo(Person);
  return { sequelize, Person, Mail };
}

test("Sequelize makes its tables, and writes, finds, joins, changes and deletes", async () => {
  const { sequelize, Person, Mail } = sequelizeOn(sluice.uri("helpdesk_app"));
  await sequelize.sync({ force: true });
  await Person.create({ name: "Alice", email: "alice@example.com", phone: "+49301" });
  await Person.bulkCreate([
    { name: "Bob", email: "bob@example.com", phone: null },
    { name: "Cleo", email: "ç'l\"eo\\@example.com", phone: "+49303" },
  ]);
  const alice = await Person.findOne({ where: { email: "alice@example.com" }, rejectOnEmpty: true });
  expect(alice.get()).toMatchObject({ id: "1", email: "alice@example.com", phone: "+49301" });
  await Mail.create({ sender: "alice@example.com", body: "hello", personId: 1 });
  const found = await Person.findAll({
    where: { email: { [Op.in]: ["alice@example.com", "ç'l\"eo\\@example.com"] } },
    include: Mail,
    order: ["id"],
  });
  expect(found.map((person) => person.get("phone"))).toEqual(["+49301", "+49303"]);
  expect(await Mail.count({ where: { sender: "alice@example.com" } })).toBe(1);
  expect(await Person.count({ where: { email: { [Op.ne]: "bob@example.com" } } })).toBe(2);
  await alice.update({ phone: "+49309" });
  await Person.update({ name: "Robert" }, { where: { email: "bob@example.com" } });
  await Person.upsert({ id: 2, email: "bob@example.org", name: "Rob" });
  // It would make a function whose text holds the value.
  await expect(
    Person.findOrCreate({ where: { email: "cleo@example.org" }, defaults: { name: "C" } }),
  ).rejects.toMatchObject({ parent: { code: "42501", hint: expect.stringContaining("findOne and create") } });
  await Person.create({ email: "cleo@example.org" });
  await expect(Person.create({ email: "bob@example.org" })).rejects.toMatchObject({
    name: "SequelizeUniqueConstraintError",
  });
  const page = await Person.findAndCountAll({ limit: 2, order: [["id", "DESC"]] });
  expect(page.count).toBe(4);
  await sequelize.transaction(async (transaction) => {
    await Person.destroy({ where: { email: "cleo@example.org" }, transaction });
  });
  expect(
    (await Person.findAll({ order: ["id"], raw: true })).map((row) => Object.values(row).slice(2)),
  ).toEqual([
    ["alice@example.com", "+49309"],
    ["bob@example.org", null],
    ["ç'l\"eo\\@example.com", "+49303"],
  ]);
  await sequelize.getQueryInterface().addColumn("people", "country", { type: DataTypes.TEXT });
  expect(await Person.findOne({ where: { email: "alice@example.com" }, raw: true })).toMatchObject({
    id: "1",
  });
  expect(await clearValues()).toEqual([]);
});

test.each([
  "DO $$ BEGIN INSERT INTO people (email) VALUES ('clear'); END $$",
  "DO 'begin update only \"public\" . \"people\" set email = ''clear''; end'",
  "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS $$ INSERT\n\tINTO public.people (email) VALUES ('clear') $$",
])("code that is sent to run once may not write values: %s", async (text) => {
  const { sequelize } = sequelizeOn(sluice.uri("helpdesk_app"));
  await sequelize.sync({ force: true });
  await expect(sequelize.query(text)).rejects.toMatchObject({ parent: { code: "42501" } });
  // What object mappers send when they migrate.
  await sequelize.query(
    "DO $$ BEGIN ALTER TABLE people ADD CONSTRAINT c FOREIGN KEY (id) REFERENCES people (id) ON UPDATE CASCADE; EXCEPTION WHEN duplicate_object THEN null; END $$",
  );
  expect(await clearValues()).toEqual([]);
});

const ROWS =
  "SELECT id, email, phone FROM people ORDER BY id; SELECT sender, person_id FROM mails ORDER BY id";
const TABLES = ["--table=people", "--table=mails", "--no-owner", "--no-privileges"];

test("a dump through the proxy holds values, and is restored through it; one beside it holds tokens, and is restored beside it", async () => {
  const { sequelize, Person, Mail } = sequelizeOn(sluice.uri("helpdesk_app"));
  await sequelize.sync({ force: true });
  await Person.bulkCreate([
    { name: "Alice", email: "alice@example.com", phone: "tab\there" },
    { name: "Bob", email: "b\\ob@example.com", phone: null },
  ]);
  await Mail.create({ sender: "alice@example.com", body: "hello", personId: 1 });
  const uri = sluice.uri("helpdesk_app");
  const before = await psql(["-qAt", "-c", ROWS], { uri });
  expect(before.stdout).toBe("1|alice@example.com|tab\there\n2|b\\ob@example.com|\nalice@example.com|1\n");
  const held = await database.query("SELECT email, phone FROM people ORDER BY id");

  for (const form of [
    ["--clean", "--if-exists"],
    ["--clean", "--if-exists", "--inserts"],
    ["--clean", "--if-exists", "--column-inserts"],
  ]) {
    const through = await pgDump([...TABLES, ...form], { uri });
    expect(through).toMatchObject({ stderr: "", code: 0 });
    expect(through.stdout).toContain("alice@example.com");
    expect(through.stdout).not.toContain("slt1_");
    const restored = await psql(["-q", "-v", "ON_ERROR_STOP=1"], { uri, input: through.stdout });
    expect(restored).toMatchObject({ stderr: "", code: 0 });
    expect(await psql(["-qAt", "-c", ROWS], { uri })).toEqual(before);
    expect((await database.query("SELECT email, phone FROM people ORDER BY id")).rows).toEqual(held.rows);
    expect(await clearValues()).toEqual([]);
  }

  const beside = await pgDump([...TABLES, "--clean", "--if-exists"], { uri: database.uri });
  expect(beside.stdout).not.toContain("alice@example.com");
  const back = await psql(["-q", "-v", "ON_ERROR_STOP=1"], { uri: database.uri, input: beside.stdout });
  expect(back).toMatchObject({ stderr: "", code: 0 });
  await database.query("ALTER TABLE people OWNER TO helpdesk_app; ALTER TABLE mails OWNER TO helpdesk_app");
  await expect.poll(() => psql(["-qAt", "-c", ROWS], { uri })).toEqual(before);

  // Tokens are no values: what was dumped beside the proxy is not sealed once more.
  const mixed = await psql(["-q", "-v", "ON_ERROR_STOP=1"], { uri, input: beside.stdout });
  expect(mixed.stderr).toContain("begins like a token of the proxy");
});

test("psql shows a table, and copies it out and in", async () => {
  const { sequelize, Person } = sequelizeOn(sluice.uri("helpdesk_app"));
  await sequelize.sync({ force: true });
  await Person.create({ name: "Alice", email: "alice@example.com", phone: "+49301" });
  const uri = sluice.uri("helpdesk_app");
  expect((await psql(["-q"], { uri, input: "\\d people\n" })).stdout).toContain("people_email_key");
  expect(
    await psql(["-qAt", "-v", "mail=alice@example.com"], {
      uri,
      input: "SELECT id FROM people WHERE email = :'mail';\n",
    }),
  ).toMatchObject({ stdout: "1\n", stderr: "" });
  const copied = await psql(["-q"], { uri, input: "\\copy people (name, email) to stdout csv\n" });
  expect(copied).toMatchObject({ stdout: "Alice,alice@example.com\n", stderr: "" });
  const input =
    "\\copy people (name, email) from stdin csv\nBob,bob@example.com\n\\.\nSELECT email FROM people WHERE email = 'bob@example.com';\n";
  expect(await psql(["-qAt"], { uri, input })).toMatchObject({ stdout: "bob@example.com\n", stderr: "" });
  expect(await clearValues()).toEqual([]);
});
