import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";

/** Whether clients may be sent here, and if not, why not: short words without secrets or data. */
export interface Readiness {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Pick<Metrics, "exposition">;
  ready(): Readiness | Promise<Readiness>;
  readonly log: Log;
}

export interface Admin {
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

const PLAIN = "text/plain; charset=utf-8";

/** Serves `/metrics`, `/healthz`, `/livez` and `/readyz`. Rejects when the address cannot be listened on. */
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
  if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET and HEAD");
  const [path] = (request.url ?? "").split("?", 1);
  switch (path) {
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

function plain(status: number, text: string): Answer {
  return { status, contentType: PLAIN, text: `${text}\n` };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, contentType, text }: Answer,
): void {
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(status === 405 ? { allow: "GET, HEAD" } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : text);
}
