import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** What a server sent on one connection: one line a message, in order. */
export type Recording = readonly string[];

export interface Recorder {
  readonly port: number;
  /** Hands out what was recorded since the last call, connection by connection in the order of opening. */
  take(): Promise<readonly Recording[]>;
  close(): Promise<void>;
}

/** A relay on a free port that writes down every backend message that passes through it. */
export async function startRecorder(target: {
  readonly host: string;
  readonly port: number;
}): Promise<Recorder> {
  const connections = new Set<Promise<Recording>>();
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const upstream = connect({ ...target, noDelay: true, allowHalfOpen: true });
    sockets.add(client).add(upstream);
    connections.add(relay(client, upstream));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async take() {
      const done = await Promise.all(connections);
      connections.clear();
      // A connection that only carried a CancelRequest brought no message.
      return done.filter(({ length }) => length > 0);
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function relay(client: Socket, upstream: Socket): Promise<Recording> {
  const lines: string[] = [];
  const encryption = countEncryptionRequests(client);
  const cutter = new MessageCutter((type, body) => lines.push(describe(type, body)));
  upstream.on("data", (chunk: Buffer) => {
    // The answer to SSLRequest or GSSENCRequest is a byte, no message (Postgres docs, "SSL Session Encryption").
    const answers = Math.min(encryption.pending(), chunk.length);
    encryption.answered(answers);
    if (answers > 0) lines.push(`encryption? ${chunk.subarray(0, answers).toString("latin1")}`);
    cutter.push(chunk.subarray(answers));
  });
  client.pipe(upstream);
  upstream.pipe(client);
  for (const socket of [client, upstream])
    socket.on("error", () => [client, upstream].map((s) => s.destroy()));
  await Promise.all(
    [once(upstream, "close"), once(client, "close")].map((end) => end.catch(() => undefined)),
  );
  return lines;
}

const ENCRYPTION_REQUESTS = new Set([80877103, 80877104]);

/** Clients ask for encryption before their startup packet, and wait for the answer. */
function countEncryptionRequests(client: Socket) {
  let asked = 0;
  client.prependListener("data", (chunk: Buffer) => {
    if (chunk.length === 8 && chunk.readInt32BE(0) === 8 && ENCRYPTION_REQUESTS.has(chunk.readInt32BE(4)))
      asked++;
  });
  return {
    pending: () => asked,
    answered(count: number) {
      asked -= count;
    },
  };
}

/** Cuts the backend's stream, simply: an own reading of the protocol, independent of the proxy's. */
class MessageCutter {
  #held = Buffer.alloc(0);
  readonly #take: (type: string, body: Buffer) => void;

  constructor(take: (type: string, body: Buffer) => void) {
    this.#take = take;
  }

  push(chunk: Buffer): void {
    let bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    while (bytes.length >= 5 && bytes.length > bytes.readInt32BE(1)) {
      const end = 1 + bytes.readInt32BE(1);
      this.#take(String.fromCharCode(bytes.readUInt8(0)), bytes.subarray(5, end));
      bytes = bytes.subarray(end);
    }
    this.#held = Buffer.from(bytes);
  }
}

/**
 * A message as one line. What must differ between two connections is left out: keys, nonces and proofs, and
 * the process number of a notification.
 */
function describe(type: string, body: Buffer): string {
  switch (type) {
    case "K":
      return `K ${body.length} bytes`;
    case "R": {
      const kind = body.readInt32BE(0);
      // AuthenticationSASLContinue, AuthenticationSASLFinal: a fresh nonce each time.
      return kind === 11 || kind === 12 ? `R ${kind}` : `R ${readable(body)}`;
    }
    case "A":
      return `A ${readable(body.subarray(4))}`;
    default:
      return `${type} ${readable(body)}`;
  }
}

function readable(body: Buffer): string {
  return JSON.stringify(body.toString("latin1"));
}
