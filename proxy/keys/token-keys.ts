import { parseSecret } from "./keys.ts";

/** The keys of tokens at rest, by version. Values are written under the active one; all of them are read. */
export interface TokenKeys {
  readonly active: number;
  readonly secrets: ReadonlyMap<number, Buffer>;
}

export type LoadedTokenKeys =
  | { readonly ok: true; readonly keys: TokenKeys }
  /** `problem` never contains a part of a key. */
  | { readonly ok: false; readonly problem: string };

const LARGEST_VERSION = 9_999;

/**
 * The text of a key ring: lines, or parts between semicolons. One key a line, as `version key`, where the key is 32 bytes or more in hexadecimal or base64. `active version` names
 * the key that values are written under; without that line it is the highest version. So a fleet can learn to read a
 * new key everywhere before any of its proxies writes under it.
 */
export function parseTokenKeys(text: string): LoadedTokenKeys {
  const secrets = new Map<number, Buffer>();
  let active: number | undefined;
  for (const line of text.split(/[\n;]/)) {
    const words = line.replace(/#.*/, "").trim().split(/\s+/);
    const [first = "", second = "", ...more] = words;
    if (first === "" && words.length === 1) continue;
    const version = Number(first === "active" ? second : first);
    if (second === "" || more.length > 0 || !isVersion(version))
      return { ok: false, problem: 'a line must be "version key" or "active version"' };
    if (first === "active") {
      if (active !== undefined) return { ok: false, problem: "there are two active versions" };
      active = version;
      continue;
    }
    if (secrets.has(version)) return { ok: false, problem: `there are two keys of version ${version}` };
    const secret = parseSecret(Buffer.from(second, "latin1"), `the key of version ${version}`);
    if (!secret.ok) return secret;
    if (secret.secret !== undefined) secrets.set(version, secret.secret);
  }
  if (secrets.size === 0) return { ok: false, problem: "there is no key" };
  const chosen = active ?? Math.max(...secrets.keys());
  if (!secrets.has(chosen)) return { ok: false, problem: `there is no key of the active version ${chosen}` };
  return { ok: true, keys: { active: chosen, secrets } };
}

function isVersion(version: number): boolean {
  return Number.isInteger(version) && version >= 1 && version <= LARGEST_VERSION;
}
