import type { Socket } from "node:net";
import type { ServerLeg } from "../../protocol/server-leg.ts";
import type { FrameReader } from "../../wire/frames.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Reported } from "./reported.ts";
import type { Dismissal } from "./shutdown.ts";

/** One side of a session: its socket (plain or TLS) and the reader that may hold bytes read already. */
export interface Side {
  readonly socket: Socket;
  readonly reader: FrameReader;
}

/** What a session has for its server: a connection of its own, or a leg through a pool. */
export type ServerEnd = Side | ServerLeg;

export function isConnection(server: ServerEnd): server is Side {
  return "socket" in server;
}

/** A statement that a session runs now. */
export interface RunningStatement {
  /** Without literals, as the audit log has it; "" where the text could not be read. */
  readonly statement: string;
  /** Milliseconds since the client sent it. */
  readonly duration: number;
}

/** Through this others look into a session; nothing is seen before the session begins. */
export class SessionWindow {
  #look: () => RunningStatement | undefined = () => undefined;
  #stop: (person: string, words: Refusal) => void = () => {};

  open(look: () => RunningStatement | undefined, stop: (person: string, words: Refusal) => void): void {
    this.#look = look;
    this.#stop = stop;
  }

  /** What runs for this person behind an application is cancelled, with these words. */
  stop(person: string, words: Refusal): void {
    this.#stop(person, words);
  }

  get running(): RunningStatement | undefined {
    return this.#look();
  }
}

/** A session past login: the server's first ReadyForQuery has been relayed to the client. */
export interface Established {
  /** Random, for logs and events. */
  readonly id: string;
  readonly client: Side;
  readonly server: ServerEnd;
  /** The user as the policy knows it. */
  readonly user: string;
  readonly database: string;
  readonly application: string;
  /** IP address of the client. */
  readonly address: string;
  /** As the server last reported them. */
  readonly parameters: Reported;
  /** The database user, if it is another (`--auth scram`): its grants hold beneath the policy. */
  readonly databaseUser?: string;
  /**
   * The startup packet held only what a guarded role may set, and client_encoding UTF8 and
   * standard_conforming_strings on were put into it. A session without it cannot become a guarded one.
   */
  readonly pinned?: boolean;
  /** At the order to end, the session tells the client, ends both sides, and resolves. */
  readonly dismissal: Dismissal;
  /** Tells what the session runs, for operators. */
  readonly window: SessionWindow;
  /** Asks the server to cancel what runs now; resolves when the server has closed the cancel connection. */
  cancelUpstream(): Promise<void>;
}
