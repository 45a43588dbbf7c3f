import { parseTokenRing, type TokenKeys } from "../../proxy/keys/token-keys.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";

/* Keys for tokens: each is 32 bytes of one value, which is its version unless a test says another. */

/** The line of a key ring's text. */
export function keyLine(version: number, byte = version): string {
  return `${version} ${Buffer.alloc(32, byte).toString("hex")}`;
}

/** A key ring's text, as SLUICE_TOKEN_KEYS takes it. */
export function ringText(...versions: readonly number[]): string {
  return versions.map((version) => keyLine(version)).join("\n");
}

/** A ring of these versions, of which the last one is active. */
export function ring(...versions: readonly number[]): TokenKeys {
  const secrets = versions
    .toSorted((one, other) => one - other)
    .map((version) => [version, Buffer.alloc(32, version)] as const);
  return { active: versions.at(-1) ?? 1, secrets: new Map(secrets) };
}

/** The ring that a text describes. */
export function ringIn(text: string): TokenKeys {
  const read = parseTokenRing(text);
  if (!read.ok) throw new Error(read.problem);
  const { active, keys, retired } = read.ring;
  const secrets = new Map<number, Buffer>();
  for (const [version, key] of keys) {
    if (!Buffer.isBuffer(key)) throw new Error(`the key of version ${version} is wrapped by a KMS`);
    secrets.set(version, key);
  }
  return { active, secrets, retired };
}

export function sealerOf(...lines: readonly string[]): Sealer {
  return new Sealer(ringIn(lines.join("\n")));
}
