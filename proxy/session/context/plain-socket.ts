import { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** The socket, if it is one of the system's own: no TLS over it, and no stream that only looks like one. */
export function plainSocket(socket: Duplex): Socket | undefined {
  const isPlain = socket instanceof Socket && Object.getPrototypeOf(socket) === Socket.prototype;
  return isPlain ? socket : undefined;
}
