import type { Socket } from "node:net";
import type { FrameReader } from "../wire/frames.ts";

/** One side of a session: its socket (plain or TLS) and the reader that may hold bytes read already. */
export interface Side {
  readonly socket: Socket;
  readonly reader: FrameReader;
}

/** A session past log-in: the server's first ReadyForQuery has been relayed to the client. */
export interface Established {
  /** Random, for logs and events. */
  readonly id: string;
  readonly client: Side;
  readonly server: Side;
  /** The user as the policy knows it. */
  readonly user: string;
  readonly database: string;
  readonly application: string;
  /** IP address of the client. */
  readonly address: string;
  /** Parameters as the server last reported them (ParameterStatus): name, value. */
  readonly parameters: Map<string, string>;
  /** Asks the server to cancel what runs now; resolves when the server has closed the cancel connection. */
  cancelUpstream(): Promise<void>;
}
