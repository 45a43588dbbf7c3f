import type { Log } from "../../log.ts";
import type { PolicySet } from "../../policy/compile.ts";
import type { Policy, Role } from "../../policy/policy.ts";
import { isRefusal, roleFor } from "../../policy/roles.ts";
import { isUnrestricted } from "../../sql/scope.ts";
import { authenticationOk, type BackendKey } from "../../wire/backend-messages.ts";
import { LOGIN_MESSAGE_LIMIT } from "../../wire/frames.ts";
import { terminateMessage } from "../../wire/frontend-messages.ts";
import { bytesOf } from "../../wire/messages.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { negotiate, type Startup, startupMessage } from "../../wire/startup.ts";
import { type Upstream, UpstreamUnreachable } from "../../wire/upstream.ts";
import type { UpstreamHosts } from "../../wire/upstream-hosts.ts";
import type { Users } from "../../wire/users-file.ts";
import { type CancelKeys, type IssuedKey, sendCancel } from "../cancel/cancel.ts";
import { addressOf } from "../context/address.ts";
import type { Established } from "../context/established.ts";
import { Reported } from "../context/reported.ts";
import { Conversation, destroySocket, sayFarewell, unlessAborted } from "./conversation.ts";
import { type Greeting, relayError, relayGreeting } from "./greeting.ts";
import { LoginEnd } from "./login-end.ts";
import { relayAuthentication } from "./passthrough.ts";
import { checkScram, logInUpstream } from "./scram-login.ts";
import { type Claim, guardedSettings, PINNED, readClaim } from "./startup-settings.ts";

/** How users prove who they are. */
export type Authenticating =
  /** By the server's own exchange, relayed. */
  | { readonly mode: "passthrough" }
  /** Against verifiers; the login upstream is the proxy's own. */
  | { readonly mode: "scram"; readonly users: () => Users };

/** What logins need. */
export interface LoginParts {
  readonly authenticating: Authenticating;
  /** The hosts that serve a database; undefined for one that is not served here. */
  readonly upstreamOf: (database: string) => UpstreamHosts | undefined;
  readonly policies: () => PolicySet;
  readonly cancelKeys: CancelKeys;
  readonly maxMessageBytes: number;
  readonly log: Log;
}

/** A login that succeeded. The server's first ReadyForQuery is in `ready`, not sent yet. */
export interface LoggedIn {
  readonly established: Established;
  /** The role at login. */
  readonly role: Role;
  readonly ready: Buffer;
  readonly issued: IssuedKey;
}

/** Longest message of a server: PQ_LARGE_MESSAGE_LIMIT of libpq/libpq.h. */
export const SERVER_MESSAGE_LIMIT = 0x3fff_ffff;

/**
 * Asks a server to cancel what runs under a key; undefined: it has given none. "lost": it may arrive yet, or never. Never
 * rejects.
 */
export async function cancelAt(
  at: Upstream,
  key: BackendKey | undefined,
  { log }: Pick<LoginParts, "log">,
): Promise<"done" | "lost"> {
  if (key === undefined) return "done";
  try {
    await sendCancel(at, key);
    return "done";
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unknown";
    log.warn({ reason }, "a cancel request did not reach the database server");
    return "lost";
  }
}

/** Cancels at the server of one session; nothing, until that server has given its key. */
class Cancelling {
  at: Upstream;
  key: BackendKey | undefined;
  readonly #parts: Pick<LoginParts, "log">;

  constructor(at: Upstream, parts: Pick<LoginParts, "log">) {
    this.at = at;
    this.#parts = parts;
  }

  readonly cancel = async (): Promise<void> => {
    await cancelAt(this.at, this.key, this.#parts);
  };
}

/** Which protocol the client gets, the user it claims, and the database it wants. Throws a `LoginEnd`. */
export function receiveClaim(client: Conversation, startup: Startup, { upstreamOf }: LoginParts) {
  const { minor, reply } = negotiate(startup);
  if (reply) client.send(reply);
  const claim = readClaim(startup);
  const hosts = upstreamOf(claim.database);
  if (hosts === undefined) throw noSuchDatabase(claim.database);
  return { minor, claim, hosts };
}

/**
 * Logs a client in, here or there, and leaves both sides at the point where the session begins. Throws a
 * `LoginEnd` in all other cases, with nothing left open upstream. `own` is for the session.
 */
export async function logIn(
  client: Conversation,
  startup: Startup,
  parts: LoginParts,
  signal: AbortSignal,
  own: Pick<Established, "id" | "dismissal" | "window">,
): Promise<LoggedIn> {
  const { minor, claim, hosts } = receiveClaim(client, startup, parts);
  const cancelling = new Cancelling(hosts.upstream, parts);
  let issued: IssuedKey | undefined;
  const issue = (key: BackendKey | undefined) => {
    issued = parts.cancelKeys.issue(minor, cancelling.cancel, key?.processId);
    return issued;
  };
  let server: Conversation | undefined;
  try {
    const open = async (packet: Buffer) => {
      const link = await openServer(hosts, packet, parts, signal);
      server = link.server;
      cancelling.at = link.at;
      return link.server;
    };
    const entry = await authenticate(client, claim, parts, { upstream: hosts.upstream, open });
    const greeting = await relayGreeting(entry.server, client, issue);
    cancelling.key = greeting.serverKey;
    if (issued === undefined) throw new Error("a greeting without a key");
    checkGreeting(entry, greeting);
    checkHost(hosts, greeting);
    client.reader.maximumLength = parts.maxMessageBytes;
    entry.server.reader.maximumLength = SERVER_MESSAGE_LIMIT;
    const established: Established = {
      client: client.handOver(),
      server: entry.server.handOver(),
      user: claim.user,
      database: claim.database,
      application: claim.application,
      address: addressOf(client.socket),
      parameters: new Reported(greeting.parameters),
      databaseUser: entry.databaseUser,
      pinned: entry.pinned,
      ...own,
      cancelUpstream: cancelling.cancel,
    };
    return { established, role: entry.role, ready: bytesOf(entry.server.reader), issued };
  } catch (error) {
    if (issued !== undefined) parts.cancelKeys.revoke(issued);
    if (server) sayFarewell(server.socket, terminateMessage);
    throw error;
  }
}

/** An authenticated user, and the server that has let them in. */
interface Admission {
  readonly server: Conversation;
  readonly databaseUser: string;
  readonly role: Role;
  readonly pinned: boolean;
}

/** Where the login goes on. */
interface Target {
  readonly upstream: Upstream;
  readonly open: (startup: Buffer) => Promise<Conversation>;
}

async function authenticate(
  client: Conversation,
  claim: Claim,
  parts: LoginParts,
  target: Target,
): Promise<Admission> {
  switch (parts.authenticating.mode) {
    case "passthrough":
      return passThrough(client, claim, parts, target);
    case "scram":
      return checkHere(client, claim, parts, parts.authenticating.users(), target);
  }
}

async function passThrough(
  client: Conversation,
  claim: Claim,
  parts: LoginParts,
  { open }: Target,
): Promise<Admission> {
  const address = addressOf(client.socket);
  const { settings, pinned } = settingsOf(claim, address, parts);
  const server = await open(
    startupMessage([["user", claim.user], ["database", claim.database], ...settings]),
  );
  const proof = await relayAuthentication(client, server);
  if (proof === "trusted") {
    parts.log.warn(
      { database: claim.database },
      "the server asks this proxy for no password (trust in pg_hba.conf): anyone can log in as any user",
    );
  }
  const role = roleOf(claim, address, pinned, parts);
  client.send(authenticationOk);
  return { server, databaseUser: claim.user, role, pinned };
}

async function checkHere(
  client: Conversation,
  claim: Claim,
  parts: LoginParts,
  users: Users,
  { upstream, open }: Target,
): Promise<Admission> {
  const signature = await checkScram(client, claim.user, users);
  const address = addressOf(client.socket);
  const { settings, pinned } = settingsOf(claim, address, parts);
  const role = roleOf(claim, address, pinned, parts);
  if (upstream.database !== undefined && upstream.database !== claim.database) {
    throw noSuchDatabase(claim.database);
  }
  const databaseUser = upstream.user ?? "";
  const server = await open(
    startupMessage([
      ["user", databaseUser],
      ["database", claim.database],
      ...settings,
      // Row security can ask current_setting('sluice.user') who it is.
      ["sluice.user", claim.user],
    ]),
  );
  await logInUpstream(server, upstream, databaseUser, () => relayError(server, client));
  client.send(Buffer.concat([signature, authenticationOk]));
  return { server, databaseUser, role, pinned };
}

/**
 * The settings of the startup packet to the server. The user's name is not proved yet: its role decides which settings
 * may pass, and grants nothing else.
 */
export function settingsOf(
  claim: Claim,
  address: string,
  parts: LoginParts,
): Pick<Admission, "pinned"> & Pick<Claim, "settings"> {
  const policy = parts.policies().forDatabase(claim.database);
  const claimed = roleFor(policy, claim.user, address);
  const pinned = isRefusal(claimed) || isGuarded(policy, claimed);
  const role = isRefusal(claimed) ? undefined : claimed;
  return { settings: pinned ? guardedSettings(claim, role) : claim.settings, pinned };
}

/** The role of an authenticated user, by the policy as it is now. */
export function roleOf(claim: Claim, address: string, pinned: boolean, parts: LoginParts): Role {
  const policy = parts.policies().forDatabase(claim.database);
  const role = roleFor(policy, claim.user, address);
  if (isRefusal(role)) throw LoginEnd.refused("no_role", role);
  if (pinned || !isGuarded(policy, role)) return role;
  throw LoginEnd.refused(
    "no_role",
    refuseSession("57P03", "the policy changed during this login; try again"),
  );
}

/** `mode: observe` changes nothing, startup packets included. */
function isGuarded(policy: Policy, role: Role): boolean {
  return policy.mode === "enforce" && !isUnrestricted(role);
}

/** In the words of postinit.c. */
export function noSuchDatabase(database: string): LoginEnd {
  return LoginEnd.refused(
    "upstream",
    refuseSession("3D000", `database "${database}" does not exist`, {
      hint: "The proxy serves the databases of --upstream and --databases.",
    }),
  );
}

/** The server has begun to answer the startup packet. */
export async function openServer(
  hosts: UpstreamHosts,
  startup: Buffer,
  parts: Pick<LoginParts, "log">,
  signal: AbortSignal,
): Promise<{ readonly server: Conversation; readonly at: Upstream }> {
  try {
    const { socket, at } = await unlessAborted(hosts.open(startup), signal, (late) =>
      destroySocket(late.socket),
    );
    return { server: new Conversation(socket, LOGIN_MESSAGE_LIMIT, signal), at };
  } catch (error) {
    if (!(error instanceof UpstreamUnreachable)) throw LoginEnd.reasonOf(error, UNANSWERED);
    parts.log.error({ reason: error.message }, "the database server cannot be reached");
    throw LoginEnd.refused("upstream", {
      ...error.refusal,
      hint: "The proxy is up; the database behind it is not, or the network between them. The proxy's log has details.",
    });
  }
}

const UNANSWERED = refuseSession("08006", "the database server did not answer within the login timeout", {
  hint: "The proxy is up; the database behind it is not, or the network between them. Try again in a moment.",
});

/** After a failover a server may not be any more what it was when it was asked last. */
export function checkHost(hosts: UpstreamHosts, { parameters }: Greeting): void {
  if (hosts.accepts(parameters)) return;
  hosts.forget();
  throw LoginEnd.refused(
    "upstream",
    refuseSession("08006", `the database server is not ${hosts.upstream.targetSessionAttrs} any more`, {
      hint: "Another one has taken its place, or will soon: connect again.",
    }),
  );
}

/**
 * Two things that everything else depends on: the server took us for the user whom we named, and a guarded
 * session's text is read as the analysis reads it.
 */
export function checkGreeting(
  entry: Pick<Admission, "databaseUser" | "pinned">,
  { parameters }: Greeting,
): void {
  const user = parameters.get("session_authorization");
  if (user !== undefined && user !== entry.databaseUser) {
    throw LoginEnd.refused("upstream", refuseSession("XX000", "the server logged in another user"));
  }
  if (!entry.pinned) return;
  for (const [name, value] of PINNED) {
    if (parameters.get(name) === value) continue;
    throw LoginEnd.refused(
      "upstream",
      refuseSession("XX000", `the server did not take ${name}=${value}`, {
        hint: "A pooler between the proxy and the database may ignore startup parameters.",
      }),
    );
  }
}
