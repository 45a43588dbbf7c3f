import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { Random } from "../fuzz/random.ts";
import { startProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY, showsCanary } from "./canary.ts";

/*
 * Tables change under the hands of those who read them: by a connection past the proxy, at any moment. Whatever moment that is,
 * a guarded client gets no raw value, nothing hangs, every person who is shown is counted, and once the proxy has looked again,
 * clients get what a direct connection gets.
 */

/** Longer by hand: SLUICE_DDL_SECONDS=600 SLUICE_DDL_SEED=5. */
const SECONDS = process.env.SLUICE_DDL_SECONDS;
const SEED = Number(process.env.SLUICE_DDL_SEED ?? 11);
const ROUNDS = SECONDS === undefined ? 4 : Number.POSITIVE_INFINITY;
/** Of each of the two ways to the server. */
const SHARE_MS = (1000 * Number(SECONDS ?? 3600)) / 2;
const LIMIT_MS = SECONDS === undefined ? 120_000 : SHARE_MS + 120_000;
/** An answer that takes longer hangs. */
const HANGS_MS = 20_000;

/** What has no class is masked: so a value that begins with a canary is protected whatever its column is called. */
const POLICY = `
version: 1
unclassified: mask
classes: { secret: { mask: "null" }, open: { mask: "null" } }
tables:
  crm.people: { subject: id, columns: { id: open, note: open, email: secret, phone: secret } }
  crm.notes: { subject: person_id, columns: { id: open, person_id: open, label: open, body: secret } }
  crm.log: { subject: person_id, columns: { id: open, person_id: open, kind: open, payload: secret } }
roles:
  agent: { users: [anna], reads: all, writes: [crm.notes], sees: [open], budget: { 1d: 100000000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1d: 100000000 } }
`;

const PEOPLE = 60;

/** From nothing, with the columns in an order of their own. */
function built(random: Random): string {
  const columns = shuffled(random, ["id int PRIMARY KEY", "note text", "email text", "phone text"]);
  return `
    DROP SCHEMA IF EXISTS crm CASCADE; DROP SCHEMA IF EXISTS crm_old CASCADE;
    CREATE SCHEMA crm;
    CREATE DOMAIN crm.address AS text;
    CREATE TABLE crm.people (${columns.join(", ")});
    INSERT INTO crm.people (id, note, email, phone)
      SELECT n, 'note ' || n, '${CANARY}-e' || n, '${CANARY}-p' || n FROM generate_series(1, ${PEOPLE}) n;
    CREATE TABLE crm.staff AS SELECT * FROM crm.people;
    CREATE TABLE crm.notes (id int PRIMARY KEY, person_id int, label text, body text);
    INSERT INTO crm.notes SELECT n, n, 'label ' || n, '${CANARY}-b' || n FROM generate_series(1, ${PEOPLE}) n;
    CREATE TABLE crm.log (id int, person_id int, kind text, payload text) PARTITION BY RANGE (id);
    CREATE TABLE crm.log_1 PARTITION OF crm.log FOR VALUES FROM (0) TO (30);
    CREATE TABLE crm.log_2 PARTITION OF crm.log FOR VALUES FROM (30) TO (1000);
    INSERT INTO crm.log SELECT n, n, 'kind', '${CANARY}-l' || n FROM generate_series(1, ${PEOPLE}) n;
    CREATE TABLE crm.vip () INHERITS (crm.people);
    CREATE VIEW crm.labels AS SELECT id, person_id, label FROM crm.notes;
    CREATE VIEW crm.cards AS SELECT id, note, email FROM crm.people;
    GRANT USAGE ON SCHEMA crm TO PUBLIC;
    GRANT ALL ON ALL TABLES IN SCHEMA crm TO anna, helpdesk_app;`;
}

/** There and back: what a DBA does in one transaction. `%`: the schema by the name that it has at that moment. */
const CHANGES: readonly (readonly [there: string, back: string])[] = [
  ["ALTER TABLE %.people RENAME email TO mail", "ALTER TABLE %.people RENAME mail TO email"],
  ["ALTER TABLE %.people RENAME id TO pid", "ALTER TABLE %.people RENAME pid TO id"],
  [`ALTER TABLE %.people ADD extra text DEFAULT '${CANARY}-x'`, "ALTER TABLE %.people DROP extra CASCADE"],
  [
    "ALTER TABLE %.people ADD made text GENERATED ALWAYS AS (phone || '!') STORED",
    "ALTER TABLE %.people DROP made CASCADE",
  ],
  [
    "ALTER TABLE %.notes RENAME body TO old_body; ALTER TABLE %.notes ADD body text DEFAULT 'new'",
    "ALTER TABLE %.notes DROP body; ALTER TABLE %.notes RENAME old_body TO body",
  ],
  [
    "ALTER TABLE %.notes DROP label CASCADE; ALTER TABLE %.notes ADD label text DEFAULT 'again'",
    "DROP VIEW IF EXISTS %.labels; CREATE VIEW %.labels AS SELECT id, person_id, label FROM %.notes; GRANT ALL ON %.labels TO anna, helpdesk_app",
  ],
  ["ALTER TABLE %.people ALTER phone TYPE varchar(200)", "ALTER TABLE %.people ALTER phone TYPE %.address"],
  [
    "ALTER DOMAIN %.address ADD CONSTRAINT ok CHECK (VALUE IS NULL OR length(VALUE) < 500)",
    "ALTER DOMAIN %.address DROP CONSTRAINT ok",
  ],
  [
    "CREATE OR REPLACE VIEW %.labels AS SELECT id, person_id, body AS label FROM %.notes",
    "CREATE OR REPLACE VIEW %.labels AS SELECT id, person_id, label FROM %.notes",
  ],
  [
    "CREATE OR REPLACE VIEW %.cards AS SELECT id, email AS note, note AS email FROM %.people",
    "CREATE OR REPLACE VIEW %.cards AS SELECT id, note, email FROM %.people",
  ],
  [
    "ALTER TABLE %.people RENAME TO passing; ALTER TABLE %.staff RENAME TO people; ALTER TABLE %.passing RENAME TO staff",
    "ALTER TABLE %.people RENAME TO passing; ALTER TABLE %.staff RENAME TO people; ALTER TABLE %.passing RENAME TO staff",
  ],
  [
    "ALTER TABLE %.log DETACH PARTITION %.log_1",
    "ALTER TABLE %.log ATTACH PARTITION %.log_1 FOR VALUES FROM (0) TO (30)",
  ],
  ["ALTER TABLE %.log_2 RENAME TO notes_2", "ALTER TABLE %.notes_2 RENAME TO log_2"],
  ["ALTER TABLE %.vip NO INHERIT %.people", "ALTER TABLE %.vip INHERIT %.people"],
  [
    "REVOKE SELECT ON %.people FROM anna; GRANT SELECT (id, note) ON %.people TO anna",
    "REVOKE SELECT (id, note) ON %.people FROM anna; GRANT SELECT ON %.people TO anna",
  ],
  [
    "CREATE POLICY odd ON %.people USING (id % 2 = 1); ALTER TABLE %.people ENABLE ROW LEVEL SECURITY".replace(
      "id % 2",
      "id & 1",
    ),
    "DROP POLICY odd ON %.people; ALTER TABLE %.people DISABLE ROW LEVEL SECURITY",
  ],
];

type Kind =
  /** The server's own description of the columns tells what they are. */
  | "plain"
  /** What a view shows is known when the catalog has been looked at. */
  | "view";

interface Question {
  readonly sql: string;
  readonly kind: Kind;
  /** Its first column names people of a table that the policy counts. */
  readonly names?: true;
}

/** `$a` to `$b`: people whom no other question of the round asks about. */
const READS: readonly Question[] = [
  {
    kind: "plain",
    names: true,
    sql: "SELECT id, note, email, phone FROM crm.people WHERE id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT id, note FROM crm.people WHERE id BETWEEN $a AND $b ORDER BY id",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT id, upper(email), length(note) FROM crm.people WHERE id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT p.id, p.*, to_json(p) FROM crm.people p WHERE id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT p.id, p::text, (p).email FROM people p WHERE p.id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT p.id, n.* FROM crm.people p JOIN crm.notes n ON n.person_id = p.id WHERE p.id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT person_id, label, body FROM notes WHERE person_id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "SELECT person_id, l.* FROM crm.log l WHERE person_id BETWEEN $a AND $b",
  },
  {
    kind: "plain",
    names: true,
    sql: "UPDATE crm.notes SET label = 'done' WHERE person_id BETWEEN $a AND $b RETURNING person_id, label",
  },
  {
    kind: "plain",
    names: true,
    sql: "WITH x AS (SELECT * FROM crm.people WHERE id BETWEEN $a AND $b) SELECT id, x FROM x",
  },
  { kind: "plain", sql: "SELECT * FROM crm.people" },
  { kind: "plain", sql: "TABLE crm.staff" },
  { kind: "plain", sql: "SELECT * FROM crm.notes ORDER BY id" },
  { kind: "plain", sql: "SELECT * FROM crm.log_1" },
  { kind: "plain", sql: "SELECT * FROM crm.vip UNION ALL SELECT * FROM crm.vip" },
  { kind: "plain", sql: "SELECT * FROM crm_old.people" },
  { kind: "plain", sql: "SELECT mail, email FROM crm.people" },
  { kind: "plain", sql: "SELECT extra, made FROM crm.people" },
  { kind: "plain", sql: "SELECT extra || 'x' FROM crm.people" },
  { kind: "plain", sql: "SELECT old_body, body FROM crm.notes" },
  { kind: "plain", sql: "SELECT payload FROM crm.notes_2" },
  { kind: "plain", sql: "COPY crm.people TO STDOUT" },
  { kind: "plain", sql: "COPY (SELECT note, email FROM crm.people) TO STDOUT" },
  { kind: "plain", sql: "SELECT min(email), max(phone), count(*) FROM crm.people" },
  { kind: "plain", sql: "SELECT array_agg(p) FROM crm.people p" },
  { kind: "plain", sql: "EXPLAIN SELECT * FROM crm.people" },
  { kind: "view", sql: "SELECT * FROM crm.labels" },
  { kind: "view", sql: "SELECT label FROM crm.labels WHERE id < 5" },
  { kind: "view", sql: "SELECT id, note, email FROM crm.cards" },
  { kind: "view", sql: "SELECT c::text FROM crm.cards c" },
];

/** What tables that change say to anybody; a prepared statement may not fit any more (0A000). */
const EXPECTED: ReadonlySet<string> = new Set([
  "42P01",
  "42703",
  "42501",
  "0A000",
  "3F000",
  "26000",
  "42P10",
  "42809",
]);
/** The server's own, of catalog entries that went between two looks of its own. */
const OF_THE_SERVER = /cache lookup failed|could not open relation|tuple concurrently|could not find/;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
});
afterAll(() => world?.close());

function shuffled<T>(random: Random, items: readonly T[]): readonly T[] {
  return items
    .map((item) => ({ item, key: random.below(2 ** 31) }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

interface Answer {
  readonly rows: readonly (readonly unknown[])[];
  readonly code?: string;
}

/** A client, all that it has received, and the protocol that it speaks. */
class Client {
  readonly #client: pg.Client;
  readonly user: string;
  #received: Buffer[] = [];
  #names = 0;
  readonly #prepared = new Map<string, string>();

  private constructor(user: string, client: pg.Client) {
    this.user = user;
    this.#client = client;
  }

  static async connect(user: string, uri: string): Promise<Client> {
    const client = new pg.Client({ connectionString: uri });
    client.on("error", () => {});
    await client.connect();
    const made = new Client(user, client);
    const { stream } = (client as unknown as { connection: { stream: NodeJS.ReadableStream } }).connection;
    stream.on("data", (chunk: Buffer) => made.#received.push(chunk));
    await client.query("SET search_path = crm, public");
    return made;
  }

  /** Whether something protected came since the last call. */
  takeShown(): boolean {
    const shown = showsCanary(Buffer.concat(this.#received));
    this.#received = [];
    return shown;
  }

  /** `by`: a statement is prepared once and run again and again, as drivers do. */
  async ask(sql: string, by: "simple" | "extended" | "prepared" | "binary"): Promise<Answer> {
    const query = {
      text: sql,
      rowMode: "array" as const,
      ...(by === "prepared" && { name: this.#nameOf(sql) }),
      ...(by === "binary" && { binary: true }),
      ...(by !== "simple" && { values: [] }),
      ...(by === "extended" && { queryMode: "extended" }),
    };
    try {
      const answer = await within(this.#client.query(query), sql);
      const results = Array.isArray(answer) ? answer : [answer];
      const rows = results.flatMap((result) => result.rows as unknown[][]);
      return { rows: rows.toSorted((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1)) };
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error;
      const { code = "" } = error;
      // A driver drops what does not fit any more, and prepares it again.
      this.#prepared.delete(sql);
      if (!EXPECTED.has(code) && !OF_THE_SERVER.test(error.message))
        throw new Error(`${this.user}: ${sql}: ${code} ${error.message}`);
      return { rows: [], code };
    }
  }

  #nameOf(sql: string): string {
    const name = this.#prepared.get(sql) ?? `s${this.#names++}`;
    this.#prepared.set(sql, name);
    return name;
  }

  async end(): Promise<void> {
    await this.#client.end();
  }
}

async function within<T>(work: Promise<T>, what: string): Promise<T> {
  const stop = new AbortController();
  const late = sleep(HANGS_MS, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`no answer: ${what}`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    stop.abort();
  }
}

/** Tables as they are, and which changes have been made. */
class Dba {
  readonly #made = new Set<number>();
  readonly #client: pg.Client;
  readonly #random: Random;
  #schema = "crm";
  readonly done: string[] = [];

  constructor(client: pg.Client, random: Random) {
    this.#client = client;
    this.#random = random;
  }

  async change(): Promise<void> {
    const random = this.#random;
    const roll = random.below(20);
    if (roll === 0) {
      await this.#run(built(random));
      this.#made.clear();
      this.#schema = "crm";
      return;
    }
    if (roll === 1 || this.#schema !== "crm") {
      const next = this.#schema === "crm" ? "crm_old" : "crm";
      if (await this.#run(`ALTER SCHEMA ${this.#schema} RENAME TO ${next}`)) this.#schema = next;
      return;
    }
    // Mostly as the policy has it: where a column of the policy is missing, its table is closed, and little is to be seen.
    const made = [...this.#made];
    const at = made.length > 0 && roll < 15 ? random.of(made) : random.below(CHANGES.length);
    const change = CHANGES[at];
    if (change === undefined) return;
    const sql = change[this.#made.has(at) ? 1 : 0].replaceAll("%", this.#schema);
    if (!(await this.#run(sql))) return;
    if (this.#made.has(at)) this.#made.delete(at);
    else this.#made.add(at);
  }

  /** False: what was changed before does not allow it. */
  async #run(sql: string): Promise<boolean> {
    try {
      await this.#client.query(`BEGIN; ${sql}; COMMIT`);
      this.done.push(sql);
      return true;
    } catch (error) {
      await this.#client.query("ROLLBACK");
      if (error instanceof pg.DatabaseError) return false;
      throw error;
    }
  }
}

const WAYS = ["simple", "extended", "prepared", "prepared", "binary"] as const;

/** What a round asks: each question about people of its own, so that nobody hides behind another's count. */
function questions(
  random: Random,
  count: number,
): readonly (Question & { readonly by: (typeof WAYS)[number] })[] {
  const width = Math.floor(PEOPLE / count);
  return Array.from({ length: count }, (_, i) => {
    const question = random.of(READS);
    const [a, b] = [1 + i * width, (i + 1) * width];
    const sql = question.sql.replaceAll("$a", String(a)).replaceAll("$b", String(b));
    return { ...question, sql, by: random.of(WAYS) };
  });
}

interface Shown {
  readonly user: string;
  readonly sql: string;
  readonly people: ReadonlySet<string>;
}

function peopleOf({ rows }: Answer): ReadonlySet<string> {
  const ids = rows.map(([id]) => (Buffer.isBuffer(id) ? String(id.readInt32BE(0)) : id));
  return new Set(ids.filter((id) => id !== null && id !== undefined).map(String));
}

/** Each user's events count as many people as they were shown. */
async function checkCounts(shown: readonly Shown[], events: () => readonly StatementEvent[]): Promise<void> {
  for (const user of new Set(shown.map((one) => one.user))) {
    const mine = shown.filter((one) => one.user === user);
    const people = new Set(mine.flatMap((one) => [...one.people]));
    const counted = () => {
      const own = events().filter((event) => event.user === user);
      const known = new Set(own.flatMap((event) => event.subjects));
      return known.size + own.reduce((sum, event) => sum + event.people - event.subjects.length, 0);
    };
    await expect
      .poll(counted, {
        message: `${user}: ${mine.map((one) => `${one.sql}: ${one.people.size}`).join("\n")}`,
      })
      .toBeGreaterThanOrEqual(people.size);
  }
}

test.each(["a connection of their own", "shared connections"])(
  "tables that change at any moment show nothing protected, hang nobody, and hide nobody from the count: %s",
  async (way) => {
    const { database } = world;
    const isPooled = way === "shared connections";
    const end = Date.now() + SHARE_MS;
    // What the DBA does is the same for a seed; when it happens is not.
    const [orders, random] = [new Random(SEED), new Random(SEED + 1)];
    await database.query(built(orders));
    const sluice = isPooled
      ? await startProxy(database, { policy: POLICY, pool: { size: 2 } })
      : world.sluice;
    const owner = new pg.Client({ connectionString: database.uri });
    await owner.connect();
    const dba = new Dba(owner, orders);
    const guarded = await Promise.all([1, 2].map(() => Client.connect("anna", sluice.uri("anna"))));
    const watched = await Promise.all(
      [1, 2].map(() => Client.connect("helpdesk_app", sluice.uri("helpdesk_app"))),
    );
    // Shared connections are the proxy's own user's: row security and privileges are those of that user.
    const ownUri = isPooled ? database.uri : database.uriFor("helpdesk_app");
    const direct = await Client.connect("helpdesk_app", ownUri);
    const live = await sluice.catalogs.of(database.database);
    onTestFinished(async () => {
      for (const client of [...guarded, ...watched, direct]) await client.end();
      await owner.end();
      if (isPooled) await sluice.close();
    });
    const tally = { asked: 0, answered: 0, compared: 0, shown: 0 };

    for (let round = 0; round < ROUNDS && Date.now() < end; round++) {
      const before = dba.done.length;
      const at = `seed ${SEED}, round ${round}`;
      const shown: Shown[] = [];
      const from = sluice.events.length;
      const leaks: string[] = [];
      const work = async (client: Client, isGuarded: boolean) => {
        for (const { sql, kind, names, by } of questions(random, 6)) {
          const answer = await client.ask(sql, by);
          tally.asked++;
          if (answer.code === undefined) tally.answered++;
          if (isGuarded && client.takeShown() && kind === "plain") leaks.push(`${by}: ${sql}`);
          if (names && answer.code === undefined)
            shown.push({ user: client.user, sql, people: peopleOf(answer) });
        }
      };
      const changes = async () => {
        for (let i = 0; i < 4; i++) {
          await dba.change();
          await sleep(random.below(30));
        }
      };
      await Promise.all([
        changes(),
        ...guarded.map((client) => work(client, true)),
        ...watched.map((client) => work(client, false)),
      ]);
      const done = () => dba.done.slice(before).join("\n");
      expect(leaks, `${at}\n${done()}`).toEqual([]);
      tally.shown += shown.reduce((sum, one) => sum + one.people.size, 0);
      await checkCounts(shown, () =>
        sluice.events.slice(from).flatMap((event) => (event.kind === "statement" ? [event] : [])),
      );

      // What follows holds once the catalog has been looked at.
      await live.refresh();
      for (const { sql, by, kind } of questions(random, 6)) {
        for (const client of guarded) await client.ask(sql, by);
        expect(
          guarded.some((client) => client.takeShown()),
          `${at}, later: ${kind} ${by} ${sql}\n${dba.done.join("\n")}`,
        ).toBe(false);
        const [app] = watched;
        // In which order rows are gathered is nobody's promise; what was prepared earlier may not fit any more.
        if (app === undefined || /^(?:UPDATE|EXPLAIN)|array_agg/.test(sql) || by === "prepared") continue;
        const [one, other] = [await app.ask(sql, by), await direct.ask(sql, by)];
        tally.compared++;
        expect(one, `${at}: ${by} ${sql}\n${done()}`).toEqual(other);
      }
    }
    if (SECONDS !== undefined) console.log(way, tally, dba.done.length);
    // Not a test of errors alone.
    expect(tally.answered).toBeGreaterThan(tally.asked / 10);
    expect(tally.shown).toBeGreaterThan(0);
  },
  LIMIT_MS,
);
