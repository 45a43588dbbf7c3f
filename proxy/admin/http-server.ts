import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { readTlsFiles, type TlsFiles } from "../wire/tls.ts";
import { type Answer, plain } from "./answer.ts";
import type { Console } from "./console/console.ts";

/** Whether clients may be sent here, and if not, why not: short words without secrets or data. */
export interface Readiness {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Pick<Metrics, "exposition">;
  ready(): Readiness | Promise<Readiness>;
  /** Undefined: plain HTTP. A certificate is asked for if there is a `clientCa`, and never demanded. */
  readonly tls?: TlsFiles | undefined;
  /** Undefined: nobody may log in, as there is neither token nor CA. */
  readonly console?: Console | undefined;
  readonly log: Log;
}

export interface Admin {
  readonly address: { readonly host: string; readonly port: number };
  /** Reads the TLS files again; bad ones are logged, and the last ones stay. */
  reload(): void;
  close(): Promise<void>;
}

// A few short GETs from machines, and an officer's forms: what is larger or slower than that is none of ours.
const LIMITS = {
  maxHeaderSize: 8 * 1024,
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 30_000,
} as const;
/** As `requestCert` has it: metrics and health are for those without one, too. */
const TLS = { minVersion: "TLSv1.2", rejectUnauthorized: false, handshakeTimeout: 5_000 } as const;

const CONSOLE_IS_OFF = `the console is off: give it a token of 24 characters or more, in a file that only its owner
can read (--console-token-file) or in SLUICE_CONSOLE_TOKEN; openssl rand -hex 24 makes one. Or let officers log in by
certificate (--admin-tls-client-ca) or by OpenID Connect (--console-oidc)`;

/** Serves `/metrics`, `/healthz`, `/livez`, `/readyz` and the console. Rejects when the address cannot be listened on. */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const { tls, log } = options;
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    answer(options, request)
      .catch((error: unknown) => {
        log.error({ problem: error instanceof Error ? error.message : "unknown" }, "admin request");
        return plain(500, "internal error");
      })
      .then((result) => send(request, response, result));
  };
  const { server, reload } =
    tls === undefined
      ? { server: createServer(LIMITS, listener), reload: () => {} }
      : secured(tls, listener, log);
  server.maxConnections = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.listen.port, options.listen.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => log.error({ problem: error.message }, "admin listener"));
  const { address, port } = server.address() as AddressInfo;
  return {
    address: { host: address, port },
    reload,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function secured(
  files: TlsFiles,
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  log: Log,
): { readonly server: Server; readonly reload: () => void } {
  const requestCert = files.clientCa !== undefined;
  const server = createTlsServer({ ...LIMITS, ...TLS, ...readTlsFiles(files), requestCert }, listener);
  const reload = () => {
    try {
      server.setSecureContext({ ...readTlsFiles(files), minVersion: TLS.minVersion });
    } catch (error) {
      log.error({ err: error }, "the TLS files of --admin are not good; the last ones stay in force");
    }
  };
  return { server, reload };
}

async function answer(options: AdminOptions, request: IncomingMessage): Promise<Answer> {
  const { method = "", url = "" } = request;
  const [path = ""] = url.split("?", 1);
  if (path === "/console" || path.startsWith("/console/")) return askConsole(options, request);
  if (method !== "GET" && method !== "HEAD") return plain(405, "only GET and HEAD");
  switch (path) {
    case "/":
      return { ...plain(303, "/console"), headers: { location: "/console" } };
    case "/metrics":
      return { status: 200, ...(await options.metrics.exposition()) };
    case "/healthz":
    case "/livez":
      return plain(200, "ok");
    case "/readyz": {
      const { ok, reasons } = await options.ready();
      return ok ? plain(200, "ok") : plain(503, reasons.join("\n"));
    }
    default:
      return plain(404, "not found");
  }
}

async function askConsole({ console }: AdminOptions, request: IncomingMessage): Promise<Answer> {
  const { method = "", url = "" } = request;
  if (!["GET", "HEAD", "POST"].includes(method)) return plain(405, "only GET, HEAD and POST");
  if (console === undefined) return plain(404, CONSOLE_IS_OFF);
  const base = "http://admin.invalid";
  return URL.canParse(url, base) ? console(request, new URL(url, base)) : plain(400, "not an address");
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, contentType, text, headers }: Answer,
): void {
  response.writeHead(status, {
    ...headers,
    "content-type": contentType,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(status === 405 ? { allow: "GET, HEAD" } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : text);
}
