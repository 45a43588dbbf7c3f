import { hkdfSync, randomBytes } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, type Stats } from "node:fs";

/** The keys that are derived from the fleet's one secret, each for one purpose. */
export interface Keys {
  /** The key of `token` masks. */
  readonly masks: Buffer;
  /** The key that users and people are hashed under before they reach the counter store. */
  readonly counters: Buffer;
  /** The key that people are hashed under in audit events. */
  readonly audit: Buffer;
}

export type LoadedSecret =
  /** `secret` is undefined if none was given. */
  | { readonly ok: true; readonly secret: Buffer | undefined }
  /** `problem` never contains a part of the secret. */
  | { readonly ok: false; readonly problem: string };

const SHORTEST = 32;
const LARGEST_FILE = 64 * 1024;

/** HKDF-SHA-256 (RFC 5869): one derived key reveals nothing about the others or about the secret. */
export function deriveKeys(secret: Buffer): Keys {
  const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", secret, "", `sluice ${purpose} 1`, 32));
  return { masks: derive("masks"), counters: derive("counters"), audit: derive("audit") };
}

/** A secret for a process that shares nothing with others and needs no key after its end. */
export function randomSecret(): Buffer {
  return randomBytes(SHORTEST);
}

/** Reads the secret from a file (`--key-file`) or, without one, from the text of `SLUICE_KEY`. */
export function loadSecret(from: {
  readonly keyFile?: string | undefined;
  readonly env?: string | undefined;
}): LoadedSecret {
  if (from.keyFile !== undefined) return readKeyFile(from.keyFile);
  if (from.env !== undefined && from.env !== "") return parseSecret(Buffer.from(from.env), "SLUICE_KEY");
  return { ok: true, secret: undefined };
}

/**
 * Decodes a secret that has the form of hexadecimal or base64 text; otherwise uses the bytes themselves. `source` names
 * it in messages.
 */
export function parseSecret(content: Buffer, source: string): LoadedSecret {
  const secret = decode(content);
  if (secret.length >= SHORTEST) return { ok: true, secret };
  return {
    ok: false,
    problem: `${source} holds ${secret.length} bytes, at least ${SHORTEST} are needed: openssl rand -hex 32 makes them`,
  };
}

function decode(content: Buffer): Buffer {
  // Latin-1 preserves every byte, so that a binary secret never looks like text.
  const text = content.toString("latin1").trim();
  if (/^(?:[0-9a-fA-F]{2})+$/.test(text)) return Buffer.from(text, "hex");
  if (/^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    return Buffer.from(text, "base64");
  }
  if (/^[A-Za-z0-9_-]{43,}$/.test(text)) return Buffer.from(text, "base64url");
  return content;
}

function readKeyFile(path: string): LoadedSecret {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    // Checks the opened file, not its name, so that the file cannot be replaced in between.
    const problem = fileProblem(fstatSync(file));
    if (problem !== undefined) return { ok: false, problem: `key file "${path}" ${problem}` };
    return parseSecret(readFileSync(file), `key file "${path}"`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    return { ok: false, problem: `key file "${path}" cannot be read: ${code}` };
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/**
 * libpq's rule for private keys (Postgres docs, "SSL Support", client certificates): 0640 only if root owns the file.
 */
function fileProblem(stats: Stats): string | undefined {
  if (!stats.isFile()) return "is not a regular file";
  if (stats.size > LARGEST_FILE) return `is larger than ${LARGEST_FILE} bytes`;
  const refused = stats.uid === 0 ? 0o037 : 0o077;
  if ((stats.mode & refused) === 0) return undefined;
  return "has group or world access: it must be u=rw (0600) or less, or u=rw,g=r (0640) or less if owned by root";
}
