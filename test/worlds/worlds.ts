import pg from "pg";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import {
  createRoles,
  databaseOn,
  startPostgres,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Message, Raw } from "../harness/raw-client.ts";
import { type Finding, findingOf, type Outcome, PlantedIndex } from "./information.ts";
import { MeterSpy } from "./meter-spy.ts";
import { EMPTY, fillWorld } from "./planted.ts";

/**
 * Many worlds: databases that differ only in the protected values of people, one proxy in front of all of them, and
 * readers who do the same in each. A reader is a new user, so no one has been counted for them yet.
 */

/** Messages that are sent at once; `ready`: the number of ReadyForQuery messages in reply. */
export interface Sent {
  readonly messages: readonly Buffer[];
  readonly ready: number;
}

export interface Worlds {
  readonly count: number;
  readonly index: PlantedIndex;
  readonly sluice: TestProxy;
  readonly server: RunningPostgres;
  readonly store: MeterSpy;
  /** A new user of this role, logged in to the first `count` worlds (all if absent). */
  reader(role: string, count?: number): Promise<Reader>;
  close(): Promise<void>;
}

/** One user in all worlds, who does one step after the other. */
export interface Reader {
  readonly user: string;
  /** Sends the same to each world, and compares the answers. */
  step(sent: Sent): Promise<Step>;
  close(): void;
}

export interface Step extends Finding {
  /** The answers in each world. */
  readonly answers: readonly (readonly Message[])[];
  /** People who were named in a row for the first time, in some world. */
  readonly newlyNamed: ReadonlySet<string>;
}

export async function openWorlds(options: {
  readonly policy: string;
  readonly roles: readonly string[];
  readonly count: number;
  /** Run on the database that all worlds are copies of. */
  readonly prepare?: (client: pg.Client) => Promise<void>;
}): Promise<Worlds> {
  const { policy, roles, count, prepare } = options;
  const server = await startPostgres({ auth: "trust", settings: { max_connections: "300" } });
  await createRoles(server.uri);
  const control = await databaseOn(server.uri, "control");
  const databases = await makeDatabases(server.uri, control, count, prepare);
  const store = new MeterSpy(() => Date.UTC(2030, 0, 15));
  const first = databases[0] ?? "";
  const catalogs = new OneCatalog(control, first);
  const sluice = await startProxy(
    { ...control, database: first },
    {
      policy,
      store,
      catalogs,
      settings: { maxClients: 1_000 },
    },
  );
  const users = new Users(control, roles);
  const index = new PlantedIndex(count);
  return {
    count,
    index,
    sluice,
    server,
    store,
    async reader(role, some = count) {
      return LoggedIn.everywhere(await users.next(role), databases.slice(0, some), { sluice, store, index });
    },
    async close() {
      await sluice.close();
      await control.drop();
      await server.stop();
    },
  };
}

/** The worlds are copies of one database, and so similar that one catalog, with its verdicts, serves them all. */
class OneCatalog extends Catalogs {
  readonly #database: string;
  constructor({ host, port, superuser }: TestDatabase, database: string) {
    super({ connection: { host, port, user: superuser }, probeSeconds: 3600 });
    this.#database = database;
  }
  override of(): ReturnType<Catalogs["of"]> {
    return super.of(this.#database);
  }
}

async function makeDatabases(
  server: string,
  control: TestDatabase,
  count: number,
  prepare: (client: pg.Client) => Promise<void> = async () => {},
): Promise<readonly string[]> {
  await control.query("CREATE DATABASE empty_world TEMPLATE template0");
  await supportSchema(uriOf(server, "empty_world"));
  await within(server, "empty_world", async (client) => {
    await client.query(EMPTY);
    await prepare(client);
  });
  const names = Array.from({ length: count }, (_, world) => `world_${world}`);
  for (const [world, name] of names.entries()) {
    await control.query(`CREATE DATABASE ${name} TEMPLATE empty_world`);
    await run(server, name, fillWorld(world));
  }
  return names;
}

const run = (server: string, database: string, sql: string) =>
  within(server, database, async (client) => {
    await client.query(sql);
  });

async function within(
  server: string,
  database: string,
  work: (client: pg.Client) => Promise<void>,
): Promise<void> {
  const client = new pg.Client({ connectionString: uriOf(server, database) });
  await client.connect();
  await work(client);
  await client.end();
}

function uriOf(server: string, database: string): string {
  const uri = new URL(server);
  uri.pathname = `/${database}`;
  return uri.href;
}

/** Users who have not read anything, created a hundred at a time. */
class Users {
  readonly #control: TestDatabase;
  readonly #free: Map<string, string[]>;
  #made = 0;

  constructor(control: TestDatabase, roles: readonly string[]) {
    this.#control = control;
    this.#free = new Map(roles.map((role) => [role, []]));
  }

  async next(role: string): Promise<string> {
    const free = this.#free.get(role);
    if (free === undefined) throw new Error(`no role ${role}`);
    if (free.length === 0) {
      const names = Array.from({ length: 100 }, () => `${role}_${this.#made++}`);
      await this.#control.query(names.map((name) => `CREATE ROLE ${name} LOGIN;`).join(""));
      free.push(...names);
    }
    return free.pop() ?? "";
  }
}

interface Around {
  readonly sluice: TestProxy;
  readonly store: MeterSpy;
  readonly index: PlantedIndex;
}

class LoggedIn implements Reader {
  readonly user: string;
  readonly #databases: readonly string[];
  readonly #clients: readonly Raw[];
  readonly #around: Around;
  readonly #named = new Set<string>();

  private constructor(user: string, databases: readonly string[], clients: readonly Raw[], around: Around) {
    this.user = user;
    this.#databases = databases;
    this.#clients = clients;
    this.#around = around;
  }

  static async everywhere(user: string, databases: readonly string[], around: Around): Promise<LoggedIn> {
    const clients = await Promise.all(
      databases.map((database) => Raw.logIn(around.sluice.port, user, database)),
    );
    return new LoggedIn(user, databases, clients, around);
  }

  async step(sent: Sent): Promise<Step> {
    const outcomes = await Promise.all(
      this.#clients.map((client, world) => this.#outcome(client, this.#databases[world] ?? "", sent)),
    );
    const newlyNamed = this.#newlyNamed();
    const finding = findingOf(outcomes, this.#around.index);
    const told = new Set([...finding.told].filter((bit) => !this.#named.has(bit.slice(0, bit.indexOf(".")))));
    return { ...finding, told, answers: outcomes.map(({ answer }) => answer), newlyNamed };
  }

  async #outcome(client: Raw, database: string, { messages, ready }: Sent): Promise<Outcome> {
    const { store } = this.#around;
    const before = await store.used(database, this.user);
    client.send(...messages);
    const answer: Message[] = [];
    for (let left = ready; left > 0; left--) answer.push(...(await client.until("Z")));
    if (answer.some(isUncounted)) throw new Error("the counters are away: nothing is tried any more");
    const charged = (await store.used(database, this.user)) - before;
    return { answer, charged };
  }

  #newlyNamed(): ReadonlySet<string> {
    const fresh = new Set<string>();
    for (const database of this.#databases)
      for (const person of this.#around.store.named(database, this.user))
        if (!this.#named.has(person)) fresh.add(person);
    for (const person of fresh) this.#named.add(person);
    return fresh;
  }

  close(): void {
    for (const { socket } of this.#clients) socket.destroy();
  }
}

/** 58000: the counters were unavailable, so nothing was released. */
function isUncounted({ type, bytes }: Message): boolean {
  return type === "E" && bytes.includes("C58000\0");
}
