import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { Analyst } from "../../proxy/analyst/analyst.ts";
import { type ServerParts, type ServerSettings, startServer } from "../../proxy/app/server.ts";
import type { AuditEvent, StatementEvent } from "../../proxy/audit/event.ts";
import type { CanarySighting } from "../../proxy/canaries/canaries.ts";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { deriveKeys, randomSecret } from "../../proxy/keys/keys.ts";
import { createLog } from "../../proxy/log.ts";
import type { BudgetSighting } from "../../proxy/meter/budget-alerts.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { createMetrics, type Metrics } from "../../proxy/metrics/metrics.ts";
import { compilePolicies, type PolicySet } from "../../proxy/policy/compile.ts";
import type { NamedPool } from "../../proxy/pool/pools.ts";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import { saslInitialResponse, saslResponse } from "../../proxy/wire/frontend-messages.ts";
import { formatVerifier, makeVerifier, SCRAM_SHA_256, ScramClient } from "../../proxy/wire/scram.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { parseUpstream } from "../../proxy/wire/upstream.ts";
import type { ProbeHost } from "../../proxy/wire/upstream-hosts.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import { RawClient } from "../server/sluice.ts";

export interface Sluice {
  readonly port: number;
  readonly events: readonly AuditEvent[];
  readonly log: readonly string[];
  setPolicy(text: string): void;
  /** The statements' events since the last call. */
  statements(): readonly StatementEvent[];
  connect(user: string): Promise<pg.Client>;
  /** A client past log-in that speaks the protocol message by message. */
  raw(user: string): Promise<Raw>;
  /** A connection that nothing has been sent on. */
  bare(): Promise<RawClient>;
  uri(user: string): string;
  pools(): readonly NamedPool[];
  readonly catalogs: Catalogs;
  readonly metrics: Metrics;
  close(): Promise<void>;
}

export interface SluiceOptions {
  readonly policy: string;
  readonly store?: CounterStore;
  /** Those of the database itself, if left out; closed with the proxy. */
  readonly catalogs?: Catalogs;
  readonly settings?: Partial<ServerSettings>;
  /** Decoys and budgets that were told of. */
  readonly onCanary?: (sighting: CanarySighting) => void;
  readonly onBudget?: (sighting: BudgetSighting) => void;
  readonly suspensions?: ServerParts["suspensions"];
  readonly claims?: ServerParts["claims"];
  /** Server connections are shared: so many for each user. Users then log in to the proxy, with PASSWORDS. */
  readonly pool?: { readonly size: number; readonly waitMs?: number };
  /** Further parameters of the upstream's URI. */
  readonly upstreamQuery?: string;
  readonly probeHost?: ProbeHost;
  /** Long texts are analysed there; on the event loop if left out. */
  readonly analyst?: Analyst;
}

/** A whole proxy but for commands: real log-in, real analysis, counters in memory, events in an array. */
export async function startSluice(database: TestDatabase, options: SluiceOptions): Promise<Sluice> {
  const query = ["sslmode=disable", ...(options.upstreamQuery === undefined ? [] : [options.upstreamQuery])];
  const upstream = parseUpstream(`${database.uri}?${query.join("&")}`, {});
  if (!upstream.ok) throw new Error(upstream.problem);
  let policies = policiesOf(options.policy);
  const events: AuditEvent[] = [];
  let told = 0;
  const log: string[] = [];
  const store = options.store ?? createMemoryStore();
  const catalogs =
    options.catalogs ??
    new Catalogs({
      connection: { host: database.host, port: database.port, user: database.superuser },
      probeSeconds: 3600,
    });
  const metrics = createMetrics({ version: "test", databases: [] });
  const { pool } = options;
  const folder = pool && (await mkdtemp(join(tmpdir(), "sluice-pool-")));
  const users = folder && join(folder, "users.txt");
  if (users !== undefined) await writeFile(users, await verifiers(), { mode: 0o600 });
  const server = await startServer({
    settings: {
      listen: [{ host: "127.0.0.1", port: 0 }],
      auth: pool === undefined ? "passthrough" : "scram",
      users,
      ...(pool && { pool: "transaction", poolSize: pool.size, poolWait: pool.waitMs ?? 20_000 }),
      tlsCert: undefined,
      tlsKey: undefined,
      tlsClientCa: undefined,
      maxMessage: 1 << 20,
      maxClients: 100,
      loginTimeout: 20_000,
      drainTimeout: 5_000,
      ...options.settings,
    },
    upstream: upstream.upstream,
    ...(options.probeHost === undefined ? {} : { probeHost: options.probeHost }),
    policies: () => policies,
    audit: {
      write: (event) => {
        events.push(event);
      },
      hashSubject: (namespace, value) => `${namespace} ${value}`,
      durable: async () => true,
      ready: true,
      flush: async () => {},
      close: async () => {},
    },
    metrics,
    log: createLog({ level: "debug", to: { write: (line) => log.push(line) } }),
    keys: deriveKeys(randomSecret()),
    catalogs,
    store,
    ...(options.onCanary && { onCanary: options.onCanary }),
    ...(options.suspensions && { suspensions: options.suspensions }),
    ...(options.claims && { claims: options.claims }),
    ...(options.onBudget && { onBudget: options.onBudget }),
    verdicts: new VerdictCache(
      {
        onLookup: () => {},
        onAnalysis: () => ({ stage: () => {}, end: () => {} }),
        onRefusal: () => {},
        onLeftover: () => {},
      },
      options.analyst,
    ),
    scopes: new Scopes(),
  });
  const [{ port }] = server.addresses;
  const uri = (user: string) =>
    `postgresql://${user}:${passwordOf(user)}@127.0.0.1:${port}/${database.database}?sslmode=disable`;
  return {
    port,
    events,
    log,
    uri,
    setPolicy(text) {
      policies = policiesOf(text);
    },
    statements() {
      const fresh = events.slice(told);
      told = events.length;
      return fresh.filter((event) => event.kind === "statement");
    },
    async connect(user) {
      const client = new pg.Client({ connectionString: uri(user) });
      client.on("error", () => {});
      await client.connect();
      return client;
    },
    raw: (user) => Raw.logIn(port, user, database.database),
    bare: () => RawClient.connect(port),
    pools: () => server.pools(),
    catalogs,
    metrics,
    async close() {
      await server.close();
      if (folder !== undefined) await rm(folder, { recursive: true });
      await catalogs.close();
      await store.close();
    },
  };
}

function policiesOf(text: string): PolicySet {
  const compiled = compilePolicies([{ name: "test.yaml", text }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  return compiled.policies;
}

function passwordOf(user: string): string {
  return Object.entries(PASSWORDS).find(([name]) => name === user)?.[1] ?? "";
}

async function verifiers(): Promise<string> {
  const lines = Object.entries(PASSWORDS).map(async ([user, password]) =>
    formatUser(user, formatVerifier(await makeVerifier(password, 4096, randomBytes(16)))),
  );
  return `${(await Promise.all(lines)).join("\n")}\n`;
}

export interface Message {
  readonly type: string;
  readonly bytes: Buffer;
}

/** A client that sends messages of its own making and reads what comes, one after the other. */
export class Raw {
  readonly #client: RawClient;
  /** What BackendKeyData holds: the process and the key. */
  readonly key: Buffer;

  private constructor(client: RawClient, key: Buffer) {
    this.#client = client;
    this.key = key;
  }

  /** The server must trust, or ask for SCRAM: what follows log-in is under test here. */
  static async logIn(port: number, user: string, database: string): Promise<Raw> {
    const client = await RawClient.connect(port);
    client.send(
      startupMessage(
        new Map([
          ["user", user],
          ["database", database],
        ]),
      ),
    );
    const [first] = await client.until("R");
    // AuthenticationSASL is 10, AuthenticationOk 0.
    if (first?.bytes.readInt32BE(5) === 10) await proveBy(passwordOf(user), client);
    const greeting = await client.until("Z");
    const key = greeting.find(({ type }) => type === "K")?.bytes.subarray(5);
    return new Raw(client, key ?? Buffer.alloc(0));
  }

  send(...messages: readonly Buffer[]): this {
    this.#client.send(...messages);
    return this;
  }

  next(): Promise<Message | undefined> {
    return this.#client.message();
  }

  /** All messages up to the first of this type. */
  until(type: string): Promise<readonly Message[]> {
    return this.#client.until(type);
  }

  /** What comes up to ReadyForQuery, each message in a few characters. */
  async answer(): Promise<string> {
    return shortOf(await this.until("Z"));
  }

  get socket() {
    return this.#client.socket;
  }

  closed(): Promise<void> {
    return this.#client.closed();
  }
}

async function proveBy(password: string, client: RawClient): Promise<void> {
  const exchange = new ScramClient(password, "nonce-of-a-test");
  client.send(saslInitialResponse(SCRAM_SHA_256, exchange.first()));
  const challenge = (await client.until("R")).at(-1)?.bytes.subarray(9) ?? Buffer.alloc(0);
  client.send(saslResponse(await exchange.final(challenge)));
}

/** `T(id,email) D D C(SELECT 2) Z(I)`: rows that are alike are counted, errors show their SQLSTATE. */
export function shortOf(messages: readonly Message[]): string {
  const words = messages.map(({ type, bytes }) => {
    switch (type) {
      case "T":
        return `T(${namesOf(bytes).join(",")})`;
      case "D":
        return `D(${valuesOf(bytes).join(",")})`;
      case "C":
        return `C(${bytes.toString("utf8", 5, bytes.length - 1)})`;
      case "Z":
        return `Z(${bytes.toString("latin1", 5)})`;
      case "E":
        return `E(${fieldOf(bytes, "C")})`;
      case "N":
        return `N(${fieldOf(bytes, "C")})`;
      default:
        return type;
    }
  });
  const rows = words.filter((word) => word.startsWith("D("));
  if (rows.length <= 3) return words.join(" ");
  const first = words.findIndex((word) => word.startsWith("D("));
  return [
    ...words.slice(0, first),
    `D×${rows.length}`,
    ...words.slice(first).filter((word) => !word.startsWith("D(")),
  ].join(" ");
}

/** A field of an ErrorResponse or NoticeResponse. */
export function fieldOf(bytes: Buffer, code: string): string | undefined {
  const fields = bytes.toString("utf8", 5).split("\0");
  return fields.find((field) => field.startsWith(code))?.slice(1);
}

function namesOf(bytes: Buffer): readonly string[] {
  const names: string[] = [];
  let at = 7;
  for (let i = bytes.readUInt16BE(5); i > 0; i--) {
    const zero = bytes.indexOf(0, at);
    names.push(bytes.toString("utf8", at, zero));
    at = zero + 1 + 18;
  }
  return names;
}

export function valuesOf(bytes: Buffer): readonly string[] {
  const values: string[] = [];
  let at = 7;
  for (let i = bytes.readUInt16BE(5); i > 0; i--) {
    const length = bytes.readInt32BE(at);
    values.push(length < 0 ? "NULL" : bytes.toString("utf8", at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return values;
}
