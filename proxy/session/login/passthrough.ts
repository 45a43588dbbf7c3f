import {
  type Authentication,
  authenticationSasl,
  decodeAuthentication,
} from "../../wire/backend-messages.ts";
import { ownCertificate, serverCertificate } from "../../wire/channel-binding.ts";
import { ProtocolViolation } from "../../wire/frames.ts";
import {
  decodePassword,
  decodeSaslInitialResponse,
  decodeSaslResponse,
} from "../../wire/frontend-messages.ts";
import { Backend, bytesOf, Frontend } from "../../wire/messages.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { SCRAM_SHA_256, SCRAM_SHA_256_PLUS } from "../../wire/scram.ts";
import { isPrivate } from "../context/address.ts";
import type { Conversation } from "./conversation.ts";
import { expectServer, relayError, unexpected } from "./greeting.ts";
import { LoginEnd } from "./login-end.ts";

/**
 * Relays the server's own authentication exchange until the server says AuthenticationOk, which is not sent
 * on: the caller still looks for the user's role. Each side may send only what the exchange has next.
 * "trusted": the server asked for no proof.
 */
export async function relayAuthentication(
  client: Conversation,
  server: Conversation,
): Promise<"proved" | "trusted"> {
  const request = await nextRequest(client, server);
  switch (request.kind) {
    case "ok":
      return "trusted";
    case "cleartext":
      refuseOpenPassword(client, server);
      await relayPassword(client, server);
      break;
    case "md5":
      await relayPassword(client, server);
      break;
    case "sasl":
      await relayScram(request.mechanisms, client, server);
      break;
    case "other":
      throw unsupported("The server asks for a method that cannot be relayed (GSSAPI or SSPI).");
    default:
      throw unexpected(server);
  }
  if ((await nextRequest(client, server)).kind !== "ok") throw unexpected(server);
  return "proved";
}

/** The server's next authentication request; its notices are relayed, and so is the error that ends the login. */
async function nextRequest(client: Conversation, server: Conversation): Promise<Authentication> {
  for (;;) {
    const reply = await nextReply(server);
    if (reply === "error") throw relayError(server, client);
    if (reply !== "notice") return reply;
    client.send(bytesOf(server.reader));
  }
}

/** What a server may send before AuthenticationOk. Errors and notices are left in the reader. */
export async function nextReply(server: Conversation): Promise<Authentication | "error" | "notice"> {
  await expectServer(server);
  switch (server.reader.type) {
    case Backend.Authentication:
      return readRequest(server);
    case Backend.NoticeResponse:
      return "notice";
    case Backend.ErrorResponse:
      return "error";
    default:
      throw unexpected(server);
  }
}

/** Waits for the client's answer to an authentication request: the only thing that it may send. */
export async function expectAnswer(client: Conversation): Promise<void> {
  if (!(await client.receive())) throw LoginEnd.left();
  const { type } = client.reader;
  if (type === Frontend.Terminate) throw LoginEnd.left();
  // In the words of auth.c.
  if (type !== Frontend.Password) {
    throw new ProtocolViolation(`expected password response, got message type ${type}`);
  }
}

function readRequest(server: Conversation): Authentication {
  try {
    return decodeAuthentication(server.reader);
  } catch {
    throw unexpected(server);
  }
}

/** Both methods have the client's one answer, in one form. */
async function relayPassword(client: Conversation, server: Conversation): Promise<void> {
  client.send(bytesOf(server.reader));
  await expectAnswer(client);
  decodePassword(client.reader);
  server.send(bytesOf(client.reader));
}

async function relayScram(
  mechanisms: readonly string[],
  client: Conversation,
  server: Conversation,
): Promise<void> {
  const relayed = relayable(mechanisms, client, server);
  if (relayed.length === 0) {
    throw unsupported(
      mechanisms.includes(SCRAM_SHA_256_PLUS)
        ? "The server takes SCRAM with channel binding only."
        : "The server offers SASL mechanisms that cannot be relayed.",
    );
  }
  client.send(authenticationSasl(relayed));
  await expectAnswer(client);
  checkChoice(client, mechanisms, relayed);
  server.send(bytesOf(client.reader));

  if ((await nextRequest(client, server)).kind !== "saslContinue") throw unexpected(server);
  client.send(bytesOf(server.reader));
  await expectAnswer(client);
  decodeSaslResponse(client.reader);
  server.send(bytesOf(client.reader));

  if ((await nextRequest(client, server)).kind !== "saslFinal") throw unexpected(server);
  client.send(bytesOf(server.reader));
}

/**
 * SCRAM-SHA-256-PLUS is bound to the certificate of one TLS connection, of which there are two here: it can be relayed
 * where both ends see the same certificate (tls-server-end-point, RFC 5929).
 */
function relayable(
  mechanisms: readonly string[],
  client: Conversation,
  server: Conversation,
): readonly string[] {
  const [ours, theirs] = [ownCertificate(client.socket), serverCertificate(server.socket)];
  const isSame = ours !== undefined && theirs !== undefined && ours.equals(theirs);
  const known = isSame ? [SCRAM_SHA_256_PLUS, SCRAM_SHA_256] : [SCRAM_SHA_256];
  return known.filter((mechanism) => mechanisms.includes(mechanism));
}

/**
 * Reads the client's choice of mechanism. The flag "y" means that the client supports channel binding and believes that
 * the server does not (RFC 5802, section 6); libpq sends it over TLS. A server that did offer binding takes the flag
 * for a downgrade attack, and the flag is signed, so the proxy cannot correct it. It refuses with an explanation
 * instead.
 */
function checkChoice(client: Conversation, offered: readonly string[], relayed: readonly string[]): void {
  const { mechanism, data } = decodeSaslInitialResponse(client.reader);
  if (!relayed.includes(mechanism)) {
    throw new ProtocolViolation("client selected an invalid SASL authentication mechanism");
  }
  const isCut = offered.includes(SCRAM_SHA_256_PLUS) && !relayed.includes(SCRAM_SHA_256_PLUS);
  if (!isCut || data[0] !== "y".charCodeAt(0)) return;
  throw LoginEnd.refused(
    "password",
    refuseSession("28000", "SCRAM channel binding cannot be relayed", {
      detail: "The client and the server both support channel binding, but not across a proxy.",
      hint: "Connect with channel_binding=disable (PGCHANNELBINDING). The proxy's operator can give it the database's own certificate, or --auth scram.",
    }),
  );
}

/** A password in the clear goes over two connections, and both must be closed to others. */
function refuseOpenPassword(client: Conversation, server: Conversation): void {
  const open = [client, server].find((side) => !isPrivate(side.socket));
  if (open === undefined) return;
  throw LoginEnd.refused(
    "password",
    refuseSession("28000", "a password in the clear needs an encrypted connection", {
      detail:
        open === client
          ? "The server asks for the password itself, and this connection has no TLS."
          : "The server asks for the password itself, and the proxy's connection to it has no TLS.",
      hint:
        open === client
          ? "Connect with sslmode=require."
          : "Use scram-sha-256 in the server's pg_hba.conf, or sslmode=require in --upstream.",
    }),
  );
}

function unsupported(detail: string): LoginEnd {
  return LoginEnd.refused(
    "upstream",
    refuseSession("28000", "this authentication method does not work through the proxy", {
      detail,
      hint: "Use scram-sha-256 for this user in the server's pg_hba.conf, or run the proxy with --auth scram.",
    }),
  );
}
