import type { Catalog } from "../catalog/catalog.ts";
import { asBytes, type Carried } from "../pool/carried-settings.ts";
import {
  type Asker,
  NoConnection,
  type Pool,
  type PoolOptions,
  type Startup as PoolStartup,
} from "../pool/pool.ts";
import { PooledServer } from "../pool/pooled-server.ts";
import type { LeavingsCache, Pools } from "../pool/pools.ts";
import type { ServerConnection } from "../pool/server-connection.ts";
import { authenticationOk, backendKey, parameterStatus, readyForQuery } from "../wire/backend-messages.ts";
import { errorResponse } from "../wire/errors.ts";
import { FrameReader } from "../wire/frames.ts";
import { terminateMessage } from "../wire/frontend-messages.ts";
import { bytesOf } from "../wire/messages.ts";
import { type Startup, startupMessage } from "../wire/startup.ts";
import type { UpstreamHosts } from "../wire/upstream-hosts.ts";
import { addressOf } from "./address.ts";
import { type Conversation, sayFarewell, unlessAborted } from "./conversation.ts";
import type { Established } from "./established.ts";
import { readGreeting, sqlstateOf } from "./greeting.ts";
import {
  cancelAt,
  checkGreeting,
  checkHost,
  type LoggedIn,
  type LoginParts,
  noSuchDatabase,
  openServer,
  receiveClaim,
  roleOf,
  SERVER_MESSAGE_LIMIT,
  settingsOf,
} from "./login.ts";
import { LoginEnd } from "./login-end.ts";
import { Reported } from "./reported.ts";
import { checkScram, logInUpstream } from "./scram-login.ts";
import { type Claim, pooledSettings } from "./startup-settings.ts";

/** What log-ins need whose server connections are shared. */
export interface Pooling {
  readonly pools: Pools;
  readonly leavings: LeavingsCache;
  /** Throws a `LoginEnd`. */
  readonly catalogOf: (database: string) => Promise<{ readonly current: Catalog }>;
}

/** As `logIn`, for a client that gets a place in a pool in place of a server connection. */
export async function logInPooled(
  client: Conversation,
  startup: Startup,
  parts: LoginParts & { readonly pooling: Pooling },
  signal: AbortSignal,
  own: Pick<Established, "id" | "dismissal">,
): Promise<LoggedIn> {
  const { minor, claim, hosts } = receiveClaim(client, startup, parts);
  if (parts.authenticating.mode !== "scram") throw new Error("a pool needs --auth scram");
  const signature = await checkScram(client, claim.user, parts.authenticating.users());
  const address = addressOf(client.socket);
  // What a guarded role may not set is refused here as well.
  const { pinned } = settingsOf(claim, address, parts);
  const role = roleOf(claim, address, pinned, parts);
  const { database } = hosts.upstream;
  if (database !== undefined && database !== claim.database) throw noSuchDatabase(claim.database);

  const { pools, leavings, catalogOf } = parts.pooling;
  const pool = pools.of(
    claim.database,
    claim.user,
    opening(() => parts.upstreamOf(claim.database) ?? hosts, parts),
  );
  const place = placeOf(claim, hosts.upstream.user ?? "");
  const greeting = await greetingOf(pool, place.startup, client, signal);
  const catalog = await unlessAborted(catalogOf(claim.database), signal, () => {});
  const parameters = new Map([...greeting, ["application_name", claim.application]]);
  const server = new PooledServer({
    pool,
    startup: place.startup,
    leavingsOf: (sql) => leavings.of(sql, catalog.current),
    settings: place.settings,
    parameters,
    onFault: (error) => parts.log.error({ err: error }, "a pooled session was ended by a fault"),
    cancel: ({ opened: { at, key } }) => cancelAt(at, key, parts),
  });
  const cancelUpstream = () => server.cancel();
  const issued = parts.cancelKeys.issue(minor, cancelUpstream);
  client.reader.maximumLength = parts.maxMessageBytes;
  const statuses = [...parameters].map(([name, value]) => parameterStatus(name, value));
  client.send(Buffer.concat([signature, authenticationOk, ...statuses, backendKey(issued)]));
  const established: Established = {
    client: client.handOver(),
    server: { socket: server, reader: new FrameReader(SERVER_MESSAGE_LIMIT, () => false) },
    user: claim.user,
    database: claim.database,
    application: claim.application,
    address,
    parameters: new Reported(parameters),
    databaseUser: hosts.upstream.user ?? "",
    pinned,
    ...own,
    cancelUpstream,
  };
  return { established, role, ready: readyForQuery("I"), issued };
}

/** How server connections are opened for this client, and what of its settings is its own. */
function placeOf(
  claim: Claim,
  databaseUser: string,
): { readonly startup: PoolStartup; readonly settings: Carried } {
  const settings = new Map(pooledSettings(claim));
  // Clients of one application differ in this, and shall share connections all the same.
  const application = settings.get("application_name");
  settings.delete("application_name");
  const packet = startupMessage([
    ["user", databaseUser],
    ["database", claim.database],
    ...settings,
    ["sluice.user", claim.user],
  ]);
  return {
    startup: { key: packet.toString("latin1"), packet },
    settings: new Map(application === undefined ? [] : [["application_name", asBytes(application)]]),
  };
}

/** What the server tells a session of these settings; the first one has to wait for a connection. */
function greetingOf(
  pool: Pool,
  startup: PoolStartup,
  client: Conversation,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const known = pool.greeting(startup);
  if (known !== undefined) return Promise.resolve(known);
  return new Promise((resolve, reject) => {
    const done = (connection: ServerConnection) => {
      signal.removeEventListener("abort", onAbort);
      resolve(connection.opened.parameters);
      pool.release(connection);
    };
    const asker: Asker = {
      granted: done,
      failed: ({ response, sqlstate }) => {
        signal.removeEventListener("abort", onAbort);
        client.send(response);
        reject(LoginEnd.relayed("upstream", sqlstate));
      },
    };
    const onAbort = () => {
      pool.forget(asker);
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort);
    const connection = pool.take(asker, startup);
    if (connection !== undefined) done(connection);
  });
}

/** `hosts`: those of now, as the log-in towards them can be read again. */
function opening(hosts: () => UpstreamHosts, parts: LoginParts): PoolOptions["open"] {
  return async ({ packet }) => {
    try {
      return await openPooled(hosts(), parts, packet);
    } catch (error) {
      if (error instanceof NoConnection) throw error;
      const { refusal, problem, sqlstate } = LoginEnd.from(error);
      if (refusal === undefined) throw error;
      parts.log.error({ problem, sqlstate }, "a server connection of the pool could not be opened");
      throw new NoConnection(errorResponse(refusal), refusal.sqlstate);
    }
  };
}

async function openPooled(hosts: UpstreamHosts, parts: LoginParts, packet: Buffer) {
  // No client's log-in is behind it: the steps have limits of their own.
  const { server, at } = await openServer(hosts, packet, parts, new AbortController().signal);
  const onError = () => new NoConnection(bytesOf(server.reader), sqlstateOf(server));
  try {
    const databaseUser = hosts.upstream.user ?? "";
    await logInUpstream(server, hosts.upstream, databaseUser, onError);
    const greeting = await readGreeting(server, () => {}, onError);
    checkGreeting({ databaseUser, pinned: true }, greeting);
    checkHost(hosts, greeting);
    const { parameters, serverKey: key } = greeting;
    return { socket: server.socket, rest: server.reader.drain(), parameters, key, at };
  } catch (error) {
    sayFarewell(server.socket, terminateMessage);
    throw error;
  }
}
