import type { BackendKey } from "../../wire/backend-messages.ts";
import {
  backendKey,
  decodeBackendKey,
  decodeParameterStatus,
  decodeReadyForQuery,
} from "../../wire/backend-messages.ts";
import { decodeError } from "../../wire/errors.ts";
import { ProtocolViolation } from "../../wire/frames.ts";
import { Backend, bytesOf } from "../../wire/messages.ts";
import { refuseSession } from "../../wire/refusal.ts";
import type { Conversation } from "./conversation.ts";
import { LoginEnd } from "./login-end.ts";

/** What the server tells between AuthenticationOk and its first ReadyForQuery. */
export interface Greeting {
  /** Parameters as the server reported them. */
  readonly parameters: Map<string, string>;
  /** Undefined when the server gave none: nothing can be cancelled there. */
  readonly serverKey: BackendKey | undefined;
}

/**
 * Relays what the server tells after AuthenticationOk, but for its cancel key: the client gets one of `ours`.
 * ReadyForQuery is not sent yet; the reader is at it.
 */
export async function relayGreeting(
  server: Conversation,
  client: Conversation,
  ours: (serverKey: BackendKey | undefined) => BackendKey,
): Promise<Greeting> {
  const greeting = await readGreeting(
    server,
    (bytes) => client.send(bytes),
    () => relayError(server, client),
  );
  // Always sent, so that a client behaves the same whatever the server is.
  client.send(backendKey(ours(greeting.serverKey)));
  return greeting;
}

/** Reads up to the first ReadyForQuery. `pass` gets the messages that are for clients; `onError` tells how it ends. */
export async function readGreeting(
  server: Conversation,
  pass: (bytes: Buffer) => void,
  onError: () => Error,
): Promise<Greeting> {
  const parameters = new Map<string, string>();
  let serverKey: BackendKey | undefined;
  for (;;) {
    await expectServer(server);
    switch (server.reader.type) {
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(server.reader);
        parameters.set(name, value);
        pass(bytesOf(server.reader));
        break;
      }
      case Backend.BackendKeyData:
        serverKey = decodeBackendKey(server.reader);
        break;
      case Backend.NoticeResponse:
        pass(bytesOf(server.reader));
        break;
      case Backend.ErrorResponse:
        throw onError();
      case Backend.ReadyForQuery:
        decodeReadyForQuery(server.reader);
        return { parameters, serverKey };
      default:
        throw unexpected(server);
    }
  }
}

/** For how long a server may keep silent during a login: it may ask LDAP, but a half-open connection never answers. */
const SILENCE_MS = 20_000;

const SILENT = refuseSession("08006", "the database server does not answer", {
  hint: "Try again in a moment. If it continues, the network between the proxy and the database is broken.",
});

/** Waits for the server's next message. */
export async function expectServer(server: Conversation): Promise<void> {
  let isSilent = false;
  const limit = setTimeout(() => {
    isSilent = true;
    server.socket.destroy();
  }, SILENCE_MS);
  try {
    if (await server.receive()) return;
  } catch (error) {
    // The server's breach is not the client's: neither its text nor 08P01 would help the client.
    if (error instanceof ProtocolViolation) throw unexpected(server);
    throw LoginEnd.reasonOf(error, SILENT);
  } finally {
    clearTimeout(limit);
  }
  if (isSilent) throw LoginEnd.refused("upstream", SILENT);
  throw LoginEnd.refused(
    "upstream",
    refuseSession("08006", "the database server closed the connection during login", {
      hint: "The database may be starting or stopping: try again in a moment. Its log may have details.",
    }),
  );
}

/** Passes on the server's own ErrorResponse: before the session begins, each of them is its end. */
export function relayError(server: Conversation, client: Conversation): LoginEnd {
  const sqlstate = sqlstateOf(server);
  client.send(bytesOf(server.reader));
  // Class 28: Invalid Authorization Specification.
  return LoginEnd.relayed(sqlstate.startsWith("28") ? "password" : "upstream", sqlstate);
}

/** Of the ErrorResponse that the server's reader is at. */
export function sqlstateOf(server: Conversation): string {
  try {
    return decodeError(server.reader).get("C") ?? "XX000";
  } catch {
    throw unexpected(server);
  }
}

/** What the server sent has no place in this step of the login. */
export function unexpected(server: Conversation): LoginEnd {
  const code = server.reader.type;
  return LoginEnd.refused(
    "upstream",
    refuseSession("08006", "the database server does not follow the protocol", {
      detail: `Message type ${code} during login.`,
      hint: "The proxy's --upstream may point to something that is not Postgres.",
    }),
  );
}
