import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createServer, type TlsOptions } from "node:tls";

/**
 * What librdkafka's own brokers lack: TLS and SASL (PLAIN, SCRAM) before one of them, after Kafka's protocol guide. Brokers name
 * their addresses, so the answers that pass get this one's port.
 */
export interface KafkaDoor {
  readonly broker: string;
  /** Who logged in so far, and by what. */
  readonly logins: readonly string[];
  stop(): void;
}

export interface DoorOptions {
  readonly tls: TlsOptions;
  /** The broker behind it. */
  readonly broker: string;
  readonly mechanisms: readonly string[];
  readonly user: string;
  readonly password: string;
}

const API = { versions: 18, handshake: 17, authenticate: 36 };
const UNSUPPORTED_VERSION = 35;
const UNSUPPORTED_MECHANISM = 33;
const AUTHENTICATION_FAILED = 58;
/** Later versions have another form of answer; clients go on with an earlier one. */
const LAST_PLAIN_VERSIONS = 2;

export async function openKafkaDoor(options: DoorOptions): Promise<KafkaDoor> {
  const logins: string[] = [];
  const [, inner = 0] = options.broker.split(":").map(Number);
  const sockets = new Set<Socket>();
  const server = createServer(options.tls, (client) => {
    const broker = connect(inner, "127.0.0.1");
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => [client, broker].map((one) => one.destroy()));
    }
    /** What the broker's next answers are to. */
    const asked: number[] = [];
    let login: Login | undefined;
    let isIn = false;
    frames(client, (frame) => {
      const [api, version] = [frame.readInt16BE(4), frame.readInt16BE(6)];
      const answer = (body: Buffer) => client.write(framed(frame.subarray(8, 12), body));
      const body = frame.subarray(14 + Math.max(0, frame.readInt16BE(12)));
      if (api === API.versions && version > LAST_PLAIN_VERSIONS) answer(numbers([UNSUPPORTED_VERSION], [0]));
      else if (api === API.handshake) {
        const mechanism = body.toString("utf8", 2);
        const isOffered = options.mechanisms.includes(mechanism);
        login = isOffered ? new Login(mechanism, options) : undefined;
        const names = options.mechanisms.map((name) =>
          Buffer.concat([numbers([name.length], []), Buffer.from(name)]),
        );
        const error = isOffered ? 0 : UNSUPPORTED_MECHANISM;
        answer(Buffer.concat([numbers([error], [names.length]), ...names]));
      } else if (api === API.authenticate) {
        const said = login?.take(body.subarray(4));
        isIn = login?.isIn ?? false;
        if (isIn) logins.push(`${options.user} ${login?.mechanism}`);
        const text = said ?? Buffer.alloc(0);
        // No message, and with version 1 how long the session lasts.
        const error = said === undefined ? AUTHENTICATION_FAILED : 0;
        const rest = version >= 1 ? Buffer.alloc(8) : Buffer.alloc(0);
        answer(Buffer.concat([numbers([error, -1], [text.length]), text, rest]));
      } else if (isIn || api === API.versions) {
        asked.push(api);
        broker.write(frame);
      } else client.destroy();
    });
    frames(broker, (frame) => {
      const isVersions = asked.shift() === API.versions;
      client.write(isVersions ? withSasl(frame) : moved(frame, inner, port()));
    });
  }).listen(0, "127.0.0.1");
  const port = () => (server.address() as AddressInfo).port;
  await once(server, "listening");
  return {
    broker: `127.0.0.1:${port()}`,
    logins,
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function frames(socket: Socket, take: (frame: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0);
      take(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
  });
}

function framed(...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([numbers([], [body.length]), body]);
}

/** Numbers of 16 bits, and after them numbers of 32. */
function numbers(short: readonly number[], long: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * short.length + 4 * long.length);
  for (const [i, value] of short.entries()) bytes.writeInt16BE(value, 2 * i);
  for (const [i, value] of long.entries()) bytes.writeInt32BE(value, 2 * short.length + 4 * i);
  return bytes;
}

/** An answer to ApiVersions that names SASL's two requests as well. */
function withSasl(frame: Buffer): Buffer {
  const count = frame.readInt32BE(10);
  const end = 14 + 6 * count;
  const sasl = numbers([API.handshake, 0, 1, API.authenticate, 0, 1], []);
  return framed(
    frame.subarray(4, 10),
    numbers([], [count + 2]),
    frame.subarray(14, end),
    sasl,
    frame.subarray(end),
  );
}

function moved(frame: Buffer, from: number, to: number): Buffer {
  const [old, fresh] = [from, to].map((port) =>
    Buffer.concat([Buffer.from("127.0.0.1"), numbers([], [port])]),
  );
  if (old === undefined || fresh === undefined) return frame;
  for (let at = frame.indexOf(old); at !== -1; at = frame.indexOf(old, at + 1)) fresh.copy(frame, at);
  return frame;
}

/** The server's side of a SASL login: PLAIN (RFC 4616) or SCRAM (RFC 5802). */
class Login {
  readonly mechanism: string;
  readonly #user: string;
  readonly #password: string;
  #first: { readonly bare: string; readonly said: string; readonly nonce: string } | undefined;
  isIn = false;

  constructor(mechanism: string, { user, password }: DoorOptions) {
    this.mechanism = mechanism;
    this.#user = user;
    this.#password = password;
  }

  /** What the server says to it; undefined: the login has failed. */
  take(message: Buffer): Buffer | undefined {
    const text = message.toString("utf8");
    if (this.mechanism === "PLAIN") {
      this.isIn = text.endsWith(`\0${this.#user}\0${this.#password}`);
      return this.isIn ? Buffer.alloc(0) : undefined;
    }
    if (this.#first === undefined) {
      const [, bare = "", user, nonce] = /^n,,(n=([^,]*),r=([^,]*))$/.exec(text) ?? [];
      if (user !== this.#user) return undefined;
      const whole = `${nonce}${randomBytes(12).toString("base64")}`;
      const said = `r=${whole},s=${SALT.toString("base64")},i=4096`;
      this.#first = { bare, said, nonce: whole };
      return Buffer.from(said);
    }
    const [, plain = "", nonce, proof = ""] = /^(c=biws,r=([^,]*)),p=(.*)$/.exec(text) ?? [];
    const hash = this.mechanism === "SCRAM-SHA-512" ? "sha512" : "sha256";
    const hmac = (key: Buffer, data: string) => createHmac(hash, key).update(data).digest();
    const size = hash === "sha512" ? 64 : 32;
    const salted = pbkdf2Sync(this.#password, SALT, 4096, size, hash);
    const stored = createHash(hash).update(hmac(salted, "Client Key")).digest();
    const all = `${this.#first.bare},${this.#first.said},${plain}`;
    const signature = hmac(stored, all);
    const given = Buffer.from(proof, "base64");
    const key = Buffer.from(signature.map((byte, i) => byte ^ (given[i] ?? 0)));
    this.isIn =
      nonce === this.#first.nonce &&
      given.length === size &&
      timingSafeEqual(createHash(hash).update(key).digest(), stored);
    return this.isIn
      ? Buffer.from(`v=${hmac(hmac(salted, "Server Key"), all).toString("base64")}`)
      : undefined;
  }
}

const SALT = randomBytes(16);
