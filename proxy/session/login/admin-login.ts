import type { AdminRight } from "../../policy/compile.ts";
import { authenticationOk, decodeParameterStatus } from "../../wire/backend-messages.ts";
import { terminateMessage } from "../../wire/frontend-messages.ts";
import { Backend } from "../../wire/messages.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { negotiate, type Startup, startupMessage } from "../../wire/startup.ts";
import { type Conversation, sayFarewell } from "./conversation.ts";
import { expectServer, relayError, unexpected } from "./greeting.ts";
import { type LoginParts, openServer } from "./login.ts";
import { LoginEnd } from "./login-end.ts";
import { relayAuthentication } from "./passthrough.ts";
import { checkScram } from "./scram-login.ts";
import { type Claim, readClaim } from "./startup-settings.ts";

/** Who speaks to the admin database. */
export interface AdminUser {
  readonly user: string;
  /** IP address. */
  readonly address: string;
}

/** A database that the proxy answers for by itself. */
export interface AdminDatabase {
  /** Whether it goes by this name. */
  serves(database: string): boolean;
  /** The real database that lets an admin in, with `--auth passthrough`. */
  readonly provenAt: string;
  right(user: string): AdminRight | undefined;
  /** Serves a client that has been told that its login succeeded. Resolves when it leaves. */
  run(client: Conversation, user: AdminUser): Promise<void>;
}

type AdminLoginParts = Pick<LoginParts, "authenticating" | "upstreamOf" | "log"> & {
  readonly adminDatabase: Pick<AdminDatabase, "right" | "provenAt">;
};

/** The database that a startup packet names: see `readClaim`. */
export function databaseOf({ parameters }: Startup): string {
  return parameters.get("database") || (parameters.get("user") ?? "");
}

/**
 * Logs a client in to the admin database, as far as AuthenticationOk. Its password is checked like any other:
 * against the user's verifier, or by the server, to which the login is relayed and which then gets nothing more.
 */
export async function proveAdmin(
  client: Conversation,
  startup: Startup,
  parts: AdminLoginParts,
  signal: AbortSignal,
): Promise<Claim> {
  const { reply } = negotiate(startup);
  if (reply) client.send(reply);
  const claim = readClaim(startup);
  const { authenticating } = parts;
  const proof =
    authenticating.mode === "scram"
      ? await checkScram(client, claim.user, authenticating.users())
      : await askServer(client, claim.user, parts, signal);
  // After the proof, so that clients cannot find out who is an admin.
  if (parts.adminDatabase.right(claim.user) === undefined) {
    throw LoginEnd.refused(
      "no_role",
      refuseSession("28000", `user "${claim.user}" may not use the admin database`, {
        hint: 'The policy names who may, under "admins:" and "auditors:".',
        rule: "admins",
      }),
    );
  }
  client.send(Buffer.concat([proof, authenticationOk]));
  return claim;
}

const NO_PROOF = Buffer.alloc(0);

/** Accepts only users that the server lets in with a password: up to its ReadyForQuery, because NOLOGIN comes late. */
async function askServer(
  client: Conversation,
  user: string,
  parts: AdminLoginParts,
  signal: AbortSignal,
): Promise<Buffer> {
  const { provenAt } = parts.adminDatabase;
  const hosts = parts.upstreamOf(provenAt);
  if (hosts === undefined) throw new Error("the database of --upstream is not served");
  const startup = startupMessage([
    ["user", user],
    ["database", provenAt],
  ]);
  const { server } = await openServer(hosts, startup, parts, signal);
  try {
    if ((await relayAuthentication(client, server)) === "trusted") {
      throw LoginEnd.refused(
        "password",
        refuseSession(
          "28000",
          "the database server asks for no password, so no one can prove to be an admin",
          {
            hint: "Let pg_hba.conf ask this proxy for scram-sha-256, or use --auth scram.",
          },
        ),
      );
    }
    await untilReady(server, client, user);
    return NO_PROOF;
  } finally {
    sayFarewell(server.socket, terminateMessage);
  }
}

async function untilReady(server: Conversation, client: Conversation, user: string): Promise<void> {
  for (;;) {
    await expectServer(server);
    switch (server.reader.type) {
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(server.reader);
        if (name === "session_authorization" && value !== user) throw unexpected(server);
        break;
      }
      case Backend.BackendKeyData:
      case Backend.NoticeResponse:
        break;
      case Backend.ErrorResponse:
        throw relayError(server, client);
      case Backend.ReadyForQuery:
        return;
      default:
        throw unexpected(server);
    }
  }
}
