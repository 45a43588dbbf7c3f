import { parseSecret } from "./secret.ts";

/** The keys of tokens at rest, by version. Values are written under the active one; all of them are read. */
export interface TokenKeys {
  readonly active: number;
  readonly secrets: ReadonlyMap<number, Buffer>;
  /** Versions that no column holds any more: what is sealed under them can be read, and is not searched for. */
  readonly retired?: ReadonlySet<number>;
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
  readonly retired: ReadonlySet<number>;
}

export type LoadedTokenRing =
  | { readonly ok: true; readonly ring: TokenRing }
  /** `problem` never contains a part of a key. */
  | { readonly ok: false; readonly problem: string };

export type LoadedTokenKeys =
  | { readonly ok: true; readonly keys: TokenKeys }
  | { readonly ok: false; readonly problem: string };

const LARGEST_VERSION = 9_999;
const LINES =
  'a line must be "version key", "version kms-key wrapped-key", "active version" or "retired version"';

/**
 * The text of a key ring: lines, or parts between semicolons. One key a line: as `version key`, where the key is 32 bytes
 * or more in hexadecimal or base64, or as `version kms-key wrapped-key`. `active version` names the key that values are
 * written under; without that line it is the highest version. So a fleet can learn to read a new key everywhere before
 * any of its proxies writes under it. `retired version`: no column holds tokens of that key any more.
 */
export function parseTokenRing(text: string): LoadedTokenRing {
  const keys = new Map<number, Buffer | WrappedKey>();
  const retired = new Set<number>();
  let active: number | undefined;
  for (const line of text.split(/[\n;]/)) {
    const words = line.replace(/#.*/, "").trim().split(/\s+/);
    const [first = "", second = "", third, ...more] = words;
    if (first === "" && words.length === 1) continue;
    const isWord = first === "active" || first === "retired";
    const version = Number(isWord ? second : first);
    if (second === "" || more.length > 0 || (isWord && third !== undefined) || !isVersion(version))
      return { ok: false, problem: LINES };
    if (first === "retired") {
      retired.add(version);
      continue;
    }
    if (first === "active") {
      if (active !== undefined) return { ok: false, problem: "there are two active versions" };
      active = version;
      continue;
    }
    if (keys.has(version)) return { ok: false, problem: `there are two keys of version ${version}` };
    if (third !== undefined) {
      // A key in the clear has no colon: what stands there must not be taken for a name, and be repeated in a message.
      if (!/^[a-z]+:/.test(second)) return { ok: false, problem: LINES };
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
  for (const version of retired) {
    if (!keys.has(version))
      return { ok: false, problem: `there is no key of the retired version ${version}` };
    if (version === chosen) return { ok: false, problem: `the active version ${version} is retired` };
  }
  return { ok: true, ring: { active: chosen, keys, retired } };
}

function isVersion(version: number): boolean {
  return Number.isInteger(version) && version >= 1 && version <= LARGEST_VERSION;
}
