import fc from "fast-check";
import { serialize } from "pg-protocol";
import { expect, test } from "vitest";
import { type Frame, FrameReader, ProtocolViolation } from "../../proxy/wire/frames.ts";
import { int32 } from "../../proxy/wire/messages.ts";
import {
  asksReplication,
  cancelKeyLength,
  cancelRequest,
  decodeNegotiateProtocolVersion,
  decodeStartup,
  negotiate,
  type Startup,
  sslRequest,
  startupMessage,
} from "../../proxy/wire/startup.ts";

function read(bytes: Buffer): Frame {
  const reader = new FrameReader(1000, () => false);
  reader.push(bytes);
  expect(reader.nextStartup()).toBe(true);
  return reader;
}

function packet(body: string, version = 3 << 16): Buffer {
  const rest = Buffer.from(body, "latin1");
  return Buffer.concat([int32(8 + rest.length), int32(version), rest]);
}

function startup(body: string, version?: number): Startup {
  const decoded = decodeStartup(read(packet(body, version)));
  if (decoded.kind !== "startup") throw new Error(decoded.kind);
  return decoded;
}

function refusalOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolViolation) return error.refusal;
    throw error;
  }
  return undefined;
}

test("a driver's startup packet is read in order", () => {
  const { minor, parameters } = decodeStartup(
    read(serialize.startup({ user: "anna", database: "support", application_name: "psql" })),
  ) as Startup;
  expect(minor).toBe(0);
  expect([...parameters]).toEqual([
    ["user", "anna"],
    ["database", "support"],
    ["application_name", "psql"],
    ["client_encoding", "UTF8"],
  ]);
  expect(decodeStartup(read(startupMessage(parameters)))).toMatchObject({ parameters });
});

test("requests for TLS, GSSAPI and cancellation are distinguished", () => {
  expect(sslRequest).toEqual(serialize.requestSsl());
  expect(decodeStartup(read(sslRequest))).toEqual({ kind: "ssl" });
  expect(decodeStartup(read(packet("", 80877104)))).toEqual({ kind: "gss" });
  const short = Buffer.from([1, 2, 3, 4]);
  expect(cancelRequest(7, short)).toEqual(serialize.cancel(7, 0x01020304));
  expect(decodeStartup(read(cancelRequest(7, short)))).toEqual({ kind: "cancel", processId: 7, key: short });
  const long = Buffer.alloc(256, 9);
  expect(decodeStartup(read(cancelRequest(7, long)))).toEqual({ kind: "cancel", processId: 7, key: long });
  for (const nobodys of [Buffer.alloc(257), Buffer.alloc(0)])
    expect(decodeStartup(read(cancelRequest(7, nobodys)))).toMatchObject({
      kind: "cancel",
      key: Buffer.alloc(0),
    });
  expect(() => decodeStartup(read(packet("x", 80877103)))).toThrow(ProtocolViolation);
});

test.each([
  ["no user", "database\0x\0\0", "28000"],
  ["an empty user", "user\0\0\0", "28000"],
  ["a user twice", "user\0anna\0user\0root\0\0", "08P01"],
  ["options twice", "user\0anna\0options\0a\0options\0b\0\0", "08P01"],
  ["a user in another spelling", "user\0anna\0User\0root\0\0", "22023"],
  ["a user name that the server would truncate", `user\0${"x".repeat(64)}\0\0`, "28000"],
  ["a database name that the server would truncate", `user\0a\0database\0${"x".repeat(64)}\0\0`, "28000"],
  ["no terminator", "user\0anna\0", "08P01"],
  ["bytes after the terminator", "user\0anna\0\0x\0", "08P01"],
  ["a name without a value", "user\0", "08P01"],
  ["invalid UTF-8", "user\0an\xffna\0\0", "22021"],
])("a startup packet with %s is refused", (_what, body, sqlstate) => {
  expect(refusalOf(() => startup(body))).toMatchObject({ severity: "FATAL", sqlstate });
});

test("protocol 2 and 4 are refused as the server does", () => {
  expect(refusalOf(() => startup("", 2 << 16))).toMatchObject({
    sqlstate: "0A000",
    message: "unsupported frontend protocol 2.0: server supports 3.0 to 3.2",
  });
  expect(refusalOf(() => startup("", 4 << 16))).toMatchObject({ sqlstate: "0A000" });
});

test("settings have one spelling, and the last value counts", () => {
  const { parameters } = startup("user\0anna\0Search_Path\0a\0search_path\0b\0\0");
  expect([...parameters]).toEqual([
    ["user", "anna"],
    ["search_path", "b"],
  ]);
});

test.each([
  [0, 0, false],
  [1, 0, true],
  [2, 2, false],
  [3, 2, true],
  [9999, 2, true],
])("a client that asks for 3.%i gets 3.%i", (asked, minor, told) => {
  const answer = negotiate(startup("user\0anna\0\0", (3 << 16) | asked));
  expect(answer.minor).toBe(minor);
  expect(answer.reply !== undefined).toBe(told);
});

test("unknown protocol options are reported back, and are not parameters of the session", () => {
  const asked = startup("user\0anna\0_pq_.test\x00on\0_pq_.more\x001\0\0");
  expect([...asked.parameters.keys()]).toEqual(["user"]);
  const { minor, reply } = negotiate(asked);
  expect(minor).toBe(0);
  const reader = new FrameReader(1000, () => false);
  reader.push(reply ?? Buffer.alloc(0));
  expect(reader.next()).toBe(true);
  expect(decodeNegotiateProtocolVersion(reader)).toEqual({ minor: 0, options: ["_pq_.test", "_pq_.more"] });
});

test("cancel keys have the length of their version", () => {
  expect(cancelKeyLength(0)).toBe(4);
  expect(cancelKeyLength(2)).toBe(32);
});

test.each(["true", "on", "1", "database", "TRUE", "yes", "", "nonsense"])(
  "replication=%s counts as a request",
  (value) => {
    expect(asksReplication(startup(`user\0anna\0replication\0${value}\0\0`))).toBe(true);
  },
);

test.each(["false", "off", "0", "NO"])("replication=%s does not", (value) => {
  expect(asksReplication(startup(`user\0anna\0replication\0${value}\0\0`))).toBe(false);
  expect(asksReplication(startup("user\0anna\0\0"))).toBe(false);
});

test("random startup packets are decoded or cause a violation", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 80 }),
      fc.constantFrom(3 << 16, 80877102, 80877103, 0),
      (body, version) => {
        try {
          decodeStartup(read(packet(Buffer.from(body).toString("latin1"), version)));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
