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
  /** Clients must present a certificate signed by one of these. */
  readonly clientCa: string | undefined;
}

/** Clients from PG17 on name the protocol; a server must require it if TLS comes first (ALPACA attacks). */
const ALPN = "postgresql";
const HANDSHAKE_TIMEOUT = 30_000;
/** First byte of a TLS handshake record. As part of a startup packet's length it would mean hundreds of megabytes. */
export const TLS_HANDSHAKE = 0x16;

interface Handshake {
  readonly resolve: (socket: TLSSocket) => void;
  readonly reject: (error: Error) => void;
}

/** Starts TLS on clients' connections. Reads its files immediately, so that an invalid one fails the start. */
export class TlsAcceptor {
  readonly #files: TlsFiles;
  /** Never listens: connections are passed to it, and it verifies client certificates as Node's server does. */
  readonly #server: Server;
  readonly #waiting = new Map<string, Handshake>();

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
    this.#server.on("secureConnection", (socket) => {
      socket.allowHalfOpen = true;
      this.#waiting.get(keyOf(socket))?.resolve(socket);
    });
    this.#server.on("tlsClientError", (error, socket) => this.#waiting.get(keyOf(socket))?.reject(error));
  }

  /** Reads the files again for new connections. If they are invalid it throws, and the old ones stay in use. */
  reload(): void {
    this.#server.setSecureContext({ ...readTlsFiles(this.#files), minVersion: "TLSv1.2" });
  }

  /**
   * Answers an SSLRequest with 'S' and starts TLS. Bytes that arrived right after the request were unencrypted and may
   * come from an attacker: they must not count as the client's (CVE-2021-23214).
   */
  accept(socket: Socket, reader: FrameReader): Promise<TLSSocket> {
    if (reader.buffered > 0) {
      return Promise.reject(new ProtocolViolation("received unencrypted data after SSL request"));
    }
    socket.write("S");
    return this.#handshake(socket);
  }

  /**
   * Starts TLS on a connection that began with it (`sslnegotiation=direct`); the reader returns the bytes that it read.
   */
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
    // Whoever hangs up before the handshake is over gets no answer.
    socket.allowHalfOpen = false;
    // The TLS socket reports errors; without a listener, the error of the underlying socket would end the process.
    socket.on("error", () => {});
    const key = keyOf(socket);
    // Closed already, or a Unix socket, over which Postgres does not use TLS either.
    if (socket.remotePort === undefined) return Promise.reject(new Error("not a TCP connection"));
    return new Promise<TLSSocket>((resolve, reject) => {
      this.#waiting.set(key, { resolve, reject });
      socket.once("close", () => reject(new Error("connection closed during the TLS handshake")));
      this.#server.emit("connection", socket);
    }).finally(() => this.#waiting.delete(key));
  }
}

/** The two ends of a TCP connection, which identify the server's events. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** Throws if a file is invalid, with the reason. */
export function readTlsFiles(files: TlsFiles): { cert: Buffer; key: Buffer; ca?: Buffer } {
  const cert = readFileSync(files.certificate);
  const key = readPrivateKey(files.key);
  return files.clientCa === undefined ? { cert, key } : { cert, key, ca: readFileSync(files.clientCa) };
}

/** As in Postgres and libpq: no other user may read a key; a group may read one that root owns. */
function readPrivateKey(path: string): Buffer {
  const { mode, uid } = statSync(path);
  if ((mode & (uid === 0 ? 0o027 : 0o077)) !== 0) {
    throw new Error(`private key file "${path}" has group or world access; run "chmod 600 ${path}"`);
  }
  return readFileSync(path);
}

/**
 * What the server must prove under each sslmode (libpq docs, "SSL Mode Descriptions"). As in libpq, `require` with root
 * certificates present verifies like `verify-ca`.
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

/** Read once per target: parsing a bundle of certificates for every session would cost more than all else. */
function contextOf(target: Upstream): SecureContext {
  if (target.origin !== undefined) return contextOf(target.origin);
  let context = contexts.get(target);
  if (context === undefined) {
    const { sslrootcert, sslcert, sslkey } = target;
    context = createSecureContext({
      minVersion: "TLSv1.2",
      // "system", as in libpq 16: the authorities that the runtime trusts.
      ...(sslrootcert !== undefined && sslrootcert !== "system" ? { ca: readFileSync(sslrootcert) } : {}),
      ...(sslcert !== undefined ? { cert: readFileSync(sslcert) } : {}),
      ...(sslkey !== undefined ? { key: readPrivateKey(sslkey) } : {}),
    });
    contexts.set(target, context);
  }
  return context;
}

/** Throws if a file that a target names is invalid; with an sslmode without TLS the files are not read. */
export function checkTlsTowards(target: Upstream): void {
  const { sslmode, sslrootcert } = target;
  if (sslmode === "disable") return;
  if (sslrootcert !== undefined && sslrootcert !== "system") readAuthorities(sslrootcert, "sslrootcert");
  contextOf(target);
}

/**
 * The certificates (PEM) of a file that `setting` names. Throws if the file has none or an invalid one: Node accepts a
 * file without certificates, and would then trust no server.
 */
export function readAuthorities(path: string, setting: string): string {
  const content = readFileSync(path, "latin1");
  const found = content.match(CERTIFICATE) ?? [];
  if (found.length === 0) throw new Error(`${setting} "${path}" holds no certificate (PEM)`);
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      throw new Error(`${setting} "${path}" holds what is no certificate`, { cause: error });
    }
  }
  return content;
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;

/** The client's side of a TLS handshake with the server; if it rejects, the caller destroys the socket. */
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
