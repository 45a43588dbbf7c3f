import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import type { Log } from "../../log.ts";
import { type Answer, plain } from "../answer.ts";
import type { Operations } from "../operations.ts";
import { ACTIONS, boundsOf } from "./actions.ts";
import { type Asset, readAssets } from "./assets.ts";
import { maySend } from "./console-roles.ts";
import type { Html } from "./html.ts";
import {
  Attempts,
  type ConsoleToken,
  isFormToken,
  ownerOf,
  stillHolds,
  type Visit,
  Visits,
} from "./log-in.ts";
import { AWAY, AWAY_SECONDS, type Oidc } from "./oidc.ts";
import { arrivedPage, logInPage } from "./pages/log-in.ts";
import { problemPage } from "./pages/problem.ts";
import { PAGES } from "./pages.ts";
import { certificateOf, cookieOf, isOurHost, isOurOrigin, readForm } from "./request.ts";
import { safeTarget } from "./routes.ts";

export interface ConsoleOptions {
  /** Those of now: they can be read again. */
  readonly tokens: () => readonly ConsoleToken[];
  /** Names under which browsers reach it, beside localhost and addresses. */
  readonly hosts: readonly string[];
  /** Undefined: nobody logs in by OpenID Connect. */
  readonly oidc?: Oidc | undefined;
  readonly operations: Operations;
  readonly log: Log;
  readonly now?: () => number;
}

/** Answers what is asked of `/console`. */
export type Console = (request: IncomingMessage, url: URL) => Promise<Answer>;

/** What every answer bears: only our own style sheet and script, in nobody's frame, kept by nobody. */
const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  // Not no-referrer: browsers would send "Origin: null" with forms.
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "x-frame-options": "DENY",
};

const COOKIE = "sluice_console";
/** Of a browser that is at the provider of --console-oidc. */
const AWAY_COOKIE = "sluice_console_oidc";

/** The web console: who is connected, who has read how much, what was refused; suspend and resume. */
export async function createConsole(options: ConsoleOptions): Promise<Console> {
  const now = options.now ?? Date.now;
  const parts: Parts = {
    ...options,
    visits: new Visits(now),
    attempts: new Attempts(now),
    assets: await readAssets(),
  };
  return async (request, url) => {
    const answer = await answerOf(request, url, parts);
    return { ...answer, headers: { ...HEADERS, ...answer.headers } };
  };
}

interface Parts extends ConsoleOptions {
  readonly visits: Visits;
  readonly attempts: Attempts;
  readonly assets: ReadonlyMap<string, Asset>;
}

async function answerOf(request: IncomingMessage, url: URL, parts: Parts): Promise<Answer> {
  const { oidc, hosts } = parts;
  if (!isOurHost(request, oidc === undefined ? hosts : [...hosts, oidc.host])) {
    return plain(
      421,
      "this name is not the console's: use an address, localhost, or name it in --console-hosts",
    );
  }
  const path = url.pathname;
  const asset = parts.assets.get(path);
  if (asset !== undefined) return { status: 200, ...asset };
  const secret = cookieOf(request, COOKIE);
  const why = request.headers["sluice-watch"] === undefined ? "use" : "watch";
  const certificate = certificateOf(request);
  const visit = visitOf(secret, why, certificate?.fingerprint, parts);
  if (request.method === "POST") return post(request, path, visit, parts);
  if (path === "/console/log-in") return seeOther("/console");
  if (parts.oidc !== undefined && request.method === "GET") {
    if (path === "/console/oidc/start") return depart(request, url, parts.oidc, parts);
    if (path === "/console/oidc") return arrive(request, url, parts.oidc, parts);
  }
  if (visit === undefined) return logInAgain(401, request, parts, safeTarget(url));
  const page = PAGES.get(path);
  if (page === undefined) return markup(404, problemPage(visit, "There is no such page."));
  const { operations } = parts;
  const notice = why === "use" ? takeNotice(visit) : undefined;
  return markup(200, await page({ visit, notice, operations, query: url.searchParams, now: Date.now() }));
}

/** Whose token was withdrawn is logged out. */
function visitOf(
  secret: string | undefined,
  why: "use" | "watch",
  fingerprint: string | undefined,
  { visits, tokens }: Parts,
): Visit | undefined {
  const visit = secret === undefined ? undefined : visits.find(secret, why, fingerprint);
  if (visit === undefined || secret === undefined || stillHolds(visit, tokens())) return visit;
  visits.end(secret);
  return undefined;
}

/** A link and no form, because browsers hold redirects of forms against `form-action`. */
async function depart(request: IncomingMessage, url: URL, oidc: Oidc, parts: Parts): Promise<Answer> {
  const to = safeTarget(url.searchParams.get("to") ?? "");
  const departure = await oidc.depart(to);
  if (departure === undefined) {
    return logInAgain(503, request, parts, to, AWAY);
  }
  const { location, cookie: journey } = departure;
  return seeOther(location, { "set-cookie": awayCookie(request, journey, AWAY_SECONDS) });
}

async function arrive(request: IncomingMessage, url: URL, oidc: Oidc, parts: Parts): Promise<Answer> {
  const client = addressOf(request);
  const arrival = await oidc.arrive(url.searchParams, cookieOf(request, AWAY_COOKIE));
  const gone = awayCookie(request, "", 0);
  if (!arrival.ok) {
    const { status, problem } = arrival;
    const answer = logInAgain(status, request, parts, "/console", problem);
    return { ...answer, headers: { ...answer.headers, "set-cookie": gone } };
  }
  const { owner, to } = arrival;
  parts.log.info({ client, ...owner }, "log-in at the console");
  // The provider's page sent the browser here: what it asks for next as part of that is sent without a strict cookie.
  const page = markup(200, arrivedPage(to));
  return { ...page, headers: { "set-cookie": [cookie(request, parts.visits.begin(owner)), gone] } };
}

async function post(
  request: IncomingMessage,
  path: string,
  visit: Visit | undefined,
  parts: Parts,
): Promise<Answer> {
  if (!isOurOrigin(request)) return plain(403, "this form was not sent from a page of the console");
  // Large forms are those of officers.
  const mayUpload = visit !== undefined && maySend(visit.role, path);
  const sent = await readForm(request, mayUpload ? boundsOf(path) : undefined);
  // What else is still on its way is not read.
  if (!("fields" in sent)) {
    const problem = sent.status === 413 ? "this is longer than the form may be" : "not a form of the console";
    return { ...plain(sent.status, problem), headers: { connection: "close" } };
  }
  const { fields: form, file } = sent;
  const address = addressOf(request);
  if (path === "/console/log-in") return logIn(request, form, address, parts);
  if (visit === undefined) {
    return logInAgain(401, request, parts, "/console", "Your login has ended. Nothing was done.");
  }
  if (!isFormToken(form.get("form_token") ?? "", visit)) {
    return markup(
      403,
      problemPage(visit, "This form belongs to another login. Nothing was done: try again."),
    );
  }
  if (path === "/console/log-out") {
    parts.visits.end(cookieOf(request, COOKIE) ?? "");
    return seeOther("/console", { "set-cookie": cookie(request, "", 0) });
  }
  const action = ACTIONS.get(path);
  if (action === undefined) return markup(404, problemPage(visit, "There is no such form."));
  if (!maySend(visit.role, path)) {
    return markup(403, problemPage(visit, `Your login (${visit.role}) may not do this. Nothing was done.`));
  }
  const outcome = await action({ visit, form, file, address, operations: parts.operations, now: Date.now() });
  if (outcome.kind === "page") return markup(outcome.status, outcome.page);
  if (outcome.kind === "file") {
    const { contentType, text, name } = outcome;
    return {
      status: 200,
      contentType,
      text,
      headers: { "content-disposition": `attachment; filename="${name}"` },
    };
  }
  visit.notice = outcome.notice;
  return seeOther(outcome.to);
}

function logIn(request: IncomingMessage, form: URLSearchParams, address: string, parts: Parts): Answer {
  const { attempts, tokens, visits, log } = parts;
  const to = safeTarget(form.get("to") ?? "");
  const certificate = certificateOf(request);
  if (form.get("with") === "certificate" && certificate !== undefined) {
    const by = `console (${certificate.name})`;
    log.info({ client: address, by, certificate: certificate.fingerprint }, "login at the console");
    const begun = visits.begin({ by, role: "officer" }, certificate.fingerprint);
    return seeOther(to, { "set-cookie": cookie(request, begun) });
  }
  const wait = attempts.wait(address);
  if (wait > 0) {
    const seconds = Math.ceil(wait / 1000);
    const problem = `Too many wrong tokens from your address. Try again in ${seconds} seconds.`;
    return { ...logInAgain(429, request, parts, to, problem), headers: { "retry-after": String(seconds) } };
  }
  const owner = ownerOf((form.get("token") ?? "").trim(), tokens());
  if (owner === undefined) {
    attempts.failed(address);
    log.warn({ client: address }, "wrong token at the console");
    return logInAgain(401, request, parts, to, "This is not the token.");
  }
  log.info({ client: address, by: owner.by, role: owner.role }, "login at the console");
  return seeOther(to, { "set-cookie": cookie(request, visits.begin(owner)) });
}

function logInAgain(
  status: number,
  request: IncomingMessage,
  { tokens, oidc }: Parts,
  to: string,
  problem?: string,
): Answer {
  const hasTokens = tokens().length > 0;
  return markup(
    status,
    logInPage({ to, problem, hasTokens, hasOidc: oidc !== undefined, owner: certificateOf(request)?.name }),
  );
}

/** Without Max-Age it is gone with the browser; what counts is what the server remembers. */
function cookie(request: IncomingMessage, secret: string, maxAge?: number): string {
  const parts = [`${COOKIE}=${secret}`, "Path=/console", "HttpOnly", "SameSite=Strict"];
  if (isSecure(request)) parts.push("Secure");
  if (maxAge !== undefined) parts.push(`Max-Age=${maxAge}`);
  return parts.join("; ");
}

/** Lax: it must be there when the provider sends the browser back. */
function awayCookie(request: IncomingMessage, journey: string, maxAge: number): string {
  const parts = [
    `${AWAY_COOKIE}=${journey}`,
    "Path=/console/oidc",
    "HttpOnly",
    "SameSite=Lax",
    `Max-Age=${maxAge}`,
  ];
  if (isSecure(request)) parts.push("Secure");
  return parts.join("; ");
}

/** Whoever makes this header up only keeps their own cookie from plain HTTP. */
function isSecure({ headers, socket }: IncomingMessage): boolean {
  return socket instanceof TLSSocket || headers["x-forwarded-proto"] === "https";
}

function takeNotice(visit: Visit): string | undefined {
  const { notice } = visit;
  visit.notice = undefined;
  return notice;
}

function addressOf({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/, "");
}

function markup(status: number, page: Html): Answer {
  return { status, contentType: "text/html; charset=utf-8", text: `<!doctype html>${page.text}` };
}

function seeOther(location: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { ...plain(303, location), headers: { location, ...headers } };
}
