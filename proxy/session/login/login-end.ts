import { ProtocolViolation } from "../../wire/frames.ts";
import { type Refusal, refuseSession } from "../../wire/refusal.ts";

/** Why a login came to nothing, as metrics name it: a closed list. */
export type LoginFailure =
  | "password"
  | "no_role"
  | "suspended"
  | "timeout"
  | "protocol"
  | "settings"
  | "upstream"
  | "limit";

/**
 * A login ends before the session begins, at whatever step it is: thrown by any step, caught in one place.
 * Without a refusal there is nothing to tell: the client has gone, or the server has told it already.
 */
export class LoginEnd extends Error {
  override readonly name = "LoginEnd";
  readonly failure: LoginFailure | undefined;
  readonly refusal: Refusal | undefined;
  /** What goes into the audit event when the server itself refused. */
  readonly sqlstate: string | undefined;

  private constructor(
    failure?: LoginFailure,
    refusal?: Refusal,
    sqlstate: string | undefined = refusal?.sqlstate,
  ) {
    super(refusal?.message ?? "the login was interrupted");
    this.failure = failure;
    this.refusal = refusal;
    this.sqlstate = sqlstate;
  }

  /** Sluice refuses, and says so. */
  static refused(failure: LoginFailure, refusal: Refusal): LoginEnd {
    return new LoginEnd(failure, { ...refusal, severity: "FATAL" });
  }

  /** The server refused, and its own words have been relayed. */
  static relayed(failure: LoginFailure, sqlstate: string): LoginEnd {
    return new LoginEnd(failure, undefined, sqlstate);
  }

  /** Nothing can be told any more: the peer speaks no Postgres, or TLS has failed half-way. */
  static silent(failure: LoginFailure): LoginEnd {
    return new LoginEnd(failure);
  }

  /** For the operator's log: what was told, with its detail. Neither holds a secret. */
  get problem(): string | undefined {
    const { message, detail } = this.refusal ?? {};
    return detail === undefined ? message : `${message}: ${detail}`;
  }

  /** The client left; nothing failed. psql does so when it has to ask for a password first. */
  static left(): LoginEnd {
    return new LoginEnd();
  }

  /**
   * If the login timed out while waiting for this, the refusal given is the reason; any other error is returned
   * unchanged.
   */
  static reasonOf(error: unknown, waitedFor: Refusal): unknown {
    const isOverdue = error instanceof LoginEnd && error.failure === "timeout";
    return isOverdue ? LoginEnd.refused("timeout", waitedFor) : error;
  }

  /** Whatever a step threw. An unknown error is ours: the client learns no more of it than that. */
  static from(error: unknown): LoginEnd {
    if (error instanceof LoginEnd) return error;
    if (error instanceof ProtocolViolation) return LoginEnd.refused("protocol", error.refusal);
    return LoginEnd.refused("protocol", refuseSession("XX000", "internal error of the proxy"));
  }
}
