import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chownSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type RunningServer, type ServerSettings, startServer } from "../../proxy/app/server.ts";
import type { AuditEvent, AuditLog } from "../../proxy/audit/event.ts";
import type { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { deriveKeys, randomSecret } from "../../proxy/keys/keys.ts";
import { createLog } from "../../proxy/log.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { compilePolicies, type PolicySet } from "../../proxy/policy/compile.ts";
import type { PrepareSession } from "../../proxy/session/accept/connection.ts";
import { type Established, isConnection } from "../../proxy/session/context/established.ts";
import { sayFarewell } from "../../proxy/session/login/conversation.ts";
import { Scopes, type VerdictCache } from "../../proxy/sql/cache.ts";
import { decodeError, type ErrorFields, errorResponse } from "../../proxy/wire/errors.ts";
import { FrameReader } from "../../proxy/wire/frames.ts";
import { Backend, bytesOf } from "../../proxy/wire/messages.ts";
import { parseUpstream } from "../../proxy/wire/upstream.ts";

/** The guarded are anna and agent_*, apps see all, and whoever is not named has no role. */
const POLICY = `
version: 1
classes:
  email: { mask: email }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent:
    users: [anna, "agent_*"]
    reads: [public.customers]
    rows: 100
  far_agent:
    users: [zoe]
    from: [203.0.113.0/24]
    reads: [public.customers]
  app:
    users: [helpdesk_app, postgres, "app_*"]
    reads: all
    writes: all
    sees: all
    budget: none
`;

export function policiesOf(text: string): PolicySet {
  const compiled = compilePolicies([{ name: "test.yaml", text }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  return compiled.policies;
}

export interface SluiceOptions {
  readonly upstream: string;
  readonly policy?: string;
  readonly settings?: Partial<ServerSettings>;
  readonly prepareSession?: PrepareSession;
}

export interface Sluice extends RunningServer {
  readonly port: number;
  readonly events: readonly AuditEvent[];
  /** What went to the operator's log. */
  readonly log: readonly string[];
  /** Sessions that began. */
  readonly established: readonly Established[];
  setPolicy(text: string): void;
  /** The number of failed log-ins of a reason, as /metrics shows it. */
  failures(reason: string): Promise<number>;
  config(user: string, password: string, database?: string): pg.ClientConfig;
}

/** A proxy up to and past log-in, whose sessions are relayed without a guard. */
export async function startSluice(options: SluiceOptions): Promise<Sluice> {
  const upstream = parseUpstream(options.upstream, {});
  if (!upstream.ok) throw new Error(upstream.problem);
  let policies = policiesOf(options.policy ?? POLICY);
  const events: AuditEvent[] = [];
  const log: string[] = [];
  const established: Established[] = [];
  const metrics = createMetrics({ version: "test", databases: [] });
  const prepare = options.prepareSession ?? relay;
  const server = await startServer({
    settings: {
      listen: [{ host: "127.0.0.1", port: 0 }],
      auth: "passthrough",
      users: undefined,
      tlsCert: undefined,
      tlsKey: undefined,
      tlsClientCa: undefined,
      maxMessage: 1 << 20,
      maxClients: 50,
      loginTimeout: 20_000,
      drainTimeout: 5_000,
      ...options.settings,
    },
    upstream: upstream.upstream,
    policies: () => policies,
    audit: auditInto(events),
    metrics,
    log: createLog({ level: "debug", to: { write: (line) => log.push(line) } }),
    keys: deriveKeys(randomSecret()),
    // Only the session, which is not under test here, looks at these.
    catalogs: {} as Catalogs,
    store: {} as CounterStore,
    verdicts: {} as VerdictCache,
    scopes: new Scopes(),
    prepareSession: (session) => {
      established.push(session);
      return prepare(session);
    },
  });
  return {
    ...server,
    get sessions() {
      return server.sessions;
    },
    port: server.addresses[0].port,
    events,
    log,
    established,
    setPolicy(text) {
      policies = policiesOf(text);
    },
    async failures(reason) {
      const { text } = await metrics.exposition();
      return Number(
        new RegExp(`^sluice_login_failures_total.*"${reason}".* (\\d+)$`, "m").exec(text)?.[1] ?? 0,
      );
    },
    config: (user, password, database = "postgres") => ({
      host: "127.0.0.1",
      port: server.addresses[0].port,
      user,
      password,
      database,
    }),
  };
}

function auditInto(events: AuditEvent[]): AuditLog {
  return {
    write: (event) => {
      events.push(event);
    },
    hashSubject: (_, value) => value,
    flush: async () => {},
    durable: async () => true,
    ready: true,
    close: async () => {},
  };
}

/** Passes all bytes on, both ways. */
const relay: PrepareSession = async ({ client, server, dismissal }) => {
  if (!isConnection(server)) throw new Error("no pool is served here");
  const end = () => {
    const refusal = dismissal.atOnce ?? dismissal.whenIdle;
    sayFarewell(client.socket, refusal && errorResponse(refusal));
    server.socket.destroy();
  };
  return () =>
    new Promise((resolve) => {
      dismissal.heed(end);
      server.socket.write(client.reader.drain());
      client.socket.write(server.reader.drain());
      client.socket.pipe(server.socket);
      server.socket.pipe(client.socket);
      client.socket.once("close", () => server.socket.destroy());
      server.socket.once("close", () => resolve("client"));
    });
};

/** Logs in, runs one query, leaves. */
export async function ask(config: pg.ClientConfig, sql = "SELECT current_user AS answer"): Promise<string> {
  const client = new pg.Client(config);
  client.on("error", () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ answer: string }>(sql);
    return rows[0]?.answer ?? "";
  } finally {
    await client.end();
  }
}

/** A client that speaks the protocol byte by byte. */
export class RawClient {
  readonly socket: Socket;
  readonly #reader = new FrameReader(1 << 20, () => false);
  readonly #closed: Promise<unknown>;
  #wake: () => void = () => {};
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#wake();
    });
    // Not events.once, which rejects at the error that a closed connection may end with.
    this.#closed = new Promise((resolve) => socket.once("close", resolve));
    socket.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ host: "127.0.0.1", port });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  send(...parts: readonly Buffer[]): this {
    this.socket.write(Buffer.concat(parts));
    return this;
  }

  /** The next message; undefined when the connection was closed instead. */
  async message(): Promise<{ readonly type: string; readonly bytes: Buffer } | undefined> {
    while (!this.#reader.next()) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const bytes = Buffer.from(bytesOf(this.#reader));
    return { type: String.fromCharCode(this.#reader.type), bytes };
  }

  /** Messages up to the first of this type, that one last. */
  async until(type: string): Promise<readonly { readonly type: string; readonly bytes: Buffer }[]> {
    const seen: { readonly type: string; readonly bytes: Buffer }[] = [];
    for (let next = await this.message(); next; next = await this.message()) {
      seen.push(next);
      if (next.type === type) return seen;
    }
    throw new Error(`closed after ${seen.map(({ type: code }) => code).join("")} without ${type}`);
  }

  /** The error with which the proxy ends the connection, which it must close then. */
  async farewell(): Promise<ErrorFields> {
    await this.until(String.fromCharCode(Backend.ErrorResponse));
    const fields = decodeError(this.#reader);
    await this.closed();
    return fields;
  }

  async closed(): Promise<void> {
    await this.#closed;
  }
}

/** Certificates for TLS tests, made by openssl; those of the server are for localhost. */
export async function makeCertificates() {
  const folder = await mkdtemp(join(tmpdir(), "sluice-certificates-"));
  await chmod(folder, 0o755);
  const make = (name: string, subject: string, more: readonly string[]) => {
    const [certificate, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" ");
    execFileSync(
      "openssl",
      [...args, "-keyout", key, "-out", certificate, "-subj", `/CN=${subject}`, ...more],
      {
        stdio: "ignore",
      },
    );
    return { certificate, key };
  };
  const localhost = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const database = make("database", "localhost", localhost);
  // The test server runs as nobody when we are root, and reads only a key of its own.
  if (process.getuid?.() === 0) chownSync(database.key, 65_534, 65_534);
  return {
    proxy: make("proxy", "localhost", localhost),
    database,
    client: make("client", "anna", []),
    stranger: make("stranger", "mallory", []),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
