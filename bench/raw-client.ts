import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { queryMessage, saslInitialResponse, saslResponse } from "../proxy/wire/frontend-messages.ts";
import { SCRAM_SHA_256, ScramClient } from "../proxy/wire/scram.ts";
import { DATABASE } from "./world.ts";

/** A client that costs the bench next to nothing: it logs in without a password and counts bytes. */
export interface RawClient {
  readonly socket: Socket;
  /** Sends a simple query. */
  ask(sql: string): void;
  /** Resolves at the next ReadyForQuery. */
  ready(): Promise<void>;
}

/** ReadyForQuery of an idle session: always the last bytes of an answer (Postgres docs, "Message Formats"). */
const READY = Buffer.from("Z\0\0\0\x05I", "latin1");

/** `password`: of a proxy that asks for it (SCRAM). */
export async function openClient(port: number, user: string, password?: string): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  // A failure shows as a wait that is rejected.
  socket.on("error", () => {});
  await once(socket, "connect");
  const client = {
    socket,
    ask: (sql: string) => socket.write(queryMessage(Buffer.from(sql))),
    ready: () => readyOf(socket),
  };
  const ready = client.ready();
  socket.write(startup(user));
  if (password !== undefined) await prove(socket, password);
  await ready;
  return client;
}

/** Each of the server's two messages is expected in one piece. */
async function prove(socket: Socket, password: string): Promise<void> {
  const scram = new ScramClient(password, "a-nonce-of-the-bench");
  const next = async () => ((await once(socket, "data")) as [Buffer])[0];
  await next();
  socket.write(saslInitialResponse(SCRAM_SHA_256, scram.first()));
  // Type byte, length word, and which kind of authentication message it is.
  const challenge = (await next()).subarray(9);
  socket.write(saslResponse(await scram.final(challenge)));
}

function readyOf(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let tail = Buffer.alloc(0);
    const onClose = () => reject(new Error(`closed after ${JSON.stringify(tail.toString("latin1"))}`));
    const onData = (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk.subarray(-200)]).subarray(-200);
      if (!tail.subarray(-READY.length).equals(READY)) return;
      socket.off("data", onData).off("close", onClose);
      resolve();
    };
    socket.on("data", onData).once("close", onClose);
  });
}

function startup(user: string): Buffer {
  const body = Buffer.from(`user\0${user}\0database\0${DATABASE}\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(head.length + body.length);
  head.writeInt32BE(196_608, 4);
  return Buffer.concat([head, body]);
}
