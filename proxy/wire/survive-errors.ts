import type { EventEmitter } from "node:events";

/**
 * Adds an 'error' listener, without which the error would end the process; the 'close' that follows is enough to handle
 * it. Each new owner of a socket calls it again, at no cost.
 */
export function surviveErrors(socket: EventEmitter): void {
  if (!socket.listeners("error").includes(nothing)) socket.on("error", nothing);
}

function nothing(): void {}
