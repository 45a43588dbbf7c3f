import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { isIPv6 } from "node:net";
import type { ConsoleRole } from "./console-roles.ts";

/** Who may log in to the console, and with what. */
export interface ConsoleToken {
  /** Their name in the audit log; undefined: the token has no owner. */
  readonly name: string | undefined;
  readonly token: string;
  readonly role: ConsoleRole;
}

/** Somebody who has logged in. */
export interface Visit {
  /** In the audit log, behind "by". */
  readonly by: string;
  readonly role: ConsoleRole;
  /** The fingerprint of the certificate that they logged in with; undefined: it was a token. */
  readonly certificate: string | undefined;
  /** The digest of the token that they logged in with: once it is withdrawn, so is the login. */
  readonly token: string | undefined;
  /** Is in each of their forms. */
  readonly formToken: string;
  /** Shown on the next page that they open. */
  notice: string | undefined;
}

/** Who logs in. */
export type Owner = Pick<Visit, "by" | "role"> & { readonly token?: string | undefined };

interface Kept {
  readonly visit: Visit;
  readonly endsAt: number;
  idleAt: number;
}

const LASTS_MS = 8 * 3_600_000;
const IDLE_MS = 30 * 60_000;
const VISITS = 200;

/** Names who has this token. Takes as long for a wrong one as for a right one. */
export function ownerOf(
  given: string,
  tokens: readonly ConsoleToken[],
): Pick<Visit, "by" | "role" | "token"> | undefined {
  const hash = digest(given);
  let owner: Pick<Visit, "by" | "role" | "token"> | undefined;
  for (const { name, token, role } of tokens) {
    const right = timingSafeEqual(hash, digest(token));
    if (right)
      owner = { by: name === undefined ? "console" : `console (${name})`, role, token: keyOf(token) };
  }
  return owner;
}

/** Whether what somebody logged in with still holds: their token is there, and has their role. */
export function stillHolds({ token, role }: Visit, tokens: readonly ConsoleToken[]): boolean {
  return token === undefined || tokens.some((one) => one.role === role && keyOf(one.token) === token);
}

/** Who is logged in: kept in this process and gone with it. */
export class Visits {
  /** By the hash of the cookie, so that a lookup's time tells nothing of it. */
  readonly #kept = new Map<string, Kept>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Gives the cookie. */
  begin({ by, role, token }: Owner, certificate?: string): string {
    const secret = randomBytes(32).toString("base64url");
    const formToken = randomBytes(32).toString("base64url");
    const now = this.#now();
    this.#sweep(now);
    const visit: Visit = { by, role, certificate, token, formToken, notice: undefined };
    this.#kept.set(keyOf(secret), { visit, endsAt: now + LASTS_MS, idleAt: now + IDLE_MS });
    return secret;
  }

  /**
   * Who logged in with a certificate must show it each time. A page that looks by itself for news is no sign that somebody sits there: "watch" does
   * not prolong.
   */
  find(secret: string, why: "use" | "watch", certificate?: string): Visit | undefined {
    const kept = this.#kept.get(keyOf(secret));
    const now = this.#now();
    if (kept === undefined || now >= kept.endsAt || now >= kept.idleAt) return undefined;
    if (kept.visit.certificate !== undefined && kept.visit.certificate !== certificate) return undefined;
    if (why === "use") kept.idleAt = now + IDLE_MS;
    return kept.visit;
  }

  end(secret: string): void {
    this.#kept.delete(keyOf(secret));
  }

  #sweep(now: number): void {
    for (const [key, { endsAt, idleAt }] of this.#kept) {
      if (now >= endsAt || now >= idleAt) this.#kept.delete(key);
    }
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= VISITS && oldest !== undefined) this.#kept.delete(oldest);
  }
}

const TRIES = 5;
const TRIES_MS = 60_000;
const ADDRESSES = 10_000;

/** Slows down who guesses: five wrong tokens a minute from one address. */
export class Attempts {
  readonly #failures = new Map<string, number[]>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Milliseconds until this address may try again; 0: now. */
  wait(address: string): number {
    const recent = this.#recent(sourceOf(address));
    return recent.length < TRIES ? 0 : Math.max(0, (recent.at(-TRIES) ?? 0) + TRIES_MS - this.#now());
  }

  failed(address: string): void {
    const source = sourceOf(address);
    const recent = [...this.#recent(source), this.#now()].slice(-TRIES);
    // The map keeps the order of insertion: the last failure is last.
    this.#failures.delete(source);
    this.#failures.set(source, recent);
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > ADDRESSES && oldest !== undefined) this.#failures.delete(oldest);
  }

  #recent(source: string): readonly number[] {
    const since = this.#now() - TRIES_MS;
    return (this.#failures.get(source) ?? []).filter((time) => time > since);
  }
}

/** A host has a whole /64 of IPv6 to choose from. */
function sourceOf(address: string): string {
  if (!isIPv6(address) || address.includes(".")) return address;
  const [left = "", right] = address.split("::");
  const head = left.split(":");
  const tail = right === undefined ? [] : right.split(":");
  const filled = [...head, ...Array<string>(Math.max(0, 8 - head.length - tail.length)).fill("0"), ...tail];
  return filled.slice(0, 4).join(":");
}

/** Whether a form was made for this visit. */
export function isFormToken(given: string, { formToken }: Visit): boolean {
  return timingSafeEqual(digest(given), digest(formToken));
}

function keyOf(secret: string): string {
  return digest(secret).toString("base64");
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
