import { connect, type Socket } from "node:net";
import { type Refusal, refuseSession } from "./refusal.ts";
import { sslRequest } from "./startup.ts";
import { surviveErrors } from "./survive-errors.ts";
import { connectTls } from "./tls.ts";
import { parseUpstream, type Upstream } from "./upstream-uri.ts";

export { parseUpstream, type Upstream };

/** The server cannot be reached. `message` may name the host and is for logs; `refusal` is for clients. */
export class UpstreamUnreachable extends Error {
  override readonly name = "UpstreamUnreachable";
  readonly refusal: Refusal = refuseSession("08006", "the database server cannot be reached");
}

/**
 * Connects to the server, with TLS as the target requires. Nothing is read from the socket until there is a listener
 * for data. Rejects only with `UpstreamUnreachable`.
 */
export async function dial(target: Upstream): Promise<Socket> {
  const socket = target.host.startsWith("/")
    ? connect({ path: `${target.host}/.s.PGSQL.${target.port}` })
    : connect({
        host: target.host,
        port: target.port,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: target.keepalivesIdle,
      });
  const timer = setTimeout(() => socket.destroy(new Error("timed out")), target.connectTimeout);
  try {
    await connected(socket);
    return await secured(socket, target);
  } catch (error) {
    socket.destroy();
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new UpstreamUnreachable(`${target.host}:${target.port}: ${reason}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Type of an ErrorResponse, with which a server may reject a login before it asks for proof. */
const ERROR_RESPONSE = "E".charCodeAt(0);

/**
 * Connects, sends the startup packet, and resolves when the server has begun to answer; nothing of the answer is read.
 * A server that accepts connections but does not answer counts as unreachable. `sslmode=allow`: TLS only if the server
 * rejects the login without it (libpq docs, "SSL Mode Descriptions"). Rejects only with `UpstreamUnreachable`.
 */
export async function open(target: Upstream, startup: Buffer): Promise<Socket> {
  const socket = await dial(target);
  const first = await answered(socket, target, startup);
  if (target.sslmode !== "allow" || first !== ERROR_RESPONSE || target.host.startsWith("/")) return socket;
  const secure: Upstream = { ...target, sslmode: "require", sslrootcert: undefined };
  try {
    const second = await dial(secure);
    await answered(second, secure, startup);
    socket.destroy();
    return second;
  } catch {
    // The client gets the server's own reason for the rejection.
    return socket;
  }
}

/** The first byte of the answer, which is left in the socket. */
function answered(socket: Socket, target: Upstream, startup: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      settle();
      socket.destroy();
      reject(new UpstreamUnreachable(`${target.host}:${target.port}: ${reason}`));
    };
    const onReadable = () => {
      const byte: Buffer | null = socket.read(1);
      if (byte === null) return;
      socket.unshift(byte);
      settle();
      resolve(byte[0] ?? 0);
    };
    const onError = (error: NodeJS.ErrnoException) => fail(error.code ?? error.message);
    const onClose = () => fail("connection closed by the server");
    const timer = setTimeout(() => fail("takes connections and does not answer"), target.connectTimeout);
    const settle = () => {
      clearTimeout(timer);
      socket.off("readable", onReadable).off("error", onError).off("close", onClose).off("end", onClose);
      // The next listener has not been added yet.
      surviveErrors(socket);
    };
    socket.on("readable", onReadable).on("error", onError).on("close", onClose).on("end", onClose);
    socket.write(startup);
  });
}

async function secured(socket: Socket, target: Upstream): Promise<Socket> {
  // libpq does not use TLS over Unix sockets either, whatever sslmode says.
  if (target.sslmode === "disable" || target.sslmode === "allow" || target.host.startsWith("/"))
    return socket;
  if (target.sslnegotiation === "direct") return connectTls(socket, target);
  socket.write(sslRequest);
  const answer = await firstChunk(socket);
  // Bytes after the first were not encrypted, and may not come from the server (CVE-2021-23222).
  if (answer.length !== 1) throw new Error("received unencrypted data after SSL response");
  switch (answer.toString("latin1")) {
    case "S":
      return connectTls(socket, target);
    case "N":
      if (target.sslmode === "prefer") return socket;
      throw new Error(`the server does not support SSL, but sslmode=${target.sslmode}`);
    default:
      throw new Error("invalid response to SSL request");
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject).once("connect", () => {
      socket.removeListener("error", reject);
      resolve();
    });
  });
}

/**
 * The server's first bytes. Read without a 'data' listener, so that the next owner of the socket finds it as if new.
 */
function firstChunk(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error("connection closed by the server"));
    const readable = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      socket.removeListener("readable", readable).removeListener("error", reject);
      socket.removeListener("close", closed).removeListener("end", closed);
      resolve(chunk);
    };
    socket.on("readable", readable).once("error", reject).once("close", closed).once("end", closed);
  });
}
