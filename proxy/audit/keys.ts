import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";

/** What the audit key is used for: each use has a key of its own. */
export interface AuditKeys {
  /** Names the signing key in the log; says nothing of it. */
  readonly id: string;
  readonly publicKey: KeyObject;
  /** Ed25519 (RFC 8032), as base64url. */
  sign(text: string): string;
  /** The keyed hash under which a person stands in events: 128 bits of HMAC-SHA-256. */
  hashSubject(namespace: string, value: string): string;
}

/** PKCS #8 around an Ed25519 seed (RFC 8410, section 7): Node makes a key object of nothing less. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Whoever works on a case asks for the same people again and again, and their HMACs cost more than their rows. */
const PEOPLE_REMEMBERED = 10_000;

/** Makes the keys of signing and of hashing people from the audit key (HKDF, RFC 5869). */
export function auditKeys(auditKey: Buffer): AuditKeys {
  const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", auditKey, "", purpose, 32));
  // As a key object: given as bytes it would be made into one for each person.
  const subjects = createSecretKey(derive("sluice audit subjects 1"));
  const seed = derive("sluice audit signing 1");
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
  const publicKey = createPublicKey(privateKey);
  // Two generations: the older one goes as a whole, so that nobody pays for an order of single people.
  let [recent, older] = [new Map<string, string>(), new Map<string, string>()];
  return {
    id: keyId(publicKey),
    publicKey,
    sign: (text) => sign(null, Buffer.from(text), privateKey).toString("base64url"),
    hashSubject(namespace, value) {
      const person = `${namespace}\0${value}`;
      const known = recent.get(person);
      if (known !== undefined) return known;
      const name =
        older.get(person) ??
        createHmac("sha256", subjects).update(person).digest().toString("base64url", 0, 16);
      if (recent.size >= PEOPLE_REMEMBERED) [recent, older] = [new Map(), recent];
      recent.set(person, name);
      return name;
    },
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
