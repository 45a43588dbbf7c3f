import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { LRUCache } from "lru-cache";
import { KeyedHash } from "../keys/keyed-hash.ts";

/** A private key of Ed25519 (RFC 8032). */
export interface SigningKey {
  /** Names it in the log; says nothing of it. */
  readonly id: string;
  readonly publicKey: KeyObject;
  /** The signature as base64url. */
  sign(text: string): string;
}

/** What the audit key is used for: each use has a key of its own. It signs as the fleet, and no line of a segment. */
export interface AuditKeys extends SigningKey {
  /** Names the key under which people are hashed; says nothing of it. */
  readonly peopleId: string;
  /** The keyed hash of a person in events: 128 bits of HMAC-SHA-256. */
  hashSubject(namespace: string, value: string): string;
}

/** PKCS #8 around an Ed25519 seed (RFC 8410, section 7): Node makes a key object of nothing less. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Makes the keys of signing and of hashing people from the audit key (HKDF, RFC 5869). */
export function auditKeys(auditKey: Buffer): AuditKeys {
  const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", auditKey, "", purpose, 32));
  const peopleKey = derive("sluice audit subjects 1");
  const subjects = new KeyedHash(peopleKey);
  // Whoever is read is often read again a moment later.
  const known = new LRUCache<string, string>({ max: PEOPLE_REMEMBERED });
  return {
    ...signingKey(derive("sluice audit signing 1")),
    peopleId: Buffer.from(hkdfSync("sha256", peopleKey, "", "sluice audit subjects id 1", 8)).toString("hex"),
    hashSubject(namespace, value) {
      const person = `${namespace}\0${value}`;
      const before = known.get(person);
      if (before !== undefined) return before;
      const hashed = subjects.base64url(person, 16);
      if (person.length <= LONGEST_REMEMBERED) known.set(person, hashed);
      return hashed;
    },
  };
}

/** A hash takes some 3 µs, and looking it up a tenth of that. */
const PEOPLE_REMEMBERED = 5_000;
const LONGEST_REMEMBERED = 200;

/** `seed` has 32 bytes. */
export function signingKey(seed: Buffer): SigningKey {
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, seed]);
  const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  pkcs8.fill(0);
  const publicKey = createPublicKey(privateKey);
  return {
    id: keyId(publicKey),
    publicKey,
    sign: (text) => sign(null, Buffer.from(text), privateKey).toString("base64url"),
  };
}

/** A public key as records of the log have it: 32 bytes as base64url, which is JWK's `x` (RFC 8037). */
export function publicText({ publicKey }: SigningKey): string {
  return publicKey.export({ format: "jwk" }).x ?? "";
}

/** Undefined where the text is no public key. */
export function publicKeyOf(text: string): KeyObject | undefined {
  try {
    return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: text }, format: "jwk" });
  } catch {
    return undefined;
  }
}

/** The public keys that a reader of the log trusts, by their ids. */
export type TrustedKeys = ReadonlyMap<string, KeyObject>;

/** Whether a trusted key of this id made the signature. */
export function isSigned(trusted: TrustedKeys, id: string, text: string, signature: string): boolean {
  const key = trusted.get(id);
  return key !== undefined && verify(null, Buffer.from(text), key, Buffer.from(signature, "base64url"));
}

export function keyId(publicKey: KeyObject): string {
  const der = publicKey.export({ format: "der", type: "spki" });
  return createHash("sha256").update(der).digest("hex").slice(0, 16);
}
