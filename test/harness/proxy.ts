import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { Analyst } from "../../proxy/analyst/analyst.ts";
import {
  type RunningServer,
  type ServerParts,
  type ServerSettings,
  startServer,
} from "../../proxy/app/server.ts";
import type { AuditEvent, AuditLog, StatementEvent } from "../../proxy/audit/event.ts";
import type { CanarySighting } from "../../proxy/canaries/canaries.ts";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { deriveKeys, randomSecret } from "../../proxy/keys/secret.ts";
import { createLog } from "../../proxy/log.ts";
import type { BudgetSighting } from "../../proxy/meter/budget-alerts.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { createMetrics, type Metrics } from "../../proxy/metrics/metrics.ts";
import { compilePolicies, type PolicySet } from "../../proxy/policy/compile.ts";
import type { PrepareSession } from "../../proxy/session/accept/connection.ts";
import type { Established } from "../../proxy/session/context/established.ts";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import type { Sealer } from "../../proxy/tokens/sealed.ts";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { parseUpstream } from "../../proxy/wire/upstream.ts";
import type { ProbeHost } from "../../proxy/wire/upstream-hosts.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import type { TestDatabase } from "./postgres.ts";
import { Raw, RawClient } from "./raw-client.ts";
import { PASSWORDS, passwordOf } from "./support-schema.ts";

/** A proxy without its commands: real login, real analysis, counters in memory, events in an array. */
export interface TestProxy extends RunningServer {
  readonly port: number;
  readonly events: readonly AuditEvent[];
  /** Lines of the operator's log. */
  readonly log: readonly string[];
  /** Sessions that began. */
  readonly established: readonly Established[];
  readonly catalogs: Catalogs;
  readonly metrics: Metrics;
  setPolicy(text: string): void;
  /** The statements' events since the last call. */
  statements(): readonly StatementEvent[];
  /** How many people a user's statements have shown, by their events: whoever is named counts once. */
  chargedTo(user: string): number;
  connect(user: string): Promise<pg.Client>;
  /** A client past login that speaks the protocol message by message. */
  raw(user: string): Promise<Raw>;
  /** A connection that nothing has been sent on. */
  bare(): Promise<RawClient>;
  uri(user: string): string;
  config(user: string, password: string, database?: string): pg.ClientConfig;
  /** The number of failed logins of a reason, as /metrics shows it. */
  failures(reason: string): Promise<number>;
}

export interface ProxyOptions {
  readonly policy: string;
  readonly store?: CounterStore;
  /** Those of the database itself, if left out; closed with the proxy. */
  readonly catalogs?: Catalogs;
  readonly settings?: Partial<ServerSettings>;
  /** What a session does after its login; what `serve` does, if left out. */
  readonly prepareSession?: PrepareSession;
  /** Decoys and budgets that were reported. */
  readonly onCanary?: (sighting: CanarySighting) => void;
  readonly onBudget?: (sighting: BudgetSighting) => void;
  readonly suspensions?: ServerParts["suspensions"];
  readonly claims?: ServerParts["claims"];
  /** Server connections are shared: so many for each user. Users then log in to the proxy, with PASSWORDS. */
  readonly pool?: { readonly size: number; readonly waitMs?: number };
  /** Further parameters of a database's URI. */
  readonly upstreamQuery?: string;
  readonly probeHost?: ProbeHost;
  /** Long texts are analysed there; on the event loop if left out. */
  readonly analyst?: Analyst;
  /** Classes with stored: token are sealed by it. */
  readonly tokens?: Sealer;
}

/** `at`: the database behind it, or a server by its URI. */
export async function startProxy(at: TestDatabase | string, options: ProxyOptions): Promise<TestProxy> {
  const query = ["sslmode=disable", ...(options.upstreamQuery === undefined ? [] : [options.upstreamQuery])];
  const uriOfServer = typeof at === "string" ? at : `${at.uri}?${query.join("&")}`;
  const database = typeof at === "string" ? "postgres" : at.database;
  const upstream = parseUpstream(uriOfServer, {});
  if (!upstream.ok) throw new Error(upstream.problem);
  let policies = policiesOf(options.policy);
  const events: AuditEvent[] = [];
  let told = 0;
  const log: string[] = [];
  const established: Established[] = [];
  const store = options.store ?? createMemoryStore();
  const catalogs = options.catalogs ?? catalogsOf(at);
  const metrics = createMetrics({ version: "test", databases: [] });
  const { pool, prepareSession } = options;
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
    audit: auditInto(events),
    metrics,
    log: createLog({ level: "debug", to: { write: (line) => log.push(line) } }),
    keys: deriveKeys(randomSecret()),
    ...(options.tokens && { tokens: options.tokens }),
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
    ...(prepareSession && {
      prepareSession: (session) => {
        established.push(session);
        return prepareSession(session);
      },
    }),
  });
  const [{ port }] = server.addresses;
  const uri = (user: string) =>
    `postgresql://${user}:${passwordOf(user)}@127.0.0.1:${port}/${database}?sslmode=disable`;
  return {
    ...server,
    get sessions() {
      return server.sessions;
    },
    get changes() {
      return server.changes;
    },
    port,
    events,
    log,
    established,
    catalogs,
    metrics,
    uri,
    config: (user, password, name = database) => ({
      host: "127.0.0.1",
      port,
      user,
      password,
      database: name,
    }),
    setPolicy(text) {
      policies = policiesOf(text);
    },
    statements() {
      const fresh = events.slice(told);
      told = events.length;
      return fresh.filter((event) => event.kind === "statement");
    },
    chargedTo(user) {
      const named = new Set<string>();
      let unnamed = 0;
      for (const event of events) {
        if (event.kind !== "statement" || event.user !== user) continue;
        for (const each of event.subjects) named.add(each);
        unnamed += event.people - event.subjects.length;
      }
      return named.size + unnamed;
    },
    async connect(user) {
      const client = new pg.Client({ connectionString: uri(user) });
      client.on("error", () => {});
      await client.connect();
      return client;
    },
    raw: (user) => Raw.logIn(port, user, database),
    bare: () => RawClient.connect(port),
    async failures(reason) {
      const { text } = await metrics.exposition();
      return Number(
        new RegExp(`^sluice_login_failures_total.*"${reason}".* (\\d+)$`, "m").exec(text)?.[1] ?? 0,
      );
    },
    async close() {
      await server.close();
      if (folder !== undefined) await rm(folder, { recursive: true });
      await catalogs.close();
      await store.close();
    },
  };
}

/** Sessions that are relayed without a guard never look at the catalog: a server by its URI needs none. */
function catalogsOf(at: TestDatabase | string): Catalogs {
  const connection =
    typeof at === "string"
      ? { host: "localhost", port: 1, user: "nobody" }
      : { host: at.host, port: at.port, user: at.superuser };
  return new Catalogs({ connection, probeSeconds: 3600 });
}

function auditInto(events: AuditEvent[]): AuditLog {
  return {
    write: (event) => {
      events.push(event);
    },
    hashSubject: (namespace, value) => `${namespace} ${value}`,
    durable: async () => true,
    ready: true,
    flush: async () => {},
    close: async () => {},
  };
}

export function policiesOf(text: string): PolicySet {
  const compiled = compilePolicies([{ name: "test.yaml", text }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  return compiled.policies;
}

async function verifiers(): Promise<string> {
  const lines = Object.entries(PASSWORDS).map(async ([user, password]) =>
    formatUser(user, formatVerifier(await makeVerifier(password, 4096, randomBytes(16)))),
  );
  return `${(await Promise.all(lines)).join("\n")}\n`;
}
