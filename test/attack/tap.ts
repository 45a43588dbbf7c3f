import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { showsCanary } from "./canary.ts";

/** Stands between a client and the proxy, changes nothing, and looks at all that passes. */
export interface Tap {
  readonly port: number;
  /** The statements of Query messages, in order. */
  readonly statements: readonly string[];
  /** Statements whose answer held a canary. */
  readonly shown: readonly string[];
  readonly received: number;
  close(): Promise<void>;
}

/** The longest form of a canary that could lie across two chunks. */
const OVERLAP = 200;

export async function openTap(target: number): Promise<Tap> {
  const statements: string[] = [];
  const shown: string[] = [];
  const sockets = new Set<Socket>();
  let received = 0;
  const server = createServer((client) => {
    const proxy = connect({ host: "127.0.0.1", port: target });
    for (const socket of [client, proxy]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
    }
    const read = queryReader((sql) => statements.push(sql));
    let tail = Buffer.alloc(0);
    client.on("data", (chunk: Buffer) => read(chunk));
    proxy.on("data", (chunk: Buffer) => {
      received += chunk.length;
      const bytes = Buffer.concat([tail, chunk]);
      if (showsCanary(bytes)) shown.push(statements.at(-1) ?? "");
      tail = Buffer.from(bytes.subarray(-OVERLAP));
    });
    client.pipe(proxy);
    proxy.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    statements,
    shown,
    get received() {
      return received;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Finds Query messages in a client's stream, after its startup packet (Postgres docs, "Message Formats"). */
function queryReader(onQuery: (sql: string) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  let started = false;
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const head = started ? 1 : 0;
      if (rest.length < head + 4) return;
      const end = head + rest.readInt32BE(head);
      if (rest.length < end) return;
      if (started && rest[0] === 0x51) onQuery(rest.toString("utf8", 5, end - 1));
      started = true;
      rest = rest.subarray(end);
    }
  };
}
