import { once } from "node:events";
import { chmod, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { type Address, type Addresses, isUnixSocket } from "../settings/settings.ts";

/** Listeners at some addresses. */
export interface Listening {
  /** In the given order; if the port was 0, this is the one that the system chose. */
  readonly addresses: Addresses;
  /** Accepts no new clients. Resolves when the accepted connections are gone. */
  close(): Promise<void>;
}

/** Listens at all addresses, each with a server of its own. If one fails it rejects, and listens at none. */
export async function listenAtAll(
  [first, ...others]: Addresses,
  serverFor: (address: Address) => Server,
  onError: (error: Error) => void,
): Promise<Listening> {
  const servers: Server[] = [];
  const close = async () => {
    await Promise.all(servers.map(closeServer));
  };
  const open = async (address: Address): Promise<Address> => {
    const server = serverFor(address);
    await listenAt(server, address);
    // For example too many open files: the next client may succeed.
    server.on("error", onError);
    servers.push(server);
    return boundTo(server, address);
  };
  try {
    const bound: [Address, ...Address[]] = [await open(first)];
    for (const address of others) bound.push(await open(address));
    return { addresses: bound, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The socket in a directory, with the name that libpq expects (UNIXSOCK_PATH of libpq/pqcomm.h). */
function socketPath({ host, port }: Address): string {
  return `${host}/.s.PGSQL.${port}`;
}

/**
 * Connections that the system accepts before Sluice does: as many as Linux allows unless told otherwise (somaxconn). With
 * Node's own 511 a storm of 2,000 logins lost one in eight, which had connected and heard nothing for 15 seconds.
 */
const BACKLOG = 4096;

async function listenAt(listener: Server, address: Address): Promise<void> {
  if (!isUnixSocket(address)) {
    listener.listen({ host: address.host, port: address.port, backlog: BACKLOG });
    await once(listener, "listening");
    return;
  }
  const path = socketPath(address);
  if (await isLeftOver(path)) await unlink(path);
  listener.listen({ path, backlog: BACKLOG });
  await once(listener, "listening");
  // As in Postgres (unix_socket_permissions): the directory's permissions and the login decide who may connect.
  await chmod(path, 0o777);
}

/** Whether the socket is left over from a process that was killed: nothing listens on it any more. */
function isLeftOver(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "ECONNREFUSED"));
  });
}

function boundTo(listener: Server, { host, port }: Address): Address {
  const bound = listener.address();
  return typeof bound === "object" && bound !== null
    ? { host: bound.address, port: bound.port }
    : { host, port };
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  await closed;
}
