import { parseSecret } from "./keys.ts";

/** The keys of tokens at rest, by version. Values are written under the active one; all of them are read. */
export interface TokenKeys {
  readonly active: number;
  readonly secrets: ReadonlyMap<number, Buffer>;
}

/** A key that only the named key of a KMS can unwrap. */
export interface WrappedKey {
  /** The key of the KMS, as kms/place.ts reads it. */
  readonly kms: string;
  /** As the KMS has given it. */
  readonly wrapped: string;
}

/** A key ring as it is written, before a KMS has been asked for what it has wrapped. */
export interface TokenRing {
  readonly active: number;
  readonly keys: ReadonlyMap<number, Buffer | WrappedKey>;
}

export type LoadedTokenRing =
  | { readonly ok: true; readonly ring: TokenRing }
  /** `problem` never contains a part of a key. */
  | { readonly ok: false; readonly problem: string };

export type LoadedTokenKeys =
  | { readonly ok: true; readonly keys: TokenKeys }
  | { readonly ok: false; readonly problem: string };

const LARGEST_VERSION = 9_999;

/**
 * The text of a key ring: lines, or parts between semicolons. One key a line: as `version key`, where the key is 32 bytes
 * or more in hexadecimal or base64, or as `version kms-key wrapped-key`. `active version` names the key that values are
 * written under; without that line it is the highest version. So a fleet can learn to read a new key everywhere before
 * any of its proxies writes under it.
 */
export function parseTokenRing(text: string): LoadedTokenRing {
  const keys = new Map<number, Buffer | WrappedKey>();
  let active: number | undefined;
  for (const line of text.split(/[\n;]/)) {
    const words = line.replace(/#.*/, "").trim().split(/\s+/);
    const [first = "", second = "", third, ...more] = words;
    if (first === "" && words.length === 1) continue;
    const isActive = first === "active";
    const version = Number(isActive ? second : first);
    if (second === "" || more.length > 0 || (isActive && third !== undefined) || !isVersion(version))
      return {
        ok: false,
        problem: 'a line must be "version key", "version kms-key wrapped-key" or "active version"',
      };
    if (isActive) {
      if (active !== undefined) return { ok: false, problem: "there are two active versions" };
      active = version;
      continue;
    }
    if (keys.has(version)) return { ok: false, problem: `there are two keys of version ${version}` };
    if (third !== undefined) {
      keys.set(version, { kms: second, wrapped: third });
      continue;
    }
    const secret = parseSecret(Buffer.from(second, "latin1"), `the key of version ${version}`);
    if (!secret.ok) return secret;
    if (secret.secret !== undefined) keys.set(version, secret.secret);
  }
  if (keys.size === 0) return { ok: false, problem: "there is no key" };
  const chosen = active ?? Math.max(...keys.keys());
  if (!keys.has(chosen)) return { ok: false, problem: `there is no key of the active version ${chosen}` };
  return { ok: true, ring: { active: chosen, keys } };
}

/** A ring without wrapped keys. */
export function parseTokenKeys(text: string): LoadedTokenKeys {
  const read = parseTokenRing(text);
  if (!read.ok) return read;
  const { active, keys } = read.ring;
  const secrets = new Map<number, Buffer>();
  for (const [version, key] of keys) {
    if (!Buffer.isBuffer(key))
      return { ok: false, problem: `the key of version ${version} is wrapped by a KMS` };
    secrets.set(version, key);
  }
  return { ok: true, keys: { active, secrets } };
}

function isVersion(version: number): boolean {
  return Number.isInteger(version) && version >= 1 && version <= LARGEST_VERSION;
}
