import { Cluster, type Redis } from "ioredis";

type RedisClient = Redis | Cluster;

interface Login {
  readonly username?: string;
  readonly password?: string;
}

/** A Redis address and its login. */
interface LoginAt extends Login {
  readonly kind: string;
  readonly tls: boolean;
  readonly hosts: readonly object[];
  readonly db: number;
  readonly primary?: string;
  readonly sentinel: Login;
}

/*
 * Connections to Redis live as long as the process. When their login, or the authorities for the server's certificate,
 * are read again, they use them at their next connect: existing connections stay open with the login that Redis
 * accepted.
 */

/** The authorities (PEM) for certificates of an address; other addresses use the well-known authorities. */
const authorities = new Map<string, string>();

/** All open clients, by the address that they connect to. */
const open = new Map<string, Set<RedisClient>>();

function placeOf({ kind, hosts, db, primary }: LoginAt): string {
  return JSON.stringify([kind, hosts, db, primary]);
}

/** Remembers a client that may have to log in again later. */
export function remember(client: RedisClient, address: LoginAt): void {
  const place = placeOf(address);
  const clients = open.get(place) ?? new Set();
  open.set(place, clients.add(client));
  client.once("end", () => {
    clients.delete(client);
    if (clients.size === 0) open.delete(place);
  });
}

/**
 * Sets the authorities (PEM) for certificates of this address, for all new connections; the well-known ones if absent.
 */
export function trust(address: LoginAt, ca: string | undefined): void {
  const place = placeOf(address);
  if (ca === undefined) authorities.delete(place);
  else authorities.set(place, ca);
  if (!address.tls) return;
  const tls = ca === undefined ? {} : { ca };
  for (const client of open.get(place) ?? []) {
    if (client instanceof Cluster) {
      Object.assign(client.options.redisOptions ?? {}, { tls });
      for (const node of client.nodes("all")) Object.assign(node.options, { tls });
    } else Object.assign(client.options, { tls });
  }
}

/** The authorities last set by `trust`. */
export function authoritiesOf(address: LoginAt): string | undefined {
  return authorities.get(placeOf(address));
}

/** Changes the login that clients of this address use from now on. False if there are no clients with this address. */
export function renewLogin(address: LoginAt): boolean {
  const { username, password, sentinel } = address;
  const clients = open.get(placeOf(address));
  for (const client of clients ?? []) {
    // ioredis reads its options at each connect (Redis.connect), and a cluster reads those of new nodes.
    if (client instanceof Cluster) {
      Object.assign(client.options.redisOptions ?? {}, { username, password });
      for (const node of client.nodes("all")) Object.assign(node.options, { username, password });
    } else {
      const ofSentinel = { sentinelUsername: sentinel.username, sentinelPassword: sentinel.password };
      Object.assign(client.options, { username, password }, address.kind === "sentinel" ? ofSentinel : {});
    }
  }
  return clients !== undefined;
}
