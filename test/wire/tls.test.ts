import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectSecurely, type TLSSocket } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { FrameReader } from "../../proxy/wire/frames.ts";
import { decodeStartup, sslRequest } from "../../proxy/wire/startup.ts";
import { TLS_HANDSHAKE, TlsAcceptor } from "../../proxy/wire/tls.ts";
import { dial, parseUpstream, type Upstream, UpstreamUnreachable } from "../../proxy/wire/upstream.ts";

const openssl = spawnSync("openssl", ["version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "sluice-tls-"));
const file = (name: string) => join(folder, name);

function certificate(name: string, subject: string, ...more: readonly string[]): void {
  const args = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout ${file(name)}.key -out ${file(name)}.pem -subj /CN=${subject}`;
  execFileSync("openssl", [...args.split(" "), ...more], { stdio: "ignore" });
}

if (openssl) {
  certificate("server", "localhost", "-addext", "subjectAltName=DNS:localhost");
  certificate("elsewhere", "elsewhere.example.com", "-addext", "subjectAltName=DNS:elsewhere.example.com");
  certificate("client", "anna");
  certificate("stranger", "mallory");
}

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

async function listen(onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    closers.push(() => socket.destroy());
    socket.on("error", () => {});
    onConnection(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  return server;
}

const portOf = (server: Server) => (server.address() as AddressInfo).port;

/** A server that accepts TLS as the proxy does towards clients, and then says who connected. */
async function secureServer(certificateName: string, clientCa?: string) {
  const acceptor = new TlsAcceptor({
    certificate: file(`${certificateName}.pem`),
    key: file(`${certificateName}.key`),
    clientCa: clientCa && file(`${clientCa}.pem`),
  });
  const failures: string[] = [];
  const server = await listen((socket) => {
    const reader = new FrameReader(1000, () => false);
    socket.on("data", (chunk) => {
      reader.push(chunk);
      const accepted =
        reader.peek() === TLS_HANDSHAKE
          ? acceptor.acceptDirect(socket, reader)
          : answerRequest(socket, reader);
      accepted?.then(greet, (error: Error) => {
        failures.push(error.message);
        socket.destroy();
      });
    });
  });
  const answerRequest = (socket: Socket, reader: FrameReader) => {
    if (!reader.nextStartup() || decodeStartup(reader).kind !== "ssl") return undefined;
    return acceptor.accept(socket, reader);
  };
  const greet = (socket: TLSSocket) => {
    socket.on("error", () => {});
    socket.write(`hello ${socket.getPeerCertificate().subject?.CN ?? "stranger"}`);
  };
  return { port: portOf(server), failures };
}

function target(port: number, parameters: string): Upstream {
  const result = parseUpstream(`postgresql://anna:hunter2@localhost:${port}/x?${parameters}`, {});
  if (!result.ok) throw new Error(result.problem);
  return result.upstream;
}

async function greeting(port: number, parameters: string): Promise<string> {
  const socket = await dial(target(port, parameters));
  closers.push(() => socket.destroy());
  const closed = once(socket, "close").then(() => Promise.reject(new Error("closed")));
  const [chunk] = await Promise.race([once(socket, "data"), closed]);
  return String(chunk);
}

describe.skipIf(!openssl)("with certificates", () => {
  test("a client that asks for TLS gets it, directly or after a request", async () => {
    const { port } = await secureServer("server");
    expect(await greeting(port, "sslmode=prefer")).toBe("hello stranger");
    expect(await greeting(port, "sslmode=require")).toBe("hello stranger");
    expect(await greeting(port, "sslmode=require&sslnegotiation=direct")).toBe("hello stranger");
  });

  test("each sslmode verifies what libpq's does", async () => {
    const { port } = await secureServer("server");
    const { port: other } = await secureServer("elsewhere");
    const root = (name: string) => `sslrootcert=${file(`${name}.pem`)}`;
    expect(await greeting(port, `sslmode=verify-full&${root("server")}`)).toBe("hello stranger");
    expect(await greeting(other, `sslmode=verify-ca&${root("elsewhere")}`)).toBe("hello stranger");
    expect(await greeting(other, `sslmode=require&${root("elsewhere")}`)).toBe("hello stranger");
    for (const [at, mode] of [
      [other, "verify-full"],
      [port, "verify-ca"],
      [port, "require"],
    ] as const) {
      const refused = dial(target(at, `sslmode=${mode}&${root("elsewhere")}`));
      await expect(refused).rejects.toThrow(UpstreamUnreachable);
    }
  });

  test("a client that must present a certificate gets in only with a valid one", async () => {
    const { port, failures } = await secureServer("server", "client");
    const own = (name: string) =>
      `sslmode=require&sslcert=${file(`${name}.pem`)}&sslkey=${file(`${name}.key`)}`;
    expect(await greeting(port, own("client"))).toBe("hello anna");
    // With TLS 1.3 the client's handshake ends before the server has checked its certificate.
    await expect(greeting(port, own("stranger"))).rejects.toThrow();
    await expect(greeting(port, "sslmode=require")).rejects.toThrow();
    expect(failures).toHaveLength(2);
  });

  test("bytes injected after the request for TLS end the connection before TLS begins", async () => {
    const { port, failures } = await secureServer("server");
    const socket = connect(port, "127.0.0.1");
    const answers: Buffer[] = [];
    socket.on("data", (chunk) => answers.push(chunk));
    socket.write(Buffer.concat([sslRequest, Buffer.from("stuffed")]));
    await once(socket, "close");
    expect(failures).toEqual(["received unencrypted data after SSL request"]);
    expect(Buffer.concat(answers)).toHaveLength(0);
  });

  test("direct TLS must name the protocol", async () => {
    const { port, failures } = await secureServer("server");
    const socket = connectSecurely({ port, host: "127.0.0.1", rejectUnauthorized: false });
    socket.on("error", () => {});
    await once(socket, "close");
    expect(failures).toEqual([expect.stringContaining("ALPN")]);
  });

  test("a client that sends garbage instead of TLS, or leaves, affects no other client", async () => {
    const { port, failures } = await secureServer("server");
    const garbage = connect(port, "127.0.0.1");
    garbage.on("error", () => {});
    garbage.write(sslRequest);
    await once(garbage, "data");
    garbage.write("GET / HTTP/1.1\r\n\r\n");
    garbage.resume();
    await once(garbage, "close");
    const gone = connect(port, "127.0.0.1");
    gone.write(sslRequest);
    await once(gone, "data");
    gone.destroy();
    await expect.poll(() => failures).toHaveLength(2);
    expect(await greeting(port, "sslmode=require")).toBe("hello stranger");
  });

  test("a key that others may read is refused at the start", () => {
    execFileSync("cp", [file("server.key"), file("open.key")]);
    execFileSync("chmod", ["644", file("open.key")]);
    expect(
      () => new TlsAcceptor({ certificate: file("server.pem"), key: file("open.key"), clientCa: undefined }),
    ).toThrow("chmod 600");
  });
});

test("a server without TLS works with sslmode=prefer, and not with sslmode=require", async () => {
  const server = await listen((socket) => {
    socket.on("data", (chunk) => socket.write(chunk.equals(sslRequest) ? "N" : chunk));
  });
  const socket = await dial(target(portOf(server), "sslmode=prefer"));
  socket.write("ping");
  expect(String((await once(socket, "data"))[0])).toBe("ping");
  socket.destroy();
  await expect(dial(target(portOf(server), "sslmode=require"))).rejects.toThrow("does not support SSL");
});

test.each([
  ["bytes injected after its answer", "S\x16", "unencrypted data"],
  ["an invalid answer", "E", "invalid response"],
])("a server that sends %s is not trusted", async (_what, answer, problem) => {
  const server = await listen((socket) => socket.on("data", () => socket.write(answer)));
  await expect(dial(target(portOf(server), "sslmode=prefer"))).rejects.toThrow(problem);
});

test.each(["", "S"])("a server that hangs after %j is given up in time", async (answer) => {
  const server = await listen((socket) => socket.on("data", () => socket.write(answer)));
  const hanging = { ...target(portOf(server), "sslmode=require"), connectTimeout: 100 };
  await expect(dial(hanging)).rejects.toThrow(UpstreamUnreachable);
});

test("a server that closes or is missing is unreachable: no address for clients, no password for anyone", async () => {
  const server = await listen((socket) => socket.resume().end());
  const port = portOf(server);
  await expect(dial(target(port, "sslmode=require"))).rejects.toThrow("closed");
  server.close();
  await once(server, "close");
  const error = await dial(target(port, "sslmode=require")).catch((reason: unknown) => reason);
  if (!(error instanceof UpstreamUnreachable)) throw error;
  expect(error.refusal).toMatchObject({ severity: "FATAL", sqlstate: "08006" });
  expect(error.message).toContain("ECONNREFUSED");
  expect(error.refusal.message).not.toContain(String(port));
  expect(error.message).not.toContain("hunter2");
});
