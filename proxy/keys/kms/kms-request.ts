import { request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";

/** Why a KMS gives nothing. Its message holds no part of a key, a token or a credential. */
export class KmsError extends Error {
  override readonly name = "KmsError";
}

export interface Asked {
  readonly url: URL;
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly ca?: string | undefined;
}

export interface Answer {
  readonly status: number;
  /** Undefined for what is no JSON. */
  readonly body: unknown;
}

/** Of the whole exchange, in milliseconds. */
const PATIENCE = 5_000;
/** A wrapped key of 32 bytes takes some hundred. */
const LONGEST_ANSWER = 64 * 1024;

const HERE: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** A key that is sent without TLS is no secret; an agent on this machine may have none. */
export function isSafe({ protocol, hostname, username, password }: URL): boolean {
  if (username !== "" || password !== "") return false;
  return protocol === "https:" || (protocol === "http:" && HERE.has(hostname));
}

/**
 * Asks once. Redirects are not followed: credentials belong to the address that was configured. Throws a KmsError if there
 * is no answer, or one that is too long.
 */
export async function ask({ url, method, headers, body = "", ca }: Asked): Promise<Answer> {
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const options = { method, headers, signal: AbortSignal.timeout(PATIENCE), agent: false } as const;
      // Also where NODE_TLS_REJECT_UNAUTHORIZED says otherwise.
      const tls = { rejectUnauthorized: true, ...(ca !== undefined && { ca }) };
      const request =
        url.protocol === "https:" ? tlsRequest(url, { ...options, ...tls }) : plainRequest(url, options);
      request.on("error", reject);
      request.on("response", (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on("data", (part: Buffer) => {
          length += part.length;
          if (length > LONGEST_ANSWER) response.destroy(new KmsError("its answer is too long"));
          else parts.push(part);
        });
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: parsed(Buffer.concat(parts)) }),
        );
      });
      request.end(body);
    });
  } catch (error) {
    throw new KmsError(`the request to ${url.host} failed: ${reasonOf(error)}`);
  }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof KmsError) return error.message;
  const { name, code, message } = error as NodeJS.ErrnoException;
  if (name === "AbortError" || name === "TimeoutError") return `no answer within ${PATIENCE / 1000} s`;
  return code ?? message;
}

/** What a service says of its error: short, and without what a terminal or a log would take for something else. */
export function said(text: unknown): string {
  return typeof text === "string" && text !== ""
    ? `: ${text.replaceAll(/[^\x20-\x7e]/g, " ").slice(0, 200)}`
    : "";
}

/** The bytes of a field in base64; throws a KmsError if there is none. */
export function bytesIn(value: unknown, what: string): Buffer {
  if (typeof value !== "string" || value === "" || !/^[A-Za-z0-9+/]+={0,2}$/.test(value))
    throw new KmsError(`its answer has no ${what}`);
  return Buffer.from(value, "base64");
}

/** A property of something that may be no object. */
export function fieldOf(value: unknown, ...names: readonly string[]): unknown {
  let found = value;
  for (const name of names)
    found =
      typeof found === "object" && found !== null && Object.hasOwn(found, name)
        ? (found as Record<string, unknown>)[name]
        : undefined;
  return found;
}
