import { readFileSync } from "node:fs";
import { type AuditLog, aroundLog } from "../audit/event.ts";
import { openFileLog } from "../audit/file-log.ts";
import { anchorsTo, type RedisStreams, redisSink } from "../audit/redis-places.ts";
import { otlpSink } from "../audit/sink-otlp.ts";
import { stdoutSink } from "../audit/sink-stdout.ts";
import { syslogSink } from "../audit/sink-syslog.ts";
import { type Sink, SinkBuffer, withBackPressure } from "../audit/sinks.ts";
import { connectRedis, parseRedisUrl } from "../fleet/redis-url.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Settings } from "../settings/settings.ts";

/** Opens the audit log, its sinks and the store of its anchors, as the settings say. */
export async function openAudit(
  settings: Settings,
  key: Buffer,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Log },
): Promise<AuditLog> {
  const anchors = settings.redis === undefined ? undefined : connectTo(settings, settings.redis, metrics);
  const opened = await Promise.all(
    settings.auditSink.map((name) => openSink(name, settings, { metrics, log })),
  );
  const sinks = opened
    .filter((sink) => sink !== undefined)
    .map(
      (sink) =>
        new SinkBuffer(sink, {
          log,
          onDropped: (name, lines) => metrics.auditSinkDropped(name, lines),
          onFailed: (name) => metrics.auditSinkFailed(name),
        }),
    );
  try {
    const files = await openFileLog({
      folder: settings.audit,
      key,
      log,
      onLost: (events) => metrics.auditLost(events),
      onLoss: settings.onAuditLoss,
      segmentBytes: settings.auditSegment,
      ...(settings.auditRetention === undefined ? {} : { retentionDays: settings.auditRetention }),
      ...(anchors === undefined ? {} : { anchor: anchorsTo(anchors, log) }),
      ...(sinks.length > 0 && {
        onDurable: (lines: readonly string[]) => {
          for (const sink of sinks) sink.offer(lines);
        },
      }),
    });
    const audit = withBackPressure(files, sinks, settings.auditSinkWait);
    return anchors === undefined ? audit : closingAlso(audit, () => anchors.disconnect());
  } catch (error) {
    await Promise.all(sinks.map((sink) => sink.close()));
    anchors?.disconnect();
    throw error;
  }
}

async function openSink(
  name: Settings["auditSink"][number],
  settings: Settings,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Log },
): Promise<Sink | undefined> {
  switch (name) {
    case "none":
      return undefined;
    case "stdout":
      return stdoutSink();
    case "redis":
      // The settings have been checked: without Redis they do not name this sink.
      return settings.redis === undefined
        ? undefined
        : redisSink(connectTo(settings, settings.redis, metrics), settings.auditStreamLength);
    case "syslog": {
      const { syslog, syslogCa } = settings;
      const ca = syslogCa === undefined ? {} : { ca: readFileSync(syslogCa, "utf8") };
      return syslog && syslogSink({ ...syslog, ...ca });
    }
    case "kafka": {
      const { kafka, kafkaCa, kafkaLogin: login, kafkaSasl: mechanism } = settings;
      if (kafka === undefined) return undefined;
      // The client's library is an eighth of all that a start loads.
      const { kafkaSink } = await import("../audit/sink-kafka.ts");
      return kafkaSink({
        ...kafka,
        ...(kafkaCa !== undefined && { ca: readFileSync(kafkaCa, "utf8") }),
        ...(login !== undefined && { login: { mechanism, ...login } }),
        onRefused: (lines, problem) => {
          log.error({ sink: "kafka", lines, problem }, "the brokers refuse audit events");
          metrics.auditSinkDropped("kafka", lines);
        },
      });
    }
    case "otlp": {
      const { otlp: url, otlpToken: token } = settings;
      if (url === undefined) return undefined;
      return otlpSink({
        ...{ url, ...(token !== undefined && { token }) },
        onRefused: (lines, problem) => {
          log.error({ sink: "otlp", lines, problem }, "the collector refuses audit events");
          metrics.auditSinkDropped("otlp", lines);
        },
      });
    }
  }
}

function connectTo({ commandTimeout }: Settings, url: string, metrics: Metrics): RedisStreams {
  const client = connectRedis(parseRedisUrl(url), { commandTimeout, observe: metrics.redis("audit") });
  // Callers get the errors of their own commands; an 'error' event without a listener would end the process.
  client.on("error", () => {});
  return client;
}

function closingAlso(audit: AuditLog, done: () => void): AuditLog {
  return aroundLog(audit, { close: () => audit.close().finally(done) });
}
