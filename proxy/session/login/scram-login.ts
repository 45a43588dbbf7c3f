import { randomBytes } from "node:crypto";
import {
  type Authentication,
  authenticationSasl,
  authenticationSaslContinue,
  authenticationSaslFinal,
} from "../../wire/backend-messages.ts";
import { endPointHash, ownCertificate } from "../../wire/channel-binding.ts";
import { ProtocolViolation } from "../../wire/frames.ts";
import {
  decodeSaslInitialResponse,
  decodeSaslResponse,
  passwordMessage,
  saslInitialResponse,
  saslResponse,
} from "../../wire/frontend-messages.ts";
import { refuseSession } from "../../wire/refusal.ts";
import {
  DEFAULT_ITERATIONS,
  md5Password,
  mockVerifier,
  SCRAM_SHA_256,
  SCRAM_SHA_256_PLUS,
  ScramClient,
  ScramServer,
} from "../../wire/scram.ts";
import type { Upstream } from "../../wire/upstream.ts";
import type { Users } from "../../wire/users-file.ts";
import { isPrivate } from "../context/address.ts";
import type { Conversation } from "./conversation.ts";
import { sqlstateOf } from "./greeting.ts";
import { LoginEnd } from "./login-end.ts";
import { expectAnswer, nextReply } from "./passthrough.ts";

const NONCE_BYTES = 18;

/** Of this process: users who do not exist get a salt that stays the same from one attempt to the next. */
const mockSecret = randomBytes(32);

/**
 * Checks a client against the users file, bound to its TLS connection where it can be. Returns AuthenticationSASLFinal, to be sent when the user has a
 * role as well. A user who does not exist goes through the same exchange and fails with the same words.
 */
export async function checkScram(client: Conversation, user: string, users: Users): Promise<Buffer> {
  const verifier = users.get(user) ?? mockVerifier(user, mockSecret, DEFAULT_ITERATIONS);
  const certificate = ownCertificate(client.socket);
  const endPoint = certificate && endPointHash(certificate);
  const exchange = new ScramServer(verifier, nonce(), endPoint);
  const mechanisms = endPoint === undefined ? [SCRAM_SHA_256] : [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
  client.send(authenticationSasl(mechanisms));

  await expectAnswer(client);
  const { mechanism, data } = decodeSaslInitialResponse(client.reader);
  if (!mechanisms.includes(mechanism)) {
    throw new ProtocolViolation("client selected an invalid SASL authentication mechanism");
  }
  client.send(authenticationSaslContinue(exchange.first(mechanism, data)));

  await expectAnswer(client);
  const signature = exchange.final(decodeSaslResponse(client.reader));
  if (signature !== undefined && users.has(user)) return authenticationSaslFinal(signature);
  throw LoginEnd.refused(
    "password",
    // In the words of auth.c.
    refuseSession("28P01", `password authentication failed for user "${user}"`),
  );
}

/** What happens to a server's ErrorResponse for clients: the reader is at it. */
export type OnServerError = (server: Conversation) => Error;

/** Logs in upstream with the proxy's own credentials. Returns when the server has said AuthenticationOk. */
export async function logInUpstream(
  server: Conversation,
  upstream: Upstream,
  user: string,
  onError: OnServerError,
): Promise<void> {
  const request = await ownRequest(server, onError);
  if (request.kind === "ok") return;
  const password = upstream.password();
  if (password === undefined) throw notLoggedIn("it asks for a password, and --upstream has none");
  switch (request.kind) {
    case "cleartext":
      if (!isPrivate(server.socket)) throw notLoggedIn("it asks for a password in the clear without TLS");
      server.send(passwordMessage(password));
      break;
    case "md5":
      server.send(passwordMessage(md5Password(user, password, request.salt)));
      break;
    case "sasl":
      if (!request.mechanisms.includes(SCRAM_SHA_256)) throw notLoggedIn("it does not offer SCRAM-SHA-256");
      await answerScram(server, password, onError);
      break;
    default:
      throw notLoggedIn("it asks for an authentication method that is not supported");
  }
  if ((await ownRequest(server, onError)).kind !== "ok") throw notLoggedIn("it does not follow the protocol");
}

async function answerScram(server: Conversation, password: string, onError: OnServerError): Promise<void> {
  const exchange = new ScramClient(password, nonce());
  server.send(saslInitialResponse(SCRAM_SHA_256, exchange.first()));
  const challenge = await ownRequest(server, onError);
  if (challenge.kind !== "saslContinue") throw notLoggedIn("it does not follow the protocol");
  const proof = await exchange.final(challenge.data).catch(() => undefined);
  if (proof === undefined) throw notLoggedIn("its SCRAM challenge is malformed");
  server.send(saslResponse(proof));
  const end = await ownRequest(server, onError);
  // Whoever cannot sign does not know the password either: not our database.
  if (end.kind !== "saslFinal" || !exchange.verify(end.data)) throw notLoggedIn("it could not prove itself");
}

/**
 * The server's next request to the proxy. What it says about the proxy's own credentials (class 28) is not
 * for clients; that there is no such database, or no room, is.
 */
async function ownRequest(server: Conversation, onError: OnServerError): Promise<Authentication> {
  for (;;) {
    const reply = await nextReply(server);
    if (reply === "notice") continue;
    if (reply !== "error") return reply;
    const sqlstate = sqlstateOf(server);
    if (!sqlstate.startsWith("28")) throw onError(server);
    throw notLoggedIn(`it refused the credentials of --upstream (${sqlstate})`);
  }
}

/** The client gets the error for a wrong password; the reason names no secret. */
function notLoggedIn(reason: string): LoginEnd {
  return LoginEnd.refused(
    "upstream",
    refuseSession("08006", "the proxy cannot log in to the database server", {
      detail: `The server's side: ${reason}.`,
      hint: "Your own password is right. The proxy's operator has to look at --upstream.",
    }),
  );
}

function nonce(): string {
  return randomBytes(NONCE_BYTES).toString("base64");
}
