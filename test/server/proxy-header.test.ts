import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { ServerSettings } from "../../proxy/app/server.ts";
import { parseNetwork } from "../../proxy/policy/networks.ts";
import { readProxyHeader } from "../../proxy/session/accept/proxy-header.ts";
import { ProtocolViolation } from "../../proxy/wire/frames.ts";
import { sslRequest, startupMessage } from "../../proxy/wire/startup.ts";
import { makeCertificates } from "../harness/certificates.ts";
import { freshDatabase, PASSWORDS, type TestDatabase } from "../harness/postgres.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { RawClient } from "../harness/raw-client.ts";
import { ask, startRelay } from "./relay.ts";

const POLICY = `version: 1
roles:
  agent: { users: [anna], from: [203.0.113.0/24], reads: all }
`;
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

function binary(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from([command, family, body.length >> 8, body.length & 255]);
  return Buffer.concat([SIGNATURE, head, body]);
}
const ports = Buffer.from([0x9c, 0x40, 0x15, 0x38]);
const four = (source: readonly number[]) =>
  binary(0x21, 0x11, Buffer.concat([Buffer.from(source), Buffer.from([10, 0, 0, 1]), ports]));
const six = (source: string) =>
  binary(0x21, 0x21, Buffer.concat([Buffer.from(source, "hex"), Buffer.alloc(16), ports]));

describe("the header of a load balancer", () => {
  test.each([
    ["version 1", Buffer.from("PROXY TCP4 203.0.113.7 10.0.0.1 40000 5432\r\n"), "203.0.113.7"],
    ["version 1, IPv6", Buffer.from("PROXY TCP6 2001:db8::7 2001:db8::1 40000 5432\r\n"), "2001:db8::7"],
    ["version 1, unknown", Buffer.from("PROXY UNKNOWN\r\n"), undefined],
    ["version 1, unknown with more", Buffer.from("PROXY UNKNOWN ffff:f:f ::1 1 2\r\n"), undefined],
    ["version 2", four([203, 0, 113, 7]), "203.0.113.7"],
    ["version 2, IPv6", six("20010db8000000000000000000000007"), "2001:db8::7"],
    ["version 2, IPv4 inside IPv6", six("00000000000000000000ffffcb007107"), "203.0.113.7"],
    ["version 2, a health check", binary(0x20, 0x00, Buffer.alloc(0)), undefined],
    ["version 2, a Unix socket", binary(0x21, 0x31, Buffer.alloc(216)), undefined],
  ])("%s names the client, however it is cut", (_, header, address) => {
    const whole = Buffer.concat([header, Buffer.from("the client's own")]);
    expect(readProxyHeader(whole)).toEqual({ kind: "whole", length: header.length, address });
    for (let cut = 1; cut < header.length; cut++) {
      expect(readProxyHeader(header.subarray(0, cut))).toEqual({ kind: "more needed" });
    }
  });

  test.each([
    ["no header at all", startupMessage([["user", "anna"]])],
    ["a family that is none", Buffer.from("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n")],
    ["an address of the other family", Buffer.from("PROXY TCP4 ::1 1.2.3.4 1 1\r\n")],
    ["an address with a zone", Buffer.from("PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n")],
    ["a port too high", Buffer.from("PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n")],
    ["a port with a sign", Buffer.from("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n")],
    ["a port missing", Buffer.from("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n")],
    ["a port too many", Buffer.from("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n")],
    ["a line without end", Buffer.from(`PROXY TCP4 ${"1".repeat(200)}`)],
    ["version 3", binary(0x31, 0x11, Buffer.alloc(12))],
    ["an unknown command", binary(0x22, 0x11, Buffer.alloc(12))],
    ["addresses cut short", binary(0x21, 0x11, Buffer.alloc(11))],
    ["IPv6 addresses cut short", binary(0x21, 0x21, Buffer.alloc(35))],
    ["a datagram", binary(0x21, 0x12, Buffer.alloc(12))],
    ["a length beyond reason", binary(0x21, 0x11, Buffer.alloc(5_000)).subarray(0, 16)],
  ])("%s is refused", (_, header) => {
    expect(() => readProxyHeader(header)).toThrow(ProtocolViolation);
  });

  test("any bytes are a header, need more, or are refused; never anything else", () => {
    const beginnings = fc.constantFrom("", "PROXY ", "PROXY TCP4 1.2.3.4 ", SIGNATURE.toString("latin1"));
    fc.assert(
      fc.property(beginnings, fc.uint8Array({ minLength: 1, maxLength: 300 }), (beginning, rest) => {
        const bytes = Buffer.concat([Buffer.from(beginning, "latin1"), rest]);
        try {
          const read = readProxyHeader(bytes);
          if (read.kind === "whole") expect(read.length).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("connections from load balancers", () => {
  let database: TestDatabase;
  const started: TestProxy[] = [];
  beforeAll(async () => {
    database = await freshDatabase("header");
  });
  afterEach(async () => {
    for (const proxy of started.splice(0)) await proxy.close();
  });
  afterAll(() => database.drop());

  async function start(from: string, settings: Partial<ServerSettings> = {}): Promise<TestProxy> {
    const network = parseNetwork(from);
    if (!network.ok) throw new Error(network.problem);
    const upstream = `postgresql://127.0.0.1:${database.port}/?sslmode=disable`;
    const more = { proxyProtocolFrom: [network.network], loginTimeout: 500, ...settings };
    const proxy = await startRelay({ upstream, policy: POLICY, settings: more });
    started.push(proxy);
    return proxy;
  }

  /** Puts a header before what clients send. */
  async function balancer(port: number, header: Buffer): Promise<number> {
    const listener = createServer((client) => {
      const proxy = connect({ host: "127.0.0.1", port });
      proxy.write(header);
      client.pipe(proxy).pipe(client);
      for (const socket of [client, proxy]) socket.on("error", () => {});
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    onTestFinished(() => void listener.close());
    return (listener.address() as AddressInfo).port;
  }

  const hello = (user: string) =>
    startupMessage([
      ["user", user],
      ["database", database.database],
    ]);

  test.each([
    ["version 1", (source: string) => Buffer.from(`PROXY TCP4 ${source} 10.0.0.1 1 5432\r\n`)],
    ["version 2", (source: string) => four(source.split(".").map(Number))],
  ])("whom the balancer names is whom the policy judges and the audit log tells (%s)", async (_, header) => {
    const proxy = await start("127.0.0.1/32", { loginTimeout: 20_000 });
    const from = async (source: string) => {
      const port = await balancer(proxy.port, header(source));
      return ask({ ...proxy.config("anna", PASSWORDS.anna, database.database), port });
    };
    expect(await from("203.0.113.7")).toBe("anna");
    expect(await from("198.51.100.7").catch((error) => error.code)).toBe("28000");
    expect(proxy.events.map(({ kind, ...rest }) => [kind, "client" in rest && rest.client])).toEqual(
      expect.arrayContaining([
        ["login", "203.0.113.7"],
        ["login refused", "198.51.100.7"],
      ]),
    );
  });

  test("who comes from a trusted address without the header is refused", async () => {
    const proxy = await start("127.0.0.1/32");
    const client = await RawClient.connect(proxy.port);
    client.send(hello("anna"));
    expect((await client.farewell()).get("M")).toBe("invalid PROXY header");
  });

  test("a header from any other address is refused, and names nobody", async () => {
    const proxy = await start("192.0.2.0/24");
    for (const header of [
      four([203, 0, 113, 7]),
      Buffer.from("PROXY TCP4 203.0.113.7 10.0.0.1 1 5432\r\n"),
    ]) {
      const client = await RawClient.connect(proxy.port);
      client.send(header, hello("anna"));
      expect((await client.farewell()).get("C")).toBe("08P01");
    }
    expect(proxy.log.join("")).not.toContain("203.0.113.7");
  });

  test("the header comes before TLS, in one packet with it or by itself, and holds inside it", async () => {
    const certificates = await makeCertificates();
    const { certificate: tlsCert, key: tlsKey } = certificates.proxy;
    const proxy = await start("127.0.0.1/32", { tlsCert, tlsKey });
    for (const parts of [
      [Buffer.concat([four([203, 0, 113, 7]), sslRequest])],
      [four([203, 0, 113, 8]), sslRequest],
    ]) {
      const raw = await RawClient.connect(proxy.port);
      raw.socket.removeAllListeners("data");
      for (const part of parts) raw.socket.write(part);
      expect(String((await once(raw.socket, "data"))[0])).toBe("S");
      const secure = new RawClient(connectTls({ socket: raw.socket, rejectUnauthorized: false }));
      secure.send(startupMessage([["database", "no user"]]));
      expect((await secure.farewell()).get("C")).toBe("28000");
    }
    await certificates.remove();
    expect(proxy.log.join("")).toMatch(/"address":"203\.0\.113\.7".*"address":"203\.0\.113\.8"/s);
  });

  test("a client that stops inside the header is disconnected when its time is up", async () => {
    const proxy = await start("127.0.0.1/32");
    const client = await RawClient.connect(proxy.port);
    client.send(SIGNATURE.subarray(0, 7));
    await client.closed();
    expect(await proxy.failures("timeout")).toBe(1);
  });
});
