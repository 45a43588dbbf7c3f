import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { AuditLog, SessionEvent } from "../../audit/event.ts";
import type { SessionInfo } from "../../fleet/session-registry.ts";
import type { Metrics } from "../../metrics/metrics.ts";
import { errorResponse } from "../../wire/errors.ts";
import { ProtocolViolation } from "../../wire/frames.ts";
import { terminateMessage } from "../../wire/frontend-messages.ts";
import { type Refusal, refuseSession, type SessionEndReason } from "../../wire/refusal.ts";
import type { Startup } from "../../wire/startup.ts";
import type { CancelDesk } from "../cancel/cancel-desk.ts";
import { addressOf } from "../context/address.ts";
import {
  type Established,
  isConnection,
  type RunningStatement,
  SessionWindow,
} from "../context/established.ts";
import { referenceOf } from "../context/reference.ts";
import { Dismissal } from "../context/shutdown.ts";
import { type AdminDatabase, databaseOf, proveAdmin } from "../login/admin-login.ts";
import { Conversation, sayFarewell, unlessAborted } from "../login/conversation.ts";
import { type LoggedIn, type LoginParts, logIn } from "../login/login.ts";
import { LoginEnd, type LoginFailure } from "../login/login-end.ts";
import { logInPooled, type Pooling } from "../login/pooled-login.ts";
import type { Seats } from "./connection-limits.ts";
import { type Arrival, type ClientTls, receiveClient } from "./start-up.ts";

/**
 * Prepares what a session needs. Returns a function that runs the session and resolves with the reason for its end. It
 * may reject: the client has not been told yet that it is logged in.
 */
export type PrepareSession = (established: Established) => Promise<() => Promise<SessionEndReason>>;

export interface ConnectionParts extends LoginParts {
  /** Server connections are shared by many clients, a transaction at a time; if left out, each client has its own. */
  readonly pooling?: Pooling;
  readonly tls: ClientTls | undefined;
  /** Whether a peer's PROXY header is believed, and then must be there. */
  readonly trustsHeaderOf: (address: string) => boolean;
  readonly loginTimeoutMs: number;
  /** What clients are told while none is let in. */
  readonly closedTo: () => Refusal | undefined;
  readonly seats: Seats;
  readonly cancelDesk: Pick<CancelDesk, "request">;
  readonly prepareSession: PrepareSession;
  /** What a suspended user is told; undefined for everybody else. */
  readonly refuseUser?: (user: string) => Refusal | undefined;
  /** The database that is no database; none if left out. */
  readonly adminDatabase?: AdminDatabase;
  readonly audit: AuditLog;
  readonly metrics: Metrics;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** Hears what becomes of a connection. */
export interface ConnectionWatcher {
  /** It is past login. */
  entered(): void;
  /** All of it is closed. */
  gone(connection: Connection): void;
}

/** Longest statement of the admin database: EXPLAIN quotes others' statements. */
const ADMIN_STATEMENT_LIMIT = 1 << 20;

/** One client's connection from its first byte to its last: start-up, login, session. */
export class Connection {
  readonly #socket: Socket;
  readonly #parts: ConnectionParts;
  readonly #watcher: ConnectionWatcher;
  /** The id of the session that may follow; errors during login refer to its first digits. */
  readonly #id = randomUUID();
  readonly #dismissal = new Dismissal();
  /** Aborts the login. Released when the session begins, as the startup packet is. */
  #login: AbortController | undefined;
  #startup: Startup | undefined;
  /** The client's: the one that was accepted, or TLS over it. */
  #client: Socket;
  #session: Omit<LoggedIn, "ready"> | undefined;
  #since = 0;
  /** Metrics count the session. */
  #isOpen = false;
  /** How it counts against the connection limits: not at all, as a client, or also as one of its user's sessions. */
  #seat: "none" | "taken" | "settled" = "none";

  constructor(socket: Socket, parts: ConnectionParts, watcher: ConnectionWatcher) {
    this.#socket = this.#client = socket;
    this.#parts = parts;
    this.#watcher = watcher;
  }

  /** Past login. */
  get inSession(): boolean {
    return this.#session !== undefined;
  }

  /** Who is served here; undefined before login. */
  get info(): SessionInfo | undefined {
    if (this.#session === undefined) return undefined;
    const { established, role } = this.#session;
    const { id, user, database, address, application } = established;
    return { id, user, role: role.name, database, address, application, since: this.#since };
  }

  /** The statement that runs here now. */
  get running(): RunningStatement | undefined {
    return this.#session?.established.window.running;
  }

  /**
   * Serves the client; never rejects. Resolves when the session has begun: a function that waited for its end would
   * keep all of the login in memory for as long.
   */
  async serve(): Promise<void> {
    const login = new AbortController();
    this.#login = login;
    const limit = setTimeout(() => login.abort(overdue()), this.#parts.loginTimeoutMs);
    try {
      const start = await this.#begin(login.signal);
      this.#login = this.#startup = undefined;
      if (start === undefined) this.#close();
      else this.#follow(start());
    } catch (error) {
      this.#fail(error);
    } finally {
      clearTimeout(limit);
    }
  }

  #follow(session: Promise<SessionEndReason>): void {
    session.then((reason) => this.#close(reason)).catch((error: unknown) => this.#fail(error));
  }

  /** Ends the connection as soon as no transaction is open; at once before the session. */
  drain(refusal: Refusal): void {
    this.#login?.abort(LoginEnd.refused("upstream", { ...refusal, sqlstate: "57P03" }));
    this.#dismissal.drain(refusal);
  }

  /** Ends the connection now, with a word to the client. */
  end(refusal: Refusal): void {
    this.drain(refusal);
    this.#dismissal.end(refusal);
  }

  /** Ends the connection now, and what it has the server run. */
  cutOff(refusal: Refusal): void {
    void this.#session?.established.cancelUpstream();
    this.end(refusal);
  }

  /** The user was suspended: of an application's session, what runs for them as the person behind it. */
  stopPerson(person: string, words: Refusal): void {
    this.#session?.established.window.stop(person, words);
  }

  /** Closes without a word. */
  destroy(): void {
    if (this.#session !== undefined) {
      const { server } = this.#session.established;
      if (isConnection(server)) server.socket.destroy();
      else server.destroy();
    }
    this.#client.destroy();
    this.#socket.destroy();
  }

  /** Up to the session: gives what runs it, or nothing when the client came for something else. */
  async #begin(signal: AbortSignal): Promise<(() => Promise<SessionEndReason>) | undefined> {
    const { tls, trustsHeaderOf, cancelDesk, closedTo, seats } = this.#parts;
    const arrival = await receiveClient(this.#socket, { tls, trustsHeaderOf }, signal, (client) => {
      this.#client = client.socket;
    });
    if (arrival.kind === "cancel") {
      await cancelDesk.request(arrival, addressOf(this.#socket));
      return undefined;
    }
    this.#startup = arrival.startup;
    const closed = closedTo();
    if (closed) throw LoginEnd.refused("limit", closed);
    const full = await seats.enter();
    if (full) throw LoginEnd.refused("limit", full);
    this.#seat = "taken";
    const { adminDatabase } = this.#parts;
    if (adminDatabase?.serves(databaseOf(arrival.startup)))
      return this.#beginAdmin(arrival, adminDatabase, signal);
    const own = { id: this.#id, dismissal: this.#dismissal, window: new SessionWindow() };
    const { pooling } = this.#parts;
    const { client, startup } = arrival;
    const loggedIn =
      pooling === undefined
        ? await logIn(client, startup, this.#parts, signal, own)
        : await logInPooled(client, startup, { ...this.#parts, pooling }, signal, own);
    const { established, role, issued } = loggedIn;
    this.#session = { established, role, issued };
    return this.#enter(loggedIn, signal);
  }

  async #beginAdmin(
    { client, startup }: Extract<Arrival, { kind: "login" }>,
    adminDatabase: AdminDatabase,
    signal: AbortSignal,
  ): Promise<() => Promise<SessionEndReason>> {
    const { audit, now, refuseUser } = this.#parts;
    const { user, database, application } = await proveAdmin(
      client,
      startup,
      { ...this.#parts, adminDatabase },
      signal,
    );
    const refusal = refuseUser?.(user);
    if (refusal !== undefined) throw LoginEnd.refused("suspended", refusal);
    const address = addressOf(client.socket);
    const session = { session: this.#id, user, role: "", database, client: address, application };
    audit.write({ kind: "login", time: now(), ...session });
    return async () => {
      const ending = new AbortController();
      const dismissal = this.#dismissal;
      dismissal.heed(() => ending.abort(dismissal.whenIdle));
      if (dismissal.whenIdle !== undefined) ending.abort(dismissal.whenIdle);
      const over = new Conversation(client.socket, ADMIN_STATEMENT_LIMIT, ending.signal, client.reader);
      try {
        await adminDatabase.run(over, { user, address });
      } catch (error) {
        if (dismissal.whenIdle === undefined) throw error;
        client.send(errorResponse(dismissal.whenIdle));
      } finally {
        audit.write({ kind: "logout", time: now(), ...session });
      }
      return "client";
    };
  }

  async #enter(
    { established, role, ready }: LoggedIn,
    signal: AbortSignal,
  ): Promise<() => Promise<SessionEndReason>> {
    const { audit, metrics, now, prepareSession, refuseUser, seats, log } = this.#parts;
    const { id, user, database, application, address } = established;
    this.#since = now();
    this.#watcher.entered();
    const run = await unlessAborted(prepareSession(established), signal, () => {}).catch((error: unknown) => {
      throw LoginEnd.reasonOf(error, UNREAD);
    });
    const session = {
      time: this.#since,
      session: id,
      user,
      role: role.name,
      database,
      client: address,
      application,
    };
    const refused = (failure: LoginFailure, refusal: Refusal) => {
      const reference = referenceOf(this.#id);
      const { sqlstate } = refusal;
      audit.write({ kind: "login refused", ...session, sqlstate, reference });
      metrics.loginFailed(failure);
      log.info({ reference, address, reason: failure, sqlstate }, "login failed");
      return LoginEnd.refused(failure, refusal);
    };
    const full = await seats.settle(user);
    if (full !== undefined) throw refused("limit", full);
    this.#seat = "settled";
    // A user who is suspended from here on is found by their session and cut off.
    const suspended = refuseUser?.(user);
    if (suspended !== undefined) throw refused("suspended", suspended);
    audit.write({ kind: "login", ...session });
    metrics.sessionOpened(database);
    this.#isOpen = true;
    established.client.socket.write(ready);
    return run;
  }

  /** The session has ended and said so, or the cancel request has been dealt with. */
  #close(reason: SessionEndReason = "client"): void {
    this.#endSession(reason);
    sayFarewell(this.#client);
    this.#leaveOnceClosed();
  }

  /** The server's side of it, however far the session has come. */
  #endSession(reason: SessionEndReason): void {
    if (this.#session === undefined) return;
    const { established, issued } = this.#session;
    this.#parts.cancelKeys.revoke(issued);
    if (this.#isOpen) this.#parts.metrics.sessionClosed(established.database, reason);
    this.#isOpen = false;
    const { server } = established;
    if (isConnection(server)) sayFarewell(server.socket, terminateMessage);
    else server.leave();
  }

  #leaveOnceClosed(): void {
    if (this.#socket.closed) this.#leave();
    else this.#socket.once("close", () => this.#leave());
  }

  #leave(): void {
    if (this.#seat !== "none")
      this.#parts.seats.leave(this.#seat === "settled" ? this.#session?.established.user : undefined);
    this.#seat = "none";
    this.#watcher.gone(this);
  }

  /** Handles every error of a connection: tells the client, the operator and the audit log. */
  #fail(error: unknown): void {
    const { log, metrics } = this.#parts;
    const end = LoginEnd.from(error);
    const reference = referenceOf(this.#id);
    if (!isExpected(error))
      log.error({ err: error, reference }, "a session was ended by an error of the proxy");
    if (this.#session) this.#endSession("other");
    else if (end.failure !== undefined) {
      metrics.loginFailed(end.failure);
      log.info(
        {
          ...{ reference, address: addressOf(this.#socket), reason: end.failure, sqlstate: end.sqlstate },
          // What is wrong with the servers or the settings only the operator can mend.
          ...(end.failure === "upstream" && end.problem !== undefined && { problem: end.problem }),
        },
        "login failed",
      );
      this.#record(end);
    }
    const socket = this.#client;
    // Before its startup packet a client has not shown that it speaks this protocol; Postgres, too, gives no answer.
    const mute = end.failure === "timeout" && this.#startup === undefined;
    if (mute || end.failure === undefined) socket.destroy();
    else sayFarewell(socket, end.refusal && errorResponse({ ...end.refusal, reference }));
    this.#leaveOnceClosed();
  }

  #record(end: LoginEnd): void {
    const given = this.#startup?.parameters;
    if (given === undefined) return;
    const user = given.get("user") ?? "";
    const event: SessionEvent = {
      kind: "login refused",
      time: this.#parts.now(),
      session: "",
      user,
      role: "",
      database: given.get("database") || user,
      client: addressOf(this.#socket),
      application: given.get("application_name") ?? "",
      ...(end.sqlstate === undefined ? {} : { sqlstate: end.sqlstate }),
      ...(end.refusal !== undefined && { reference: referenceOf(this.#id) }),
    };
    this.#parts.audit.write(event);
  }
}

const UNREAD = refuseSession("57P03", "the proxy could not read the database's catalog in time", {
  hint: "Its control connection (--control) may be slow or away: try again in a moment. The proxy's log may have details.",
});

function isExpected(error: unknown): boolean {
  return error instanceof LoginEnd || error instanceof ProtocolViolation;
}

/** In the words of postmaster's authentication_timeout. */
function overdue(): LoginEnd {
  return LoginEnd.refused("timeout", refuseSession("57014", "canceling authentication due to timeout"));
}
