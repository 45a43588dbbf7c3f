import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
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
  /** Undefined: nobody may log in, as there is no token. */
  readonly console?: Console | undefined;
  readonly log: Log;
}

export interface Admin {
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

const CONSOLE_IS_OFF = `the console is off: give it a token of 24 characters or more, in a file that only its owner
can read (--console-token-file) or in SLUICE_CONSOLE_TOKEN; openssl rand -hex 24 makes one`;

/** Serves `/metrics`, `/healthz`, `/livez`, `/readyz` and the console. Rejects when the address cannot be listened on. */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  // A few short GETs from machines: what is larger or slower than that is none of ours.
  const server = createServer(
    { maxHeaderSize: 8 * 1024, headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 30_000 },
    (request, response) => {
      answer(options, request)
        .catch((error: unknown) => {
          options.log.error({ problem: error instanceof Error ? error.message : "unknown" }, "admin request");
          return plain(500, "internal error");
        })
        .then((result) => send(request, response, result));
    },
  );
  server.maxConnections = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.listen.port, options.listen.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => options.log.error({ problem: error.message }, "admin listener"));
  const { address, port } = server.address() as AddressInfo;
  return {
    address: { host: address, port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
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
