import { isIPv4, isIPv6, type Socket } from "node:net";
import { ProtocolViolation } from "../../wire/frames.ts";
import { LoginEnd } from "../login/login-end.ts";

/** Who connected to the load balancer, by its PROXY header. */
export type ProxyHeader =
  | { readonly kind: "more needed" }
  | {
      readonly kind: "whole";
      /** Bytes of the header. */
      readonly length: number;
      /** Undefined when the balancer speaks for itself (a health check), or does not know. */
      readonly address: string | undefined;
    };

/** haproxy's proxy-protocol.txt, section 2.1. */
const LINE = "PROXY ";
/** Section 2.2. */
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
/** Section 2.1: "a 108-byte buffer is always enough to store all the line and a trailing zero". */
const LONGEST_LINE = 107;
/** Addresses take 36 bytes; what balancers add in TLVs (names, certificates) is read over. */
const LONGEST_BINARY = 4096;

/** Whether this is meant as a header, trusted or not. */
export function beginsLikeHeader(bytes: Buffer): boolean {
  return [SIGNATURE, Buffer.from(LINE)].some((start) => bytes.subarray(0, start.length).equals(start));
}

/** Reads a header of version 1 or 2. Throws for bytes that cannot become one. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  return bytes[0] === SIGNATURE[0] ? readBinary(bytes) : readLine(bytes);
}

function readLine(bytes: Buffer): ProxyHeader {
  const start = bytes.subarray(0, 6).toString("latin1");
  if (!LINE.startsWith(start)) throw bad();
  const end = bytes.subarray(0, LONGEST_LINE).indexOf("\r\n");
  if (end < 0) {
    if (bytes.length >= LONGEST_LINE) throw bad();
    return { kind: "more needed" };
  }
  const [, family, source = "", target = "", ...ports] = bytes.toString("latin1", 0, end).split(" ");
  const length = end + 2;
  // What follows UNKNOWN is to be ignored (section 2.1).
  if (family === "UNKNOWN") return { kind: "whole", length, address: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isPlainIPv6 : () => false;
  if (!isAddress(source) || !isAddress(target) || ports.length !== 2 || !ports.every(isPort)) throw bad();
  return { kind: "whole", length, address: source };
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function readBinary(bytes: Buffer): ProxyHeader {
  const known = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, known).equals(SIGNATURE.subarray(0, known))) throw bad();
  if (bytes.length < 16) return { kind: "more needed" };
  const command = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const rest = bytes.readUInt16BE(14);
  // Version 2; LOCAL or PROXY.
  if ((command !== 0x20 && command !== 0x21) || rest > LONGEST_BINARY) throw bad();
  const length = 16 + rest;
  if (bytes.length < length) return { kind: "more needed" };
  if (command === 0x20) return { kind: "whole", length, address: undefined };
  switch (family) {
    case 0x11:
      if (rest < 12) throw bad();
      return { kind: "whole", length, address: bytes.subarray(16, 20).join(".") };
    case 0x21:
      if (rest < 36) throw bad();
      return { kind: "whole", length, address: ipv6Of(bytes.subarray(16, 32)) };
    // UNSPEC, Unix sockets: the balancer's own address is all that is known.
    case 0x00:
    case 0x31:
      return { kind: "whole", length, address: undefined };
    default:
      throw bad();
  }
}

/** In the shortest form, but for IPv4 inside IPv6, which is written as such. */
function ipv6Of(bytes: Buffer): string {
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes.readUInt16BE(10) === 0xffff;
  if (isMapped) return bytes.subarray(12).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  // WHATWG URL, "IPv6 serializer".
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

function bad(): ProtocolViolation {
  return new ProtocolViolation("invalid PROXY header");
}

/**
 * Reads the header of a new connection and returns the client that it names. Bytes after the header are put back. A
 * balancer must send the header: without it, all of its clients would seem to have its address.
 */
export async function takeProxyHeader(socket: Socket, signal: AbortSignal): Promise<string | undefined> {
  let bytes: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = await nextChunk(socket, signal);
    if (chunk === undefined) throw LoginEnd.left();
    bytes = Buffer.concat([bytes, chunk]);
    const header = readProxyHeader(bytes);
    if (header.kind === "more needed") continue;
    if (header.length < bytes.length) socket.unshift(bytes.subarray(header.length));
    return header.address;
  }
}

/** Undefined at the end. Read, not listened for: the next owner of the socket finds it like a fresh one. */
function nextChunk(socket: Socket, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      socket.off("readable", onReadable).off("end", onEnd).off("close", onEnd);
      signal.removeEventListener("abort", onAbort);
      done();
    };
    const onReadable = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk !== null) settle(() => resolve(chunk));
    };
    const onEnd = () => settle(() => resolve(undefined));
    const onAbort = () => settle(() => reject(signal.reason));
    if (signal.aborted) return onAbort();
    socket.on("readable", onReadable).on("end", onEnd).on("close", onEnd);
    signal.addEventListener("abort", onAbort);
    if (socket.destroyed || socket.readableEnded) onEnd();
  });
}
