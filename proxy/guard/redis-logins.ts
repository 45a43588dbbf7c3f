import { Cluster, type Redis } from "ioredis";

type RedisClient = Redis | Cluster;

interface Login {
  readonly username?: string;
  readonly password?: string;
}

/** A place, and who logs in there. */
interface LoginAt extends Login {
  readonly kind: string;
  readonly hosts: readonly object[];
  readonly db: number;
  readonly primary?: string;
  readonly sentinel: Login;
}

/*
 * Connections to Redis live as long as the process. When the log-in towards it is read again they take it at their next
 * connect: those that stand stay as Redis has let them in.
 */

/** All that are open, by the place that they connect to. */
const open = new Map<string, Set<RedisClient>>();

function placeOf({ kind, hosts, db, primary }: LoginAt): string {
  return JSON.stringify([kind, hosts, db, primary]);
}

/** A client that may have to log in again later. */
export function remember(client: RedisClient, address: LoginAt): void {
  const place = placeOf(address);
  const clients = open.get(place) ?? new Set();
  open.set(place, clients.add(client));
  client.once("end", () => {
    clients.delete(client);
    if (clients.size === 0) open.delete(place);
  });
}

/** From here on the clients of this place log in so. False: there are none, the place is another one. */
export function renewLogin(address: LoginAt): boolean {
  const { username, password, sentinel } = address;
  const clients = open.get(placeOf(address));
  for (const client of clients ?? []) {
    // ioredis reads its options at each connect (Redis.connect), and a cluster those of new nodes.
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
