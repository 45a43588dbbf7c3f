import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { isIP, type Socket } from "node:net";
import {
  connect,
  createSecureContext,
  createServer,
  type SecureContext,
  type Server,
  type TLSSocket,
} from "node:tls";
import { type FrameReader, ProtocolViolation } from "./frames.ts";
import type { Upstream } from "./upstream-uri.ts";

/** PEM files for TLS towards clients. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** Clients must show a certificate that one of these signed. */
  readonly clientCa: string | undefined;
}

/** PG17 and newer clients name the protocol; a server must insist on it where TLS comes first (ALPACA attacks). */
const ALPN = "postgresql";
const HANDSHAKE_TIMEOUT = 30_000;
/** First byte of a TLS handshake record. As the length of a start-up packet it would mean hundreds of megabytes. */
export const TLS_HANDSHAKE = 0x16;

interface Waiting {
  readonly resolve: (socket: TLSSocket) => void;
  readonly reject: (error: Error) => void;
}

/** Makes TLS of clients' connections. Reads its files at once, so that a bad one fails the start. */
export class TlsAcceptor {
  readonly #files: TlsFiles;
  /** Never listens: connections are handed to it, and it verifies client certificates as Node's server does. */
  readonly #server: Server;
  readonly #waiting = new Map<string, Waiting>();

  constructor(files: TlsFiles) {
    this.#files = files;
    this.#server = createServer({
      ...readTlsFiles(files),
      minVersion: "TLSv1.2",
      ALPNProtocols: [ALPN],
      handshakeTimeout: HANDSHAKE_TIMEOUT,
      requestCert: files.clientCa !== undefined,
      rejectUnauthorized: true,
    });
    this.#server.on("secureConnection", (socket) => this.#waiting.get(keyOf(socket))?.resolve(socket));
    this.#server.on("tlsClientError", (error, socket) => this.#waiting.get(keyOf(socket))?.reject(error));
  }

  /** Reads the files again, for new connections. Throws, and keeps the old ones, when they are not good. */
  reload(): void {
    this.#server.setSecureContext({ ...readTlsFiles(this.#files), minVersion: "TLSv1.2" });
  }

  /**
   * Answers an SSLRequest with 'S' and makes TLS. Bytes that came right behind the request were sent in the
   * clear, by whomever: they must not count as the client's (CVE-2021-23214).
   */
  accept(socket: Socket, reader: FrameReader): Promise<TLSSocket> {
    if (reader.buffered > 0) {
      return Promise.reject(new ProtocolViolation("received unencrypted data after SSL request"));
    }
    socket.write("S");
    return this.#handshake(socket);
  }

  /** Makes TLS of a connection that began with it (`sslnegotiation=direct`); the reader gives back what it read. */
  async acceptDirect(socket: Socket, reader: FrameReader): Promise<TLSSocket> {
    socket.pause();
    socket.unshift(reader.drain());
    const secure = await this.#handshake(socket);
    if (secure.alpnProtocol === ALPN) return secure;
    secure.destroy();
    throw new ProtocolViolation(
      "received direct SSL connection request without ALPN protocol negotiation extension",
    );
  }

  #handshake(socket: Socket): Promise<TLSSocket> {
    socket.pause();
    socket.removeAllListeners("data");
    // The TLS socket tells of errors; without a listener the one beneath would end the process.
    socket.on("error", () => {});
    const key = keyOf(socket);
    // Closed already, or a Unix socket, over which Postgres speaks no TLS either.
    if (socket.remotePort === undefined) return Promise.reject(new Error("not a TCP connection"));
    return new Promise<TLSSocket>((resolve, reject) => {
      this.#waiting.set(key, { resolve, reject });
      socket.once("close", () => reject(new Error("connection closed during the TLS handshake")));
      this.#server.emit("connection", socket);
    }).finally(() => this.#waiting.delete(key));
  }
}

/** The two ends of a TCP connection, by which the server's events are told apart. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** Throws what is wrong with them. */
export function readTlsFiles(files: TlsFiles): { cert: Buffer; key: Buffer; ca?: Buffer } {
  const cert = readFileSync(files.certificate);
  const key = readPrivateKey(files.key);
  return files.clientCa === undefined ? { cert, key } : { cert, key, ca: readFileSync(files.clientCa) };
}

/** As Postgres and libpq have it: nobody else may read a key; of root's keys a group may. */
function readPrivateKey(path: string): Buffer {
  const { mode, uid } = statSync(path);
  if ((mode & (uid === 0 ? 0o027 : 0o077)) !== 0) {
    throw new Error(`private key file "${path}" has group or world access; run "chmod 600 ${path}"`);
  }
  return readFileSync(path);
}

/**
 * What the server must prove under each sslmode (libpq docs, "SSL Mode Descriptions"). `require` with root
 * certificates at hand verifies as `verify-ca` does, as libpq has it.
 */
function verification(target: Upstream): { chain: boolean; name: boolean } {
  switch (target.sslmode) {
    case "verify-full":
      return { chain: true, name: true };
    case "verify-ca":
      return { chain: true, name: false };
    case "require":
    case "prefer":
    case "allow":
    case "disable":
      return { chain: target.sslmode === "require" && target.sslrootcert !== undefined, name: false };
  }
}

const contexts = new WeakMap<Upstream, SecureContext>();

/** Read once for each target: parsing a bundle of certificates for every session would cost more than the rest. */
function contextOf(target: Upstream): SecureContext {
  if (target.origin !== undefined) return contextOf(target.origin);
  let context = contexts.get(target);
  if (context === undefined) {
    const { sslrootcert, sslcert, sslkey } = target;
    context = createSecureContext({
      minVersion: "TLSv1.2",
      // "system", as in libpq 16: the authorities that the runtime itself trusts.
      ...(sslrootcert !== undefined && sslrootcert !== "system" ? { ca: readFileSync(sslrootcert) } : {}),
      ...(sslcert !== undefined ? { cert: readFileSync(sslcert) } : {}),
      ...(sslkey !== undefined ? { key: readPrivateKey(sslkey) } : {}),
    });
    contexts.set(target, context);
  }
  return context;
}

/** Throws what is wrong with the files that a target names; where sslmode has no TLS they are not looked at. */
export function checkTlsTowards(target: Upstream): void {
  const { sslmode, sslrootcert } = target;
  if (sslmode === "disable") return;
  if (sslrootcert !== undefined && sslrootcert !== "system") checkAuthorities(sslrootcert);
  contextOf(target);
}

/** Node takes a file without any certificate, and would trust nobody. */
function checkAuthorities(path: string): void {
  const found = readFileSync(path, "latin1").match(CERTIFICATE) ?? [];
  if (found.length === 0) throw new Error(`sslrootcert "${path}" holds no certificate (PEM)`);
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      throw new Error(`sslrootcert "${path}" holds what is no certificate`, { cause: error });
    }
  }
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;

/** The client's side of a handshake with the server; the caller destroys the socket when this rejects. */
export function connectTls(socket: Socket, target: Upstream): Promise<TLSSocket> {
  socket.on("error", () => {});
  const { chain, name } = verification(target);
  const options = {
    socket,
    secureContext: contextOf(target),
    host: target.host,
    ...(isIP(target.host) ? {} : { servername: target.host }),
    ALPNProtocols: [ALPN],
    rejectUnauthorized: chain,
    ...(name ? {} : { checkServerIdentity: () => undefined }),
  };
  return new Promise<TLSSocket>((resolve, reject) => {
    const secure = connect(options, () => {
      secure.removeListener("error", reject);
      if (target.sslnegotiation === "direct" && secure.alpnProtocol !== ALPN) {
        return reject(new Error("direct TLS without ALPN"));
      }
      resolve(secure);
    });
    secure.once("error", reject);
    secure.once("close", () => reject(new Error("connection closed during the TLS handshake")));
  });
}
