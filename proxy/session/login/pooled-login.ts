import type { Catalog } from "../../catalog/catalog.ts";
import { NoConnection, type Startup as PoolStartup } from "../../pool/asker.ts";
import type { Greetings } from "../../pool/greetings.ts";
import type { PoolOptions } from "../../pool/pool.ts";
import { PooledLeg } from "../../pool/pooled-leg.ts";
import type { Pools, ResidueCache } from "../../pool/pools.ts";
import type { Opened } from "../../pool/server-connection.ts";
import { asBytes, IDLE_TIMEOUT, isSynced, type SyncedParameters } from "../../pool/synced-parameters.ts";
import type { TenancyOptions } from "../../pool/tenancy.ts";
import { residueWith } from "../../sql/session-residue.ts";
import { authenticationOk, backendKey, parameterStatus, readyForQuery } from "../../wire/backend-messages.ts";
import { errorResponse } from "../../wire/errors.ts";
import { terminateMessage } from "../../wire/frontend-messages.ts";
import { bytesOf } from "../../wire/messages.ts";
import { type Startup, startupMessage } from "../../wire/startup.ts";
import type { UpstreamHosts } from "../../wire/upstream-hosts.ts";
import { addressOf } from "../context/address.ts";
import type { Established } from "../context/established.ts";
import { Reported } from "../context/reported.ts";
import { type Conversation, sayFarewell, unlessAborted } from "./conversation.ts";
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
  settingsOf,
} from "./login.ts";
import { LoginEnd } from "./login-end.ts";
import { checkScram, logInUpstream } from "./scram-login.ts";
import { type Claim, pooledSettings } from "./startup-settings.ts";

/** What logins need whose server connections are shared. */
export interface Pooling {
  readonly pools: Pools;
  readonly residue: ResidueCache;
  /** Throws a `LoginEnd`. */
  readonly catalogOf: (database: string) => Promise<{ readonly current: Catalog }>;
}

/** As `logIn`, for a client that gets a place in a pool in place of a server connection. */
export async function logInPooled(
  client: Conversation,
  startup: Startup,
  parts: LoginParts & { readonly pooling: Pooling },
  signal: AbortSignal,
  own: Pick<Established, "id" | "dismissal" | "window">,
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

  const { pools, residue, catalogOf } = parts.pooling;
  const { pool, greetings } = pools.of(
    claim.database,
    claim.user,
    opening(() => parts.upstreamOf(claim.database) ?? hosts, parts),
  );
  // The server itself explains best what is wrong with the database.
  const read = await unlessAborted(catalogOf(claim.database), signal, () => {}).catch(() => undefined);
  const place = placeOf(claim, hosts.upstream.user ?? "", read?.current.serverVersion);
  const greeting = await greetingOf(greetings, place, client, signal);
  const catalog = read ?? (await unlessAborted(catalogOf(claim.database), signal, () => {}));
  const parameters = new Map([...greeting, ["application_name", claim.application]]);
  const tenancy: TenancyOptions = {
    pool,
    startup: place.startup,
    residueOf: (sql, declared) => residueWith(residue.of(sql, catalog.current), declared, catalog.current),
    settings: place.settings,
    parameters,
    cancel: ({ opened: { at, key } }) => cancelAt(at, key, parts),
  };
  const leg = new PooledLeg(tenancy, (error) =>
    parts.log.error({ err: error }, "a pooled session was ended by a fault"),
  );
  const cancelUpstream = () => leg.cancel();
  const issued = parts.cancelKeys.issue(minor, cancelUpstream);
  client.reader.maximumLength = parts.maxMessageBytes;
  const statuses = [...parameters].map(([name, value]) => parameterStatus(name, value));
  client.send(Buffer.concat([signature, authenticationOk, ...statuses, backendKey(issued)]));
  const established: Established = {
    client: client.handOver(),
    server: leg,
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

/** How server connections are opened for a client, and what of its settings is carried from one to the next. */
interface PoolPlacement {
  readonly startup: PoolStartup;
  readonly settings: SyncedParameters;
}

/** Since Postgres 14 (version 140000). */
const HAS_IDLE_TIMEOUT = 140_000;

function placeOf(claim: Claim, databaseUser: string, serverVersion = 0): PoolPlacement {
  const settings = [...pooledSettings(claim)].filter(([name]) => name !== IDLE_TIMEOUT);
  const packet = startupMessage([
    ["user", databaseUser],
    ["database", claim.database],
    ...settings.filter(([name]) => !isSynced(name)),
    ...(serverVersion < HAS_IDLE_TIMEOUT ? [] : [[IDLE_TIMEOUT, "0"] as const]),
    ["sluice.user", claim.user],
  ]);
  const carried = settings.filter(([name]) => isSynced(name));
  return {
    startup: { key: packet.toString("latin1"), packet },
    settings: new Map(carried.map(([name, value]) => [name, asBytes(value)])),
  };
}

/** What the server tells a session of these settings. Clients of one application differ in its name, which is known. */
async function greetingOf(
  greetings: Greetings,
  { startup, settings }: PoolPlacement,
  client: Conversation,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const asked = new Map([...settings].filter(([name]) => name !== "application_name"));
  try {
    return await greetings.of(startup, asked, signal);
  } catch (error) {
    if (!(error instanceof NoConnection)) throw error;
    // Whoever is turned away for another reason than the time hears that one.
    const { cause } = error;
    if (cause instanceof LoginEnd && cause.failure !== "timeout") throw cause;
    client.send(error.response);
    throw LoginEnd.relayed("upstream", error.sqlstate);
  }
}

/** `hosts`: those of now, as the login towards them can be read again. */
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

async function openPooled(hosts: UpstreamHosts, parts: LoginParts, packet: Buffer): Promise<Opened> {
  // No client's login is behind it: the steps have limits of their own.
  const { server, at } = await openServer(hosts, packet, parts, new AbortController().signal);
  const onError = () => new NoConnection(bytesOf(server.reader), sqlstateOf(server));
  try {
    const databaseUser = hosts.upstream.user ?? "";
    await logInUpstream(server, hosts.upstream, databaseUser, onError);
    const greeting = await readGreeting(server, () => {}, onError);
    checkGreeting({ databaseUser, pinned: true }, greeting);
    checkHost(hosts, greeting);
    const { parameters, serverKey: key } = greeting;
    return {
      socket: server.socket,
      rest: server.reader.drain(),
      parameters,
      key,
      at,
      accepts: (now) => hosts.accepts(now),
      leaveHost: () => hosts.forget(),
      suspect: () => hosts.suspect(at),
    };
  } catch (error) {
    sayFarewell(server.socket, terminateMessage);
    throw error;
  }
}
