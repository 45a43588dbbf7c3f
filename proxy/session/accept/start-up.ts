import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ProtocolViolation } from "../../wire/frames.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { decodeStartup, type Startup } from "../../wire/startup.ts";
import { TLS_HANDSHAKE, type TlsAcceptor } from "../../wire/tls.ts";
import { addressOf, announce } from "../context/address.ts";
import { Conversation, destroySocket, unlessAborted } from "../login/conversation.ts";
import { LoginEnd } from "../login/login-end.ts";
import { beginsLikeHeader, takeProxyHeader } from "./proxy-header.ts";

/** TLS towards clients, as far as there is any. */
export interface ClientTls {
  readonly acceptor: TlsAcceptor;
  readonly certificates: "required" | "not asked for";
  /** What becomes of clients that leave TLS out. */
  readonly plain: "refused" | "served";
}

/** What is agreed with clients before their first packet. */
export interface Reception {
  readonly tls: ClientTls | undefined;
  readonly trustsHeaderOf: (address: string) => boolean;
}

/** What a client came for. */
export type Arrival =
  | { readonly kind: "login"; readonly client: Conversation; readonly startup: Startup }
  | { readonly kind: "cancel"; readonly processId: number; readonly key: Buffer };

/** libpq/auth.c took 10 kB for a password or token before it took 64; no password is longer. */
const ANSWER_LIMIT = 10_000;

/**
 * Takes a client to its startup packet: a balancer's PROXY header, TLS or none, no GSSAPI encryption, cancel requests. `hold` is told
 * of each conversation that takes the place of the one before, so that the last one can be ended.
 */
export async function receiveClient(
  socket: Socket,
  { tls, trustsHeaderOf }: Reception,
  signal: AbortSignal,
  hold: (client: Conversation) => void,
): Promise<Arrival> {
  const announced = trustsHeaderOf(addressOf(socket)) ? await takeProxyHeader(socket, signal) : undefined;
  const over = (current: Socket): Conversation => {
    if (announced !== undefined) announce(current, announced);
    const conversation = new Conversation(current, ANSWER_LIMIT, signal);
    hold(conversation);
    return conversation;
  };
  let client = over(socket);
  // sslnegotiation=direct of Postgres 17: the first byte of a TLS record cannot begin a startup packet.
  if (tls && (await client.firstByte()) === TLS_HANDSHAKE)
    client = over(await beginWithTls(client, tls, signal));
  const answered = new Set<"ssl" | "gss">();
  for (;;) {
    if (!(await startupCame(client))) throw LoginEnd.left();
    const packet = decodeStartup(client.reader);
    switch (packet.kind) {
      case "cancel":
        return packet;
      case "startup":
        refusePlain(client.socket, tls);
        return { kind: "login", client, startup: packet };
      case "ssl":
      case "gss":
        refuseRepetition(client, packet.kind, answered);
        if (packet.kind === "ssl" && tls) client = over(await makeTls(client, tls, signal));
        else {
          client.send(Buffer.from("N"));
          refuseMore(client, packet.kind);
        }
    }
  }
}

/**
 * A client whose first bytes are not the length of a startup packet speaks another protocol, or disconnects at once. It
 * gets no answer, as in ProcessStartupPacket (COMMERROR): a driver that only closes the connection would report the
 * answer as a failure. A balancer whose header is not trusted does get an answer, so that the operator can find out why
 * no client gets through.
 */
async function startupCame(client: Conversation): Promise<boolean> {
  try {
    return await client.receiveStartup();
  } catch (error) {
    if (!(error instanceof ProtocolViolation) || beginsLikeHeader(client.reader.drain())) throw error;
    throw LoginEnd.silent("protocol");
  }
}

/** As in ProcessStartupPacket: each kind of encryption may be asked for once, and not inside TLS. */
function refuseRepetition(client: Conversation, kind: "ssl" | "gss", answered: Set<"ssl" | "gss">): void {
  if (answered.has(kind) || client.socket instanceof TLSSocket) {
    const code = kind === "ssl" ? "1234.5679" : "1234.5680";
    throw new ProtocolViolation(`unsupported frontend protocol ${code}: server supports 3.0 to 3.2`, "0A000");
  }
  answered.add(kind);
}

/** As for TLS that is there: whoever waits for no answer cannot know whether what they say next is encrypted. */
function refuseMore({ reader }: Conversation, kind: "ssl" | "gss"): void {
  if (reader.buffered === 0) return;
  const what = kind === "ssl" ? "SSL" : "GSSAPI encryption";
  throw new ProtocolViolation(`received unencrypted data after ${what} request`);
}

async function makeTls(client: Conversation, tls: ClientTls, signal: AbortSignal): Promise<Socket> {
  try {
    return await unlessAborted(tls.acceptor.accept(client.socket, client.reader), signal, destroySocket);
  } catch (error) {
    // Bytes behind the request: found before the answer, so that the client can still be told.
    throw error instanceof ProtocolViolation ? error : brokenTls(client, error);
  }
}

async function beginWithTls(client: Conversation, tls: ClientTls, signal: AbortSignal): Promise<Socket> {
  try {
    return await unlessAborted(
      tls.acceptor.acceptDirect(client.socket, client.reader),
      signal,
      destroySocket,
    );
  } catch (error) {
    throw brokenTls(client, error);
  }
}

/** A failed handshake has told the client why by an alert; plain text behind it would only confuse. */
function brokenTls(client: Conversation, error: unknown): unknown {
  client.socket.destroy();
  return error instanceof LoginEnd ? error : LoginEnd.silent("protocol");
}

/** A client without TLS must not bypass the certificate that clients have to show. */
function refusePlain(socket: Socket, tls: ClientTls | undefined): void {
  if (tls === undefined || socket instanceof TLSSocket) return;
  if (tls.plain === "refused") {
    throw LoginEnd.refused(
      "protocol",
      refuseSession("28000", "this server takes connections with TLS only", {
        hint: "Connect with sslmode=require (or verify-full). The proxy's --tls-required asks for it.",
      }),
    );
  }
  if (tls.certificates !== "required") return;
  throw LoginEnd.refused(
    "protocol",
    refuseSession("28000", "connection requires a valid client certificate", {
      hint: "Connect with sslmode=require (or verify-full), sslcert and sslkey.",
    }),
  );
}
