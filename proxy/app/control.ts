import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import pg, { type ClientConfig } from "pg";
import { Backend } from "../wire/messages.ts";
import type { Upstream } from "../wire/upstream.ts";
import { type HostState, UpstreamHosts } from "../wire/upstream-hosts.ts";

/** Asks a host for its state, as the user of its URI. */
export async function probeHost(host: Upstream): Promise<HostState> {
  const client = new pg.Client({
    ...controlConnection({ ...host, targetSessionAttrs: "any" }),
    ...(host.database === undefined ? {} : { database: host.database }),
    application_name: "sluice probe",
    connectionTimeoutMillis: PROBE_MS,
    query_timeout: PROBE_MS,
  });
  // For errors after the answer, or after the failure that is thrown.
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<HostState>(
      `SELECT pg_catalog.pg_is_in_recovery() AS standby,
        pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('default_transaction_read_only') = 'on' AS "readOnly"`,
    );
    const [state] = rows;
    if (state === undefined) throw new Error("no answer");
    return state;
  } finally {
    client.end().catch(() => {});
  }
}

const PROBE_MS = 3_000;

/**
 * The control connection in pg's form. It is dialled like the sessions' connections, so that `sslmode` means the same
 * for both: pg's own meaning differs from libpq's (it has no `prefer`, and `require` verifies).
 */
export function controlConnection(given: Upstream | (() => Upstream)): ClientConfig {
  // Evaluated for each connection: the files with the login and the authorities may have been read again.
  const now = typeof given === "function" ? given : () => given;
  let known: { readonly target: Upstream; readonly hosts: UpstreamHosts } | undefined;
  const hostsNow = (): UpstreamHosts => {
    const target = now();
    if (known?.target !== target) known = { target, hosts: new UpstreamHosts(target, probeHost, Date.now) };
    return known.hosts;
  };
  return {
    get host() {
      return now().host;
    },
    get port() {
      return now().port;
    },
    get user() {
      return now().user;
    },
    get password() {
      return now().password() ?? "";
    },
    ssl: false,
    // pg calls this for its socket, as it does for other runtimes' sockets. The declaration requires a Socket, of which
    // pg uses only the members below.
    stream: () => new Dialled(hostsNow(), (now().password() ?? "") !== "") as unknown as Socket,
  } as ClientConfig;
}

/**
 * Codes of AuthenticationCleartextPassword, AuthenticationMD5Password and AuthenticationSASL (Postgres docs, "Message
 * Formats").
 */
const ASKS_FOR_PASSWORD: ReadonlySet<number> = new Set([3, 5, 10]);

/** Bytes of an authentication request: its type, length and code. */
const FIRST_MESSAGE = 9;

const NO_PASSWORD = "the server asks for a password, and none is given: set PGPASSWORD";

/** A stream that pg can tell to connect, over the socket from `dial`. */
class Dialled extends Duplex {
  readonly #hosts: UpstreamHosts;
  readonly #hasPassword: boolean;
  #socket: Socket | undefined;
  /** The beginning of the server's first message, up to its type and code. */
  #begun = Buffer.alloc(0);

  constructor(hosts: UpstreamHosts, hasPassword: boolean) {
    super();
    this.#hosts = hosts;
    this.#hasPassword = hasPassword;
  }

  /** Dials only after pg has written its startup packet: the host's answer to that decides whether it is used. */
  connect(): this {
    process.nextTick(() => this.emit("connect"));
    return this;
  }

  /** `dial` has already set this. */
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    this.#socket?.ref();
    return this;
  }

  unref(): this {
    this.#socket?.unref();
    return this;
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket) {
      this.#socket.write(chunk, encoding, done);
      return;
    }
    this.#hosts.open(chunk).then(({ socket }) => {
      this.#adopt(socket);
      done();
    }, done);
  }

  override _final(done: () => void): void {
    if (this.#socket) this.#socket.end(done);
    else done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket?.destroy();
    done(error);
  }

  /**
   * pg reports a missing password in terms of its own code, and leaves the server waiting for it. The connection is closed
   * here, as libpq does (Postgres docs, "Start-up").
   */
  #refusePassword(chunk: Buffer): void {
    if (this.#hasPassword || this.#begun.length >= FIRST_MESSAGE) return;
    this.#begun = Buffer.concat([this.#begun, chunk]);
    const [type] = this.#begun;
    if (this.#begun.length < FIRST_MESSAGE || type !== Backend.Authentication) return;
    if (ASKS_FOR_PASSWORD.has(this.#begun.readInt32BE(5))) this.destroy(new Error(NO_PASSWORD));
  }

  #adopt(socket: Socket): void {
    // The stream was given up while dialling.
    if (this.destroyed) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#refusePassword(chunk);
      if (!this.destroyed && !this.push(chunk)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }
}
