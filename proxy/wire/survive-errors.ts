import type { EventEmitter } from "node:events";

/**
 * 'close' follows each 'error' of a socket and says enough; without a listener the error would end the process.
 * Whoever takes a socket over says so again, and it costs nothing.
 */
export function surviveErrors(socket: EventEmitter): void {
  if (!socket.listeners("error").includes(nothing)) socket.on("error", nothing);
}

function nothing(): void {}
