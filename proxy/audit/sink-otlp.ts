import { hostname } from "node:os";
import { version } from "../version.ts";
import { factsOf } from "./line-facts.ts";
import type { Sink } from "./sinks.ts";

export interface OtlpOptions {
  /** The collector's address for logs, as in http://collector:4318/v1/logs. */
  readonly url: string;
  /** Sent as a bearer token. */
  readonly token?: string;
  /** Told of lines that the collector does not want. */
  readonly onRefused: (lines: number, problem: string) => void;
  readonly patience?: number;
}

const PATIENCE = 5_000;
/** OpenTelemetry's numbers for OCSF's severities: INFO, INFO2, WARN, ERROR, FATAL. */
const SEVERITY = [9, 9, 10, 13, 17, 21];
const SEVERITY_TEXT = ["INFO", "INFO", "INFO2", "WARN", "ERROR", "FATAL"];
/** Worth another try (OTLP 1.5, "OTLP/HTTP Response", retryable response codes). */
const RETRYABLE = new Set([429, 502, 503, 504]);

/** OTLP over HTTP, with JSON (OpenTelemetry Protocol 1.5). */
export function otlpSink({ url, token, onRefused, patience = PATIENCE }: OtlpOptions): Sink {
  const closed = new AbortController();
  return {
    name: "otlp",
    async write(lines) {
      const response = await fetch(url, {
        method: "POST",
        body: requestOf(lines),
        headers: {
          "content-type": "application/json",
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
        // Who answers with another address could have events sent anywhere.
        redirect: "error",
        signal: AbortSignal.any([AbortSignal.timeout(patience), closed.signal]),
      });
      const { status, ok } = response;
      if (RETRYABLE.has(status) || (status >= 500 && status < 600)) {
        await response.body?.cancel();
        throw new Error(`status ${status}`);
      }
      const answer = await response.text();
      // The same lines would be refused again, and hold up all that come after.
      if (!ok) onRefused(lines.length, `status ${status}`);
      else {
        const rejected = rejectedIn(answer);
        if (rejected > 0) onRefused(rejected, "partial success");
      }
    },
    close: () => closed.abort(),
  };
}

const attribute = (key: string, value: string) => ({ key, value: { stringValue: value } });
const RESOURCE = {
  attributes: [
    attribute("service.name", "sluice"),
    attribute("service.version", version()),
    attribute("host.name", hostname()),
  ],
};
const SCOPE = { name: "sluice.audit", version: version() };

function requestOf(lines: readonly string[]): string {
  const logRecords = lines.map(recordOf);
  return JSON.stringify({
    resourceLogs: [{ resource: RESOURCE, scopeLogs: [{ scope: SCOPE, logRecords }] }],
  });
}

/** The body is the line as it is in the files: its holders can follow the chain. */
function recordOf(line: string) {
  const { time, kind, severity, trace } = factsOf(line);
  const nanoseconds = `${time}000000`;
  return {
    timeUnixNano: nanoseconds,
    observedTimeUnixNano: nanoseconds,
    severityNumber: SEVERITY[severity] ?? 9,
    severityText: SEVERITY_TEXT[severity] ?? "INFO",
    ...(kind !== "" && { eventName: `sluice.${kind.replaceAll(" ", "_")}` }),
    body: { stringValue: line.trimEnd() },
    ...(trace !== undefined && { traceId: trace.id, spanId: trace.span, flags: trace.flags }),
  };
}

/** How many the collector has refused, of those that it answered 200 to. */
function rejectedIn(answer: string): number {
  try {
    const { partialSuccess } = JSON.parse(answer) as {
      partialSuccess?: { rejectedLogRecords?: string | number };
    };
    return Number(partialSuccess?.rejectedLogRecords ?? 0);
  } catch {
    return 0;
  }
}
