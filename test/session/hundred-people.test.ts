import { createSecretKey } from "node:crypto";
import { SignJWT } from "jose";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Claims } from "../../proxy/session/person/claims.ts";
import { Random } from "../fuzz/random.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * A hundred people take turns on ten connections in random order, by every way in which an application can name them. A
 * model says whom the sources name at each read; each customer is read once, so the log tells who was charged.
 */

const SECRET = createSecretKey(Buffer.alloc(32, 7));

const ALL = "reads: all\n    writes: all\n    sees: all\n    calls: [public.renames]";
const TABLES = `version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers, public.visits], writes: [public.visits], calls: [public.renames], budget: { 1h: 100000 } }
  app:
    users: [helpdesk_app]
    ${ALL}
    unnamed: { budget: { 1h: 100000 } }
`;
const WORDS = '[{ setting: app.agent }, { comment: user }, { application_name: "helpdesk/(.+)" }';
const WATCHED = `${TABLES}    watch: true\n    budget: { 1h: 100000 }\n    people_behind: ${WORDS}, { role: true }]\n`;
const ACTING = `${TABLES}    people_behind: ${WORDS}]\n    acts_as: agent\n`;
const SIGNED = `${TABLES}    watch: true
    budget: { 1h: 100000 }
    people_behind: [{ setting: app.agent }, { comment: user }]
    signed_by: { key_file: claims.key }
`;

const NAMES = Array.from({ length: 100 }, (_, i) => `agent${i}`);
/** By their names; what else an application might pass for one is below. */
const tokens = new Map<string, string>();
const FORGED: string[] = [];

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: WATCHED });
  await world.database.query(`
    CREATE TABLE public.visits (agent text);
    CREATE FUNCTION public.renames(agent text) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); END $$;
    CREATE FUNCTION public.visited() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', NEW.agent, false); RETURN NEW; END $$;
    CREATE TRIGGER visited BEFORE INSERT ON public.visits FOR EACH ROW EXECUTE FUNCTION public.visited();
    CREATE ROLE people; GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, people;
    DO $$ BEGIN FOR i IN 0..99 LOOP
      EXECUTE format('CREATE ROLE agent%s IN ROLE people', i);
      EXECUTE format('GRANT agent%s TO helpdesk_app', i);
    END LOOP; END $$;
  `);
  const sign = (sub: string, seconds: number, key = SECRET) =>
    new SignJWT({ sub, exp: Math.floor(Date.now() / 1000) + seconds })
      .setProtectedHeader({ alg: "HS256" })
      .sign(key);
  for (const name of NAMES) tokens.set(name, await sign(name, 3_600));
  FORGED.push(
    "agent1",
    await sign("agent1", -300),
    await sign("agent1", 60, createSecretKey(Buffer.alloc(32, 8))),
  );
});
afterAll(() => world?.close());

/** Settings that may name somebody; "" where nobody is. */
interface Settings {
  readonly agent: string;
  readonly application: string;
  readonly role: string;
}

/** What the server holds: what lasts, and what lasts as long as the transaction. */
interface Held {
  readonly session: Settings;
  readonly local: Partial<Settings>;
}

const NOBODY: Held = { session: { agent: "", application: "", role: "" }, local: {} };

/** One connection, as Postgres would have it. */
class Model {
  held = NOBODY;
  /** As it was when the transaction and each savepoint began. */
  #before: Held[] = [];
  failed = false;

  get inBlock(): boolean {
    return this.#before.length > 0;
  }

  get savepoints(): number {
    return Math.max(0, this.#before.length - 1);
  }

  set(values: Partial<Settings>, isLocal: boolean): void {
    if (isLocal) {
      if (this.inBlock) this.held = { ...this.held, local: { ...this.held.local, ...values } };
      return;
    }
    const local = { ...this.held.local };
    for (const key of Object.keys(values) as (keyof Settings)[]) delete local[key];
    this.held = { session: { ...this.held.session, ...values }, local };
  }

  begin(): void {
    this.#before.push(this.held);
  }

  /** Of a transaction that has failed COMMIT takes all back as well. */
  end(how: "COMMIT" | "ROLLBACK"): void {
    const [first = this.held] = this.#before;
    this.held = how === "ROLLBACK" || this.failed ? first : { session: this.held.session, local: {} };
    this.#before = [];
    this.failed = false;
  }

  backToSavepoint(): void {
    this.held = this.#before.at(-1) ?? this.held;
    this.failed = false;
  }

  release(): void {
    this.#before.pop();
  }

  now(): Settings {
    return { ...this.held.session, ...this.held.local };
  }
}

interface Mode {
  readonly policy: string;
  readonly pool?: { readonly size: number };
  readonly isSigned?: true;
  readonly acts?: true;
}

const MODES: readonly (readonly [string, Mode])[] = [
  ["ten connections of their own", { policy: WATCHED }],
  ["three connections of a pool", { policy: WATCHED, pool: { size: 3 } }],
  ["signed claims, and forged ones", { policy: SIGNED, isSigned: true }],
  ["roles of their own", { policy: ACTING, acts: true }],
];

const TURNS = Number(process.env.SLUICE_PEOPLE_TURNS ?? 30);

test.each(MODES)(
  "a hundred people over %s: each is charged what they were shown, and nothing else",
  async (_, mode) => {
    const claims = new Claims({ keyOf: () => SECRET, now: Date.now, onRejected: () => {} });
    const sluice = await startProxy(world.database, {
      policy: mode.policy,
      claims,
      ...(mode.pool && { pool: mode.pool }),
    });
    const chances = new Random(Number(process.env.SEED ?? 18));
    /** By customer: who has to be charged, and "" for the account. */
    const expected = new Map<string, string>();
    const walks = Array.from({ length: 10 }, () => new Walk(sluice, mode, chances, expected));
    await Promise.all(walks.map((walk) => walk.go(TURNS)));
    const charged = new Map<string, string>();
    await expect
      .poll(() => {
        for (const { subjects, user, account } of sluice.statements())
          for (const subject of subjects) charged.set(subject, account === undefined ? "" : user);
        return charged.size;
      })
      .toBe(expected.size);
    const wrong = [...expected].filter(([subject, person]) => charged.get(subject) !== person);
    expect(wrong.map(([subject, person]) => [subject, person, charged.get(subject)])).toEqual([]);
    expect(new Set(expected.values()).size).toBeGreaterThan(20);
    await sluice.close();
  },
);

/** Rows that are longer than the server's buffer (8 kB) leave it before the one behind them is made. */
const LASTING =
  "SELECT repeat('x', 9000), pg_sleep(CASE WHEN i < 4 THEN 0 ELSE 100 END) FROM generate_series(1, 4) AS i";

let customer = 0;

class Walk {
  readonly #sluice: TestProxy;
  readonly #mode: Mode;
  readonly #chances: Random;
  readonly #expected: Map<string, string>;
  #client: pg.Client | undefined;
  #model = new Model();

  constructor(sluice: TestProxy, mode: Mode, chances: Random, expected: Map<string, string>) {
    this.#sluice = sluice;
    this.#mode = mode;
    this.#chances = chances;
    this.#expected = expected;
  }

  async go(turns: number): Promise<void> {
    for (let i = 0; i < turns; i++) {
      for (let steps = this.#chances.below(4); steps > 0; steps--) await this.#step();
      if (!this.#model.failed) await this.#read();
      if (this.#chances.below(15) === 0) await this.#drop();
    }
    await this.#client?.end();
  }

  /** What an application passes for a person, and whom it names. */
  #somebody(): readonly [said: string, name: string] {
    const name = this.#chances.of(NAMES);
    if (this.#mode.isSigned !== true) return [name, name];
    if (this.#chances.below(4) === 0) return [this.#chances.of(FORGED), ""];
    return [tokens.get(name) ?? "", name];
  }

  async #step(): Promise<void> {
    const model = this.#model;
    if (model.failed) {
      const isBack = model.savepoints > 0 && this.#chances.below(2) === 0;
      if (isBack) await this.#backToSavepoint();
      else await this.#end();
      return;
    }
    await this.#chances.of([
      ...Array.from({ length: 4 }, () => () => this.#rename()),
      () => (model.inBlock ? this.#end() : this.#begin()),
      () => (model.inBlock ? this.#savepoint() : this.#begin()),
      () => (model.savepoints > 0 ? this.#backToSavepoint() : this.#rename()),
      () => (model.savepoints > 0 ? this.#release() : this.#rename()),
      () => this.#fail(),
    ])();
  }

  async #rename(): Promise<void> {
    const [said, name] = this.#somebody();
    // A source speaks although what it says names nobody: a later one never stands in for it.
    const agent = name === "" ? "?" : name;
    const local = this.#chances.below(2) === 0;
    const word = local ? "SET LOCAL" : "SET";
    const ways: [string, Partial<Settings>, boolean][] = [
      [`${word} app.agent = '${said}'`, { agent }, local],
      [`SELECT set_config('app.agent', '${said}', ${local})`, { agent }, local],
      ["RESET app.agent", { agent: "" }, false],
      [`${word} app.agent = '${said}'; SELECT 1`, { agent }, local],
    ];
    // What a function sets in a pool's connection goes when the connection does.
    if (this.#mode.pool === undefined)
      ways.push(
        [`SELECT public.renames('${said}')`, { agent }, false],
        [`INSERT INTO public.visits VALUES ('${said}')`, { agent }, false],
      );
    if (this.#mode.isSigned !== true)
      ways.push([`${word} application_name = 'helpdesk/${said}'`, { application: name }, local]);
    // A pool's connection takes no role for longer than a transaction, and a guarded session none.
    if (this.#mode.policy === WATCHED && (this.#mode.pool === undefined || (local && this.#model.inBlock)))
      ways.push([`${word} ROLE ${said}`, { role: name }, local]);
    const [sql, values, isLocal] = this.#chances.of(ways);
    await this.#run(sql);
    // Outside of a block a text of several statements is a transaction of its own.
    this.#model.set(values, isLocal);
  }

  async #read(): Promise<void> {
    const id = (customer++ % 1_000) + 1;
    const { agent, application, role } = this.#model.now();
    const [said, name] = this.#somebody();
    const hasComment = this.#chances.below(3) === 0;
    const comment = hasComment ? ` /*user='${said}'*/` : "";
    const person = agent !== "" ? agent : hasComment ? name || "?" : application || role;
    const reader = person === "?" ? "" : person;
    const form = this.#chances.below(3);
    const { rows } =
      form === 0
        ? await this.#run(`SELECT name, email FROM customers WHERE id = ${id}${comment}`)
        : await this.#run({
            text: `SELECT name, email FROM customers WHERE id = $1${comment}`,
            values: [id],
            ...(form === 1 && !hasComment && { name: "by id" }),
          });
    expect(rows.length).toBe(1);
    if (this.#mode.acts) expect([id, reader, /\*/.test(rows[0].email)]).toEqual([id, reader, reader !== ""]);
    this.#expected.set(`public.customers.id ${id}`, reader);
  }

  async #begin(): Promise<void> {
    await this.#run("BEGIN");
    this.#model.begin();
  }

  async #end(): Promise<void> {
    const how = this.#chances.of(["COMMIT", "ROLLBACK"] as const);
    await this.#run(how);
    this.#model.end(how);
  }

  async #savepoint(): Promise<void> {
    await this.#run("SAVEPOINT s");
    this.#model.begin();
  }

  async #backToSavepoint(): Promise<void> {
    await this.#run("ROLLBACK TO s");
    this.#model.backToSavepoint();
  }

  async #release(): Promise<void> {
    await this.#run("RELEASE s");
    this.#model.release();
  }

  /** A statement that renames somebody fails, or is cancelled while it runs: nothing of it holds. */
  async #fail(): Promise<void> {
    const [said] = this.#somebody();
    const client = await this.#connected();
    if (this.#chances.below(2) === 0)
      await client.query(`SET app.agent = '${said}'; SELECT 1/0`).catch(() => {});
    else {
      // With its first row it is known to run, and it lasts until the request has come.
      const query = new pg.Query(LASTING);
      query.once("row", () => void this.#cancel(client));
      await new Promise<void>((resolve) => {
        query.on("error", () => resolve());
        query.on("end", () => resolve());
        client.query(query);
      });
    }
    if (this.#model.inBlock) this.#model.failed = true;
  }

  async #cancel(client: pg.Client): Promise<void> {
    const raw = await this.#sluice.bare();
    raw.send(cancelRequest(client));
  }

  /** The connection is lost in the middle of something, and another one takes its place. */
  async #drop(): Promise<void> {
    const client = await this.#connected();
    client.query("SELECT name FROM customers WHERE id < 0").catch(() => {});
    client.connection.stream.destroy();
    this.#client = undefined;
    this.#model = new Model();
  }

  async #run(query: string | pg.QueryConfig): Promise<pg.QueryResult> {
    const client = await this.#connected();
    return client.query(query);
  }

  async #connected(): Promise<pg.Client> {
    this.#client ??= await this.#sluice.connect("helpdesk_app");
    return this.#client;
  }
}

function cancelRequest(client: pg.Client): Buffer {
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const message = Buffer.alloc(16);
  message.writeInt32BE(16, 0);
  // CancelRequest (Postgres docs, "Message Formats").
  message.writeInt32BE(80_877_102, 4);
  message.writeInt32BE(processID, 8);
  message.writeInt32BE(secretKey, 12);
  return message;
}
