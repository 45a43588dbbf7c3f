import { createHash, createHmac, pbkdf2, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import saslprep from "@mongodb-js/saslprep";
import { ProtocolViolation } from "./frames.ts";

/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides. The client's side has no channel binding: through a proxy, the
 * client's TLS is not the server's. Nothing here reads a clock or generates random values.
 */
export const SCRAM_SHA_256 = "SCRAM-SHA-256";
/** The same, bound to the TLS connection on which it runs. */
export const SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS";

/** What a server stores for a password: enough to check it, not enough to log in elsewhere. */
export interface Verifier {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** Postgres's default for scram_iterations, and the length of its salts in bytes. */
export const DEFAULT_ITERATIONS = 4096;
export const SALT_BYTES = 16;

const KEY_BYTES = 32;
/** A server that asks for more would only keep us busy: this takes half a second of one core. */
const MOST_ITERATIONS = 2_000_000;

const derive = promisify(pbkdf2);

export async function makeVerifier(password: string, iterations: number, salt: Buffer): Promise<Verifier> {
  const salted = await derive(prepare(password), salt, iterations, KEY_BYTES, "sha256");
  const storedKey = sha256(hmac(salted, "Client Key"));
  return { iterations, salt, storedKey, serverKey: hmac(salted, "Server Key") };
}

/** In the form of pg_authid.rolpassword. */
export function formatVerifier({ iterations, salt, storedKey, serverKey }: Verifier): string {
  const keys = `${storedKey.toString("base64")}:${serverKey.toString("base64")}`;
  return `${SCRAM_SHA_256}$${iterations}:${salt.toString("base64")}$${keys}`;
}

/** Undefined if the text is not a verifier in the form of pg_authid. */
export function parseVerifier(text: string): Verifier | undefined {
  const match = /^SCRAM-SHA-256\$([1-9]\d{0,8}):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text);
  const salt = fromBase64(match?.[2]);
  const storedKey = fromBase64(match?.[3]);
  const serverKey = fromBase64(match?.[4]);
  if (!salt || storedKey?.length !== KEY_BYTES || serverKey?.length !== KEY_BYTES) return undefined;
  return { iterations: Number(match?.[1]), salt, storedKey, serverKey };
}

/**
 * A verifier that no password matches, always the same for one user. The exchange then looks the same for users that do
 * not exist, and reveals nothing (Postgres: mock_scram_secret of auth-scram.c). The proxies of one fleet need the same
 * secret, or the salt of such a user would differ from proxy to proxy.
 */
export function mockVerifier(user: string, secret: Buffer, iterations: number): Verifier {
  const name = Buffer.from(user).toString("latin1");
  const salt = hmac(secret, `salt ${name}`).subarray(0, SALT_BYTES);
  const storedKey = hmac(secret, `stored key ${name}`);
  return { iterations, salt, storedKey, serverKey: hmac(secret, `server key ${name}`) };
}

/** The server's side of one exchange. */
export class ScramServer {
  readonly #verifier: Verifier;
  readonly #serverNonce: string;
  /** The hash that the exchange may be bound to; undefined for none. */
  readonly #endPoint: Buffer | undefined;
  /** What the client must repeat: its header, and what it bound to. */
  #binding = "";
  #nonce = "";
  /** client-first-message-bare "," server-first-message */
  #opening = "";

  /** `nonce`: at least 18 random bytes in base64. `endPoint`: the hash of our certificate, if PLUS was offered. */
  constructor(verifier: Verifier, nonce: string, endPoint: Buffer | undefined) {
    this.#verifier = verifier;
    this.#serverNonce = nonce;
    this.#endPoint = endPoint;
  }

  /** Takes the client's chosen mechanism and its client-first-message; returns the server-first-message. */
  first(mechanism: string, message: Buffer): string {
    const text = message.toString("latin1");
    const match = /^([^,]*),([^,]*),(.*)$/s.exec(text);
    const [flag, authzid, bare] = [match?.[1], match?.[2], match?.[3] ?? ""];
    this.#binding = this.#bindingOf(mechanism, flag);
    if (authzid !== "") throw malformed("authorization identity is not supported");
    // The name is ignored: the user is that of the startup packet, as in Postgres.
    const nonce = /^n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*$/s.exec(bare)?.[1];
    if (nonce === undefined) throw malformed("client-first-message");
    this.#nonce = nonce + this.#serverNonce;
    const salt = this.#verifier.salt.toString("base64");
    const answer = `r=${this.#nonce},s=${salt},i=${this.#verifier.iterations}`;
    this.#opening = `${bare},${answer}`;
    return answer;
  }

  /**
   * The required value after `c=` (RFC 5802, section 6; read_client_first_message of libpq/auth-scram.c, including its
   * wording).
   */
  #bindingOf(mechanism: string, flag: string | undefined): string {
    const offered = this.#endPoint;
    const isPlus = mechanism === SCRAM_SHA_256_PLUS;
    switch (flag) {
      case "p=tls-server-end-point":
        if (!isPlus || offered === undefined) break;
        return Buffer.concat([Buffer.from(`${flag},,`), offered]).toString("base64");
      case "n":
        if (isPlus) break;
        return "biws";
      // The client supports channel binding and believes that we do not.
      case "y":
        if (isPlus) break;
        if (offered === undefined) return "eSws";
        throw new ProtocolViolation(
          "the client supports SCRAM channel binding but thinks the server does not; someone between them may have changed what it was offered",
          "28000",
        );
      default:
        throw malformed("unsupported SCRAM channel-binding type");
    }
    throw malformed("the channel binding does not fit the mechanism");
  }

  /** Takes the client-final-message; returns the server-final-message, or undefined for a wrong password. */
  final(message: Buffer): string | undefined {
    if (this.#nonce === "") throw malformed("client-final-message before client-first-message");
    const text = message.toString("latin1");
    const match = /^(c=([^,]*),r=([^,]*)(?:,[A-Za-z]=[^,]*)*),p=([^,]*)$/s.exec(text);
    const [unproved, binding, nonce] = [match?.[1], match?.[2], match?.[3]];
    const proof = fromBase64(match?.[4]);
    if (unproved === undefined || proof?.length !== KEY_BYTES) throw malformed("client-final-message");
    if (binding !== this.#binding) {
      throw new ProtocolViolation("SCRAM channel binding check failed", "28000");
    }
    if (nonce !== this.#nonce) throw malformed("nonce");
    const authMessage = `${this.#opening},${unproved}`;
    const { storedKey, serverKey } = this.#verifier;
    const clientKey = xor(proof, hmac(storedKey, authMessage));
    // One proof per challenge: a second message must not be checked against the same nonce.
    this.#nonce = "";
    if (!timingSafeEqual(sha256(clientKey), storedKey)) return undefined;
    return `v=${hmac(serverKey, authMessage).toString("base64")}`;
  }
}

/** The client's side of one exchange, for the login to the upstream server. */
export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  #expected: Buffer | undefined;

  /** `nonce`: at least 18 random bytes in base64. */
  constructor(password: string, nonce: string) {
    this.#password = password;
    this.#nonce = nonce;
  }

  /** The client-first-message. Postgres takes the user from the startup packet; libpq leaves the name empty too. */
  first(): string {
    return `n,,${this.#bare}`;
  }

  /** Takes the server-first-message and returns the client-final-message. */
  async final(message: Buffer): Promise<string> {
    const text = message.toString("latin1");
    const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([^,]+),i=([1-9]\d{0,8})(?:,[A-Za-z]=[^,]*)*$/s.exec(text);
    const nonce = match?.[1];
    const salt = fromBase64(match?.[2]);
    const iterations = Number(match?.[3]);
    if (nonce === undefined || !salt || iterations > MOST_ITERATIONS) {
      throw malformed("server-first-message");
    }
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) throw malformed("nonce");
    const salted = await derive(prepare(this.#password), salt, iterations, KEY_BYTES, "sha256");
    const clientKey = hmac(salted, "Client Key");
    const unproved = `c=biws,r=${nonce}`;
    const authMessage = `${this.#bare},${text},${unproved}`;
    this.#expected = hmac(hmac(salted, "Server Key"), authMessage);
    const proof = xor(clientKey, hmac(sha256(clientKey), authMessage));
    return `${unproved},p=${proof.toString("base64")}`;
  }

  /** Takes the server-final-message; returns whether the server knows the password as well. */
  verify(message: Buffer): boolean {
    const signature = fromBase64(/^v=([^,]+)/.exec(message.toString("latin1"))?.[1]);
    if (this.#expected === undefined || signature?.length !== KEY_BYTES) return false;
    return timingSafeEqual(signature, this.#expected);
  }

  get #bare(): string {
    return `n=,r=${this.#nonce}`;
  }
}

/** The answer to AuthenticationMD5Password (Postgres docs, "Message Flow", "Start-up"). */
export function md5Password(user: string, password: string, salt: Buffer): string {
  const inner = createHash("md5")
    .update(password + user)
    .digest("hex");
  return `md5${createHash("md5").update(inner).update(salt).digest("hex")}`;
}

/** Passwords that SASLprep rejects are used unchanged, as pg_saslprep and its callers do. */
function prepare(password: string): string {
  try {
    return saslprep(password);
  } catch {
    return password;
  }
}

/** SCRAM messages are processed as bytes, one character each. */
function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text, "latin1").digest();
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function xor(left: Buffer, right: Buffer): Buffer {
  const out = Buffer.alloc(left.length);
  for (let i = 0; i < out.length; i++) out[i] = (left[i] ?? 0) ^ (right[i] ?? 0);
  return out;
}

/** Strict: Node skips characters that are not base64; the server does not. */
function fromBase64(text: string | undefined): Buffer | undefined {
  if (text === undefined || text === "") return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

function malformed(what: string): ProtocolViolation {
  return new ProtocolViolation(`malformed SCRAM message: ${what}`);
}
