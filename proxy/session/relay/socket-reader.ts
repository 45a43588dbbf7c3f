import type { Duplex } from "node:stream";
import { plainSocket } from "../context/plain-socket.ts";

/**
 * Told of bytes that came. True: they are still wanted when it returns, and are not written over. False: their
 * memory may be read into again.
 */
export type OnBytes = (bytes: Buffer) => boolean;

/** Stops it. */
export type StopReading = () => void;

/** Memory of a socket on which little comes: an idle session has no more than this. */
const LEAST = 512;
/** As much as Node itself asks the system for at a time. */
const MOST = 64 * 1024;

/**
 * Reads a socket that has not been read ahead of us into memory that is used again and again, past the stream:
 * what `onread` of net.connect does, for sockets that were accepted and for sockets that logged in as streams. It takes
 * a tenth off the CPU time of a small query (docs/performance.md). Where the socket is no plain one, or this Node
 * keeps `onread` in another place, the stream's own chunks are given out, which are nobody else's.
 */
export function readSocket(socket: Duplex, onBytes: OnBytes): StopReading {
  const plain = plainSocket(socket);
  const places = plain && placesIn(plain);
  return places === undefined ? readStream(socket, onBytes) : readHandle(socket, places, onBytes);
}

function readStream(socket: Duplex, onBytes: OnBytes): StopReading {
  const onData = (chunk: Buffer) => void onBytes(chunk);
  socket.on("data", onData);
  return () => socket.off("data", onData);
}

/** Where net.Socket keeps what `onread` gave it (lib/internal/stream_base_commons.js). */
interface Places {
  readonly handle: { useUserBuffer(buffer: Buffer): void };
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly next: symbol;
}

function placesIn(socket: Duplex): Places | undefined {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [buffer, callback, next] = ["kBuffer", "kBufferCb", "kBufferGen"].map(named);
  const handle: unknown = Reflect.get(socket, "_handle");
  if (buffer === undefined || callback === undefined || next === undefined) return undefined;
  return takesBuffer(handle) ? { handle, buffer, callback, next } : undefined;
}

function takesBuffer(handle: unknown): handle is Places["handle"] {
  return (
    typeof handle === "object" &&
    handle !== null &&
    "useUserBuffer" in handle &&
    typeof handle.useUserBuffer === "function"
  );
}

function readHandle(
  socket: Duplex,
  { handle, buffer, callback, next }: Places,
  onBytes: OnBytes,
): StopReading {
  let memory: Buffer = Buffer.allocUnsafe(LEAST);
  /** Other memory for the next read; undefined: the same. */
  let fresh: Buffer | undefined;
  let isStopped = false;
  const onRead = (length: number): boolean => {
    const isWanted = onBytes(memory.subarray(0, length));
    const size = sizeAfter(memory.length, length);
    fresh = isWanted || size !== memory.length ? Buffer.allocUnsafe(size) : undefined;
    if (fresh !== undefined) memory = fresh;
    return !isStopped;
  };
  for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) onBytes(chunk);
  Reflect.set(socket, buffer, memory);
  Reflect.set(socket, callback, onRead);
  Reflect.set(socket, next, () => fresh);
  handle.useUserBuffer(memory);
  return () => {
    isStopped = true;
  };
}

/** Twice as much once it was filled, for results of many rows; little again as soon as little comes. */
function sizeAfter(size: number, length: number): number {
  if (length === size) return Math.min(size * 2, MOST);
  return length < size / 4 ? Math.max(size / 4, LEAST) : size;
}
