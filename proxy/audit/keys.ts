import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { KeyedHash } from "../keyed-hash.ts";

/** What the audit key is used for: each use has a key of its own. */
export interface AuditKeys {
  /** Names the signing key in the log; says nothing of it. */
  readonly id: string;
  readonly publicKey: KeyObject;
  /** Names the key under which people are hashed; says nothing of it. */
  readonly peopleId: string;
  /** Ed25519 (RFC 8032), as base64url. */
  sign(text: string): string;
  /** The keyed hash under which a person stands in events: 128 bits of HMAC-SHA-256. */
  hashSubject(namespace: string, value: string): string;
}

/** PKCS #8 around an Ed25519 seed (RFC 8410, section 7): Node makes a key object of nothing less. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Makes the keys of signing and of hashing people from the audit key (HKDF, RFC 5869). */
export function auditKeys(auditKey: Buffer): AuditKeys {
  const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", auditKey, "", purpose, 32));
  const peopleKey = derive("sluice audit subjects 1");
  const subjects = new KeyedHash(peopleKey);
  const seed = derive("sluice audit signing 1");
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
  const publicKey = createPublicKey(privateKey);
  return {
    id: keyId(publicKey),
    publicKey,
    peopleId: Buffer.from(hkdfSync("sha256", peopleKey, "", "sluice audit subjects id 1", 8)).toString("hex"),
    sign: (text) => sign(null, Buffer.from(text), privateKey).toString("base64url"),
    hashSubject: (namespace, value) => subjects.base64url(`${namespace}\0${value}`, 16),
  };
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
