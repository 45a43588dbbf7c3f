import { BlockList, isIP, type Socket } from "node:net";
import { TLSSocket } from "node:tls";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Addresses that a trusted balancer has named, in place of its own. */
const announcements = new WeakMap<object, string>();

export function announce(socket: Socket, address: string): void {
  announcements.set(socket, address);
}

/**
 * The client's IP address, as a trusted balancer reports it if there is one. IPv4 addresses are written as such even on
 * an IPv6 socket, and link-local addresses without their zone, which networks in a policy do not have. "local" for a
 * Unix socket.
 */
export function addressOf(socket: Pick<Socket, "remoteAddress">): string {
  const address = announcements.get(socket) ?? socket.remoteAddress;
  if (address === undefined) return "local";
  return address.replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/** Whether the connection cannot be read on the network: it uses TLS, or both ends are on this machine. */
export function isPrivate(socket: Socket): boolean {
  if (socket instanceof TLSSocket) return true;
  const address = addressOf(socket);
  return address === "local" || LOOPBACK.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}
