import { createHash, randomBytes } from "node:crypto";
import type { Configuration } from "openid-client";
import { z } from "zod";
import { TextSealer } from "../../fleet/sealed-texts.ts";
import type { Log } from "../../log.ts";
import { parseJson } from "../../orders/json-text.ts";
import { CONSOLE_ROLES, type ConsoleRole } from "./console-roles.ts";
import type { Visit } from "./log-in.ts";
import { safeTarget } from "./routes.ts";

export interface OidcOptions {
  readonly issuer: string;
  readonly client: string;
  /** Undefined: a public client. */
  readonly secret: string | undefined;
  readonly claim: string;
  /** The console's roles by values of the claim. */
  readonly roles: ReadonlyMap<string, ConsoleRole>;
  /** Where officers reach the console. */
  readonly consoleUrl: string;
  readonly log: Log;
  readonly now: () => number;
}

/** A browser on its way to the provider: where to send it, and the cookie by which it is known when it is back. */
export interface Departure {
  readonly location: string;
  readonly cookie: string;
}

export type Arrival =
  | { readonly ok: true; readonly owner: Pick<Visit, "by" | "role">; readonly to: string }
  | { readonly ok: false; readonly status: 401 | 403 | 503; readonly problem: string };

/** For how long a browser may stay at the provider: a password, a second factor. */
export const AWAY_SECONDS = 600;
/** In seconds: nobody waits longer for a page. */
const PROVIDER_TIMEOUT = 5;
/** What the provider says of itself is asked again after so long. */
const DISCOVERY_MS = 3_600_000;
const PLACE = "console oidc";
const LONGEST_NAME = 100;

const journeySchema = z.object({
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  to: z.string(),
  at: z.number(),
});

/**
 * Log-ins by OpenID Connect: the authorization code flow with PKCE, state and nonce. What has to be remembered meanwhile is
 * in the browser's cookie, sealed with a key of this process, so that nobody can fill a memory by beginning log-ins.
 */
export class Oidc {
  readonly #options: OidcOptions;
  readonly #sealer = new TextSealer(randomBytes(32));
  readonly #redirect: string;
  #known: { readonly at: number; readonly configuration: Configuration } | undefined;

  constructor(options: OidcOptions) {
    this.#options = options;
    this.#redirect = new URL("/console/oidc", options.consoleUrl).href;
  }

  /** The name under which browsers reach the console. */
  get host(): string {
    return new URL(this.#options.consoleUrl).hostname;
  }

  /** Undefined while the provider cannot be reached. */
  async depart(to: string): Promise<Departure | undefined> {
    try {
      const { configuration, library } = await this.#provider();
      const verifier = library.randomPKCECodeVerifier();
      const [state, nonce] = [library.randomState(), library.randomNonce()];
      const location = library.buildAuthorizationUrl(configuration, {
        redirect_uri: this.#redirect,
        scope: "openid profile email",
        code_challenge: await library.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        ...{ state, nonce },
      }).href;
      const journey = { state, nonce, verifier, to: safeTarget(to), at: this.#options.now() };
      const cookie = this.#sealer.seal(JSON.stringify(journey), PLACE).toString("base64url");
      return { location, cookie };
    } catch (error) {
      this.#failed(error, "the provider of --console-oidc cannot be asked");
      return undefined;
    }
  }

  /** A browser is back, with the cookie that it left with. Never rejects. */
  async arrive(query: URLSearchParams, cookie: string | undefined): Promise<Arrival> {
    const sealed =
      cookie === undefined ? undefined : this.#sealer.open(Buffer.from(cookie, "base64url"), PLACE);
    const journey = sealed === undefined ? undefined : parseJson(journeySchema, sealed);
    const { now } = this.#options;
    if (journey === undefined || now() - journey.at > AWAY_SECONDS * 1000)
      return {
        ok: false,
        status: 401,
        problem: "This log-in was not begun here, or too long ago. Begin again.",
      };
    let claims: Readonly<Record<string, unknown>> | undefined;
    try {
      const { configuration, library } = await this.#provider();
      const back = new URL(this.#redirect);
      back.search = query.toString();
      const tokens = await library.authorizationCodeGrant(configuration, back, {
        pkceCodeVerifier: journey.verifier,
        expectedState: journey.state,
        expectedNonce: journey.nonce,
        idTokenExpected: true,
      });
      claims = tokens.claims();
      // It is what the audit log names an account by.
      if (claims?.sub === "") throw new Error("EMPTY_SUBJECT");
    } catch (error) {
      this.#failed(error, "a log-in by --console-oidc failed");
      if (isAway(error)) return { ok: false, status: 503, problem: AWAY };
      const problem =
        "The identity provider did not confirm this log-in. Begin again, or log in with a token.";
      return { ok: false, status: 401, problem };
    }
    const role = this.#roleOf(claims?.[this.#options.claim]);
    const by = `console (${nameOf(claims)})`;
    if (role === undefined) {
      this.#options.log.warn({ by }, "an account without a role was refused at the console");
      return {
        ok: false,
        status: 403,
        problem: "Your account has no role in this console (--console-oidc-roles).",
      };
    }
    return { ok: true, owner: { by, role }, to: journey.to };
  }

  async #provider() {
    const library = await import("openid-client");
    const { issuer, client, secret, now } = this.#options;
    if (this.#known === undefined || now() - this.#known.at > DISCOVERY_MS) {
      const isPlain = issuer.startsWith("http:");
      const configuration = await library.discovery(
        new URL(issuer),
        client,
        { redirect_uris: [this.#redirect] },
        secret === undefined ? library.None() : library.ClientSecretBasic(secret),
        {
          timeout: PROVIDER_TIMEOUT,
          // The signature of the ID token is checked as well, though it comes over TLS from the provider itself.
          execute: [library.enableNonRepudiationChecks, ...(isPlain ? [library.allowInsecureRequests] : [])],
        },
      );
      this.#known = { at: now(), configuration };
    }
    return { library, configuration: this.#known.configuration };
  }

  /** The one that may do most, of those that the account has. */
  #roleOf(claim: unknown): ConsoleRole | undefined {
    const values = Array.isArray(claim) ? claim : [claim];
    const found = new Set(
      values.flatMap((one) => (typeof one === "string" ? (this.#options.roles.get(one) ?? []) : [])),
    );
    return CONSOLE_ROLES.findLast((role) => found.has(role));
  }

  #failed(error: unknown, what: string): void {
    const { code, message, cause } = error as Error & { code?: string; cause?: { code?: string } };
    this.#options.log.warn({ problem: code ?? message, cause: cause?.code }, what);
  }
}

export const AWAY = "The identity provider cannot be reached. Try again, or log in with a token.";

/** Nothing was answered, which says nothing about the log-in. */
function isAway(error: unknown): boolean {
  const { name, message, cause } = error as Error & { cause?: { code?: unknown; name?: unknown } };
  const isSilent = name === "TimeoutError" || cause?.name === "TimeoutError";
  return isSilent || (message === "fetch failed" && typeof cause?.code === "string");
}

/** The subject is what names an account for good; a name beside it is for people, who may choose it themselves. */
function nameOf(claims: Readonly<Record<string, unknown>> | undefined): string {
  const text = (name: string) => {
    const value = claims?.[name];
    return typeof value === "string" ? value.replace(/[^\p{L}\p{N} .@_-]/gu, "").slice(0, LONGEST_NAME) : "";
  };
  const subject = subjectOf(claims?.sub);
  const name = (claims?.email_verified === true ? text("email") : "") || text("preferred_username");
  return name === "" ? `oidc ${subject}` : `${name}, oidc ${subject}`;
}

/** Two subjects never have one name: of what is left out of one, a hash remains. */
function subjectOf(sub: unknown): string {
  const given = typeof sub === "string" ? sub : "";
  const plain = given.replace(/[^\p{L}\p{N} .@_|:/+=~-]/gu, "").slice(0, LONGEST_NAME);
  return plain === given
    ? plain
    : `${plain}#${createHash("sha256").update(given).digest("hex").slice(0, 16)}`;
}
