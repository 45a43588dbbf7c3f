import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { TLSSocket } from "node:tls";
import { MIMEType } from "node:util";

/** Longer than any statement that people paste into a form. */
const LONGEST_FORM = 256 * 1024;

/**
 * Whether the browser was asked for us by a name that is ours. A page of somebody else's can have its own
 * name resolve to our address (DNS rebinding), and would then be of one origin with us; an address in place of
 * a name cannot be rebound.
 */
export function isOurHost({ headers }: IncomingMessage, names: readonly string[]): boolean {
  const name = hostName(headers.host ?? "");
  return name !== undefined && (name === "localhost" || isIP(name) !== 0 || names.includes(name));
}

/**
 * Whether a page of ours sent this. Browsers send Origin with each POST; what is no browser cannot be talked
 * into anything, but has no reason to leave it out.
 */
export function isOurOrigin({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  if (origin === undefined || host === undefined || !URL.canParse(origin)) return false;
  return new URL(origin).host === host.toLowerCase() && headers["sec-fetch-site"] !== "cross-site";
}

/** The owner of the certificate that the browser has shown. */
export interface Certificate {
  /** Its common name. */
  readonly name: string;
  readonly fingerprint: string;
}

/** Undefined where there is none, or none of --admin-tls-client-ca's, or one that names nobody. */
export function certificateOf({ socket }: IncomingMessage): Certificate | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const { subject, fingerprint256: fingerprint } = socket.getPeerCertificate();
  const { CN: name } = subject ?? {};
  // A certificate may have several; whose it is would be a guess.
  if (typeof name !== "string" || name === "" || !fingerprint) return undefined;
  return { name, fingerprint };
}

/** A form, as it was sent. */
export interface SentForm {
  readonly fields: URLSearchParams;
  /** The file that was chosen, and is not empty. */
  readonly file: Buffer | undefined;
}

/** What a form may be. */
export interface FormBounds {
  /** In bytes. */
  readonly longest: number;
  readonly takesFile: boolean;
}

const PLAIN: FormBounds = { longest: LONGEST_FORM, takesFile: false };

/** More than any form of the console has. The platform takes a tenth of a millisecond for each, in which no client is served. */
const MOST_FIELDS = 300;
/** In bytes: the head of one part of a form, with the names of its field and file. */
const LONGEST_HEAD = 2_000;
const END_OF_HEAD = Buffer.from("\r\n\r\n");

/** The status: what is wrong with it. */
export async function readForm(
  request: IncomingMessage,
  { longest, takesFile }: FormBounds = PLAIN,
): Promise<SentForm | { readonly status: 400 | 413 | 415 }> {
  const contentType = request.headers["content-type"] ?? "";
  const type = contentType.split(";")[0]?.trim().toLowerCase();
  const isMultipart = takesFile && type === "multipart/form-data";
  if (!isMultipart && type !== "application/x-www-form-urlencoded") return { status: 415 };
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > longest) return { status: 413 };
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (!(isMultipart ? hasFewParts(body, contentType) : hasFewFields(body))) return { status: 400 };
  if (!isMultipart) return { fields: new URLSearchParams(body.toString("utf8")), file: undefined };
  const form = await new Response(body, { headers: { "content-type": contentType } })
    .formData()
    // It is no such body, or not all of one (RFC 7578).
    .catch(() => undefined);
  if (form === undefined) return { status: 400 };
  const fields = new URLSearchParams();
  const files: Blob[] = [];
  for (const [name, value] of form) {
    if (typeof value === "string") fields.append(name, value);
    else if (value.size > 0) files.push(value);
  }
  const [file] = files;
  return { fields, file: file && Buffer.from(await file.arrayBuffer()) };
}

/** Whether its parts are few and their heads short, before the platform looks at each (RFC 7578). */
function hasFewParts(body: Buffer, contentType: string): boolean {
  const boundary = boundaryOf(contentType);
  if (boundary === undefined) return false;
  const delimiter = Buffer.from(`--${boundary}`);
  let parts = 0;
  for (let at = body.indexOf(delimiter); at !== -1; at = body.indexOf(delimiter, at + delimiter.length)) {
    const end = body.indexOf(END_OF_HEAD, at);
    if (++parts > MOST_FIELDS || (end === -1 ? body.length : end) - at > LONGEST_HEAD) return false;
  }
  return true;
}

function boundaryOf(contentType: string): string | undefined {
  try {
    return new MIMEType(contentType).params.get("boundary") ?? undefined;
  } catch {
    return undefined;
  }
}

function hasFewFields(body: Buffer): boolean {
  let fields = 1;
  for (let at = body.indexOf("&"); at !== -1; at = body.indexOf("&", at + 1))
    if (++fields > MOST_FIELDS) return false;
  return true;
}

export function cookieOf({ headers }: IncomingMessage, name: string): string | undefined {
  for (const pair of (headers.cookie ?? "").split(";")) {
    const [key, value] = pair.trim().split("=", 2);
    if (key === name) return value;
  }
  return undefined;
}

/** Without port and brackets, in lower case. */
function hostName(host: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+?)\.?)(?::\d{1,5})?$/.exec(host.toLowerCase());
  return match?.[1] ?? match?.[2];
}
