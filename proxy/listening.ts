import { once } from "node:events";
import { chmod, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import type { Address } from "./settings.ts";

/** The socket in a folder, by the name that libpq looks for (UNIXSOCK_PATH of libpq/pqcomm.h). */
function socketPath({ host, port }: Address): string {
  return `${host}/.s.PGSQL.${port}`;
}

/** Whether clients come by a Unix socket, in a folder. */
export function isUnixSocket({ host }: Address): boolean {
  return host.startsWith("/");
}

/** Listens for clients; rejects when that cannot be done. */
export async function listenAt(listener: Server, address: Address): Promise<void> {
  if (!isUnixSocket(address)) {
    listener.listen({ host: address.host, port: address.port });
    await once(listener, "listening");
    return;
  }
  const path = socketPath(address);
  if (await isLeftOver(path)) await unlink(path);
  listener.listen({ path });
  await once(listener, "listening");
  // As Postgres has it (unix_socket_permissions): who may connect is the folder's matter, and the log-in's.
  await chmod(path, 0o777);
}

/** Of a process that ended without a word nobody listens there any more. */
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

/** The port is the one that the system chose where 0 was asked for. */
export function boundTo(listener: Server, { host, port }: Address): Address {
  const bound = listener.address();
  return typeof bound === "object" && bound !== null
    ? { host: bound.address, port: bound.port }
    : { host, port };
}
