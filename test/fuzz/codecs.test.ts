import { describe, expect, test } from "vitest";
import {
  decodeAuthentication,
  decodeBackendKey,
  decodeCommandComplete,
  decodeNotification,
  decodeParameterStatus,
  decodeReadyForQuery,
  parameterStatus,
  readyForQuery,
} from "../../proxy/wire/backend-messages.ts";
import { decodeError, errorResponse } from "../../proxy/wire/errors.ts";
import { type Frame, FrameReader, ProtocolViolation } from "../../proxy/wire/frames.ts";
import {
  bindMessage,
  closeMessage,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeEmpty,
  decodeExecute,
  decodeParse,
  decodePassword,
  decodeQuery,
  decodeSaslInitialResponse,
  decodeSaslResponse,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  passwordMessage,
  queryMessage,
  saslInitialResponse,
  syncMessage,
  terminateMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Backend, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { refuse } from "../../proxy/wire/refusal.ts";
import { readTrailingFields, trimDataRow, trimRowDescription } from "../../proxy/wire/rows.ts";
import {
  cancelRequest,
  decodeNegotiateProtocolVersion,
  decodeStartup,
  negotiate,
  negotiateProtocolVersion,
  startupMessage,
} from "../../proxy/wire/startup.ts";
import { Coverage } from "./coverage.ts";
import { chunks, mutate } from "./mutate.ts";
import { Random } from "./random.ts";

/**
 * Fuzzing, guided by coverage: inputs that reach code which none reached before are kept and changed further. In CI
 * a few seconds; longer by hand: SLUICE_FUZZ_SECONDS=600 SLUICE_FUZZ_SEED=7 npx vitest run test/fuzz
 */
const SECONDS = Number(process.env.SLUICE_FUZZ_SECONDS ?? 4);
const SEED = Number(process.env.SLUICE_FUZZ_SEED ?? 1);
/** So many on a machine, too, that does fewer in its time. */
const LEAST = 500;

const MAXIMUM = 1 << 16;
/** What a reader may hold beside the message that it gathers. */
const HELD = 2 * MAXIMUM + 32_768;

const FRONTEND = [
  queryMessage(Buffer.from("SELECT 1")),
  parseMessage("s", Buffer.from("SELECT $1::int")),
  bindMessage("p", "s"),
  message(
    Frontend.Bind,
    Buffer.from("p\0s\0"),
    uint16(1),
    uint16(1),
    uint16(1),
    int32(2),
    Buffer.from("xx"),
    uint16(0),
  ),
  describeMessage({ target: "portal", name: "p" }),
  closeMessage({ target: "statement", name: "s" }),
  executeMessage("p", 5),
  passwordMessage("secret"),
  saslInitialResponse("SCRAM-SHA-256", "n,,n=,r=abc"),
  message(Frontend.CopyData, Buffer.from("1\t2\n")),
  message(Frontend.CopyDone),
  flushMessage,
  syncMessage,
  terminateMessage,
];

const BACKEND = [
  readyForQuery("T"),
  parameterStatus("search_path", "public"),
  errorResponse(refuse("42501", "no", { hint: "yes" })),
  message(Backend.DataRow, uint16(2), int32(1), Buffer.from("7"), int32(-1)),
  message(Backend.RowDescription, uint16(1), Buffer.from("id\0"), Buffer.alloc(18)),
  message(Backend.CommandComplete, Buffer.from("SELECT 1\0")),
  message(Backend.Authentication, int32(10), Buffer.from("SCRAM-SHA-256\0\0")),
  message(Backend.BackendKeyData, int32(7), int32(8)),
  message(Backend.NotificationResponse, int32(7), Buffer.from("a\0b\0")),
  negotiateProtocolVersion(0, ["_pq_.x"]),
];

const STARTUP = [
  startupMessage(
    new Map([
      ["user", "anna"],
      ["database", "support"],
      ["options", "-c a=b --c-d=e"],
    ]),
  ),
  cancelRequest(7, Buffer.alloc(4, 1)),
  Buffer.concat([int32(8), int32(80877103)]),
  Buffer.concat([int32(8), int32(80877104)]),
];

const DECODERS: Readonly<Record<number, (frame: Frame) => unknown>> = {
  [Frontend.Query]: decodeQuery,
  [Frontend.Parse]: decodeParse,
  [Frontend.Bind]: decodeBind,
  [Frontend.Close]: (frame) => [decodeClose, decodeCommandComplete].map((read) => attempt(() => read(frame))),
  [Frontend.Password]: (frame) =>
    [decodePassword, decodeSaslInitialResponse, decodeSaslResponse].map((read) => attempt(() => read(frame))),
  [Frontend.Flush]: (frame) => decodeEmpty(frame, "Flush"),
  [Frontend.Terminate]: (frame) => decodeEmpty(frame, "Terminate"),
  // Letters that stand for one message from a client and for another from a server.
  [Frontend.Execute]: (frame) => [decodeExecute, decodeError].map((read) => attempt(() => read(frame))),
  [Frontend.Describe]: (frame) => [decodeDescribe, rowFields].map((read) => attempt(() => read(frame))),
  [Frontend.Sync]: (frame) =>
    [(one: Frame) => decodeEmpty(one, "Sync"), decodeParameterStatus].map((read) =>
      attempt(() => read(frame)),
    ),
  [Backend.ReadyForQuery]: decodeReadyForQuery,
  [Backend.RowDescription]: (frame) => trimRowDescription(frame, 1),
  [Backend.Authentication]: decodeAuthentication,
  [Backend.BackendKeyData]: decodeBackendKey,
  [Backend.NotificationResponse]: decodeNotification,
  [Backend.NegotiateProtocolVersion]: decodeNegotiateProtocolVersion,
};

function rowFields(frame: Frame): unknown {
  const identities: string[] = [];
  readTrailingFields(frame, 1, identities);
  return [identities, trimDataRow(frame, 1)];
}

/** A violation is an answer like any other; every other error is a fault. */
function attempt(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error;
  }
}

/** What a connection does with bytes: cuts them into messages and reads each, up to the first violation. */
function readMessages(reader: FrameReader): number {
  let count = 0;
  while (reader.next()) {
    count++;
    if (reader.piece !== "whole") continue;
    const copy = {
      type: reader.type,
      buffer: Buffer.from(reader.buffer),
      start: reader.start,
      end: reader.end,
      piece: "whole",
    } as const;
    attempt(() => DECODERS[reader.type]?.(copy));
    if (count % 3 === 0) count += reader.widen() - 1;
  }
  return count;
}

function readStartups(reader: FrameReader): number {
  let count = 0;
  while (reader.nextStartup()) {
    count++;
    const packet = decodeStartup(reader);
    if (packet.kind === "startup") negotiate(packet);
  }
  return count;
}

describe.each([
  ["the messages of a client", FRONTEND, readMessages],
  ["the messages of a server", BACKEND, readMessages],
  ["startup packets", STARTUP, readStartups],
] as const)("%s, changed at random", (_, pool, read) => {
  test("are read or refused as a violation: no other error, no endless loop, no growth", {
    timeout: (SECONDS + 30) * 1_000,
  }, async () => {
    const random = new Random(SEED);
    const coverage = await Coverage.start((url) => url.includes("/proxy/wire/"));
    const corpus: (readonly Buffer[])[] = [pool];
    const end = performance.now() + (SECONDS * 1_000) / 3;
    let inputs = 0;
    while (inputs < LEAST || performance.now() < end) {
      const batch = Array.from({ length: 50 }, () => mutate(random.of(corpus), pool, random));
      for (const input of batch) {
        inputs++;
        const reader = new FrameReader(MAXIMUM, (type) => type === Frontend.CopyData);
        const bytes = Buffer.concat(input);
        let seen = 0;
        attempt(() => {
          for (const chunk of chunks(bytes, random)) {
            reader.push(Buffer.from(chunk));
            seen += read(reader);
            expect(reader.buffered).toBeLessThan(HELD);
          }
        });
        // A message has four bytes at the least.
        expect(seen).toBeLessThanOrEqual(bytes.length / 4 + 1);
      }
      // Which of the batch it was is found out when the others are dropped again by chance.
      if ((await coverage.fresh()) > 0) corpus.push(...batch.slice(0, 50));
      if (corpus.length > 2_000) corpus.splice(1, 1_000);
    }
    coverage.stop();
    expect(coverage.blocks).toBeGreaterThan(20);
  });
});
