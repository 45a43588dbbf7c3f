import { createSecretKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { createLocalJWKSet, createRemoteJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { loadSecret } from "./secret.ts";

/** The location of the keys that sign claims. */
export interface KeySource {
  readonly kind: "jwks" | "secret";
  /** A path relative to the file that names it, or an https URL. */
  readonly at: string;
  readonly place: { readonly file: string };
}

/** A key to verify a claim with, in the form that jose takes. */
export type ClaimKey = JWTVerifyGetKey | KeyObject;

/** The keys for claims, as last read successfully. */
export class ClaimKeys {
  #known = new Map<string, ClaimKey>();

  /** Undefined if it was never read successfully. */
  of(source: KeySource): ClaimKey | undefined {
    return this.#known.get(nameOf(source));
  }

  /**
   * Reads the keys of these sources. Returns each failed source with its problem; its last good keys stay in use. A URL
   * is fetched when a claim needs it.
   */
  async read(sources: readonly KeySource[]): Promise<ReadonlyMap<KeySource, string>> {
    const problems = new Map<KeySource, string>();
    for (const source of sources) {
      try {
        this.#known.set(nameOf(source), this.#remote(source) ?? (await keyIn(source)));
      } catch (error) {
        problems.set(source, `the keys of signed_by cannot be read: ${reasonOf(error, source)}`);
      }
    }
    return problems;
  }

  /** An existing key set is reused, because it holds keys that it fetched. */
  #remote({ kind, at, place }: KeySource): ClaimKey | undefined {
    if (kind !== "jwks" || !isUrl(at)) return undefined;
    return this.of({ kind, at, place }) ?? createRemoteJWKSet(new URL(at), { timeoutDuration: 3_000 });
  }
}

function isUrl(at: string): boolean {
  return /^https?:\/\//i.test(at);
}

function nameOf({ kind, at, place }: KeySource): string {
  return `${kind} ${isUrl(at) ? at : pathOf(at, place.file)}`;
}

function pathOf(at: string, file: string): string {
  return resolve(dirname(file), at);
}

async function keyIn({ kind, at, place }: KeySource): Promise<ClaimKey> {
  const path = pathOf(at, place.file);
  if (kind === "jwks") return createLocalJWKSet(publicKeys(JSON.parse(await readFile(path, "utf8"))));
  const loaded = loadSecret({ keyFile: path, env: undefined });
  if (!loaded.ok) throw new Error(loaded.problem);
  if (loaded.secret === undefined) throw new Error(`"${path}" is empty`);
  return createSecretKey(loaded.secret);
}

/** A key set with a private or shared key in it was not meant for the proxy. */
function publicKeys(set: unknown): JSONWebKeySet {
  const { keys } = (set ?? {}) as Partial<JSONWebKeySet>;
  if (!Array.isArray(keys) || keys.length === 0) throw new Error("no keys are in it");
  if (keys.some((key) => key.kty === "oct" || "d" in key))
    throw new Error("a key is in it that is not public; the proxy needs public keys only");
  return { keys };
}

/** Why reading failed; never contains a part of the file. */
function reasonOf(error: unknown, { at, place }: KeySource): string {
  if (error instanceof SyntaxError) return `"${pathOf(at, place.file)}" is no JSON`;
  if (!(error instanceof Error)) return "unknown reason";
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined || code.startsWith("ERR_J")
    ? error.message
    : `"${pathOf(at, place.file)}": ${code}`;
}
