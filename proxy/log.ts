import { type DestinationStream, destination, type Logger, type LoggerOptions, pino } from "pino";

/** The operator's log: one JSON line an event. What was decided about statements goes to the audit log instead. */
export type Log = Logger;

export type LogLevel = "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";

/** What no line may show, at the top of a line's object or up to two levels below. */
const SECRET_NAMES = ["password", "passphrase", "secret", "key", "token", "authorization", "credentials"];
const SECRET_PATHS = SECRET_NAMES.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

/** A log of JSON lines to standard error; tests and other sinks give a `to`. */
export function createLog(options: { readonly level: LogLevel; readonly to?: DestinationStream }): Log {
  const settings: LoggerOptions = {
    level: options.level,
    base: { pid: process.pid },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRET_PATHS, censor: "[redacted]" },
  };
  // Synchronous: the line about a crash must be out before the crash.
  return pino(settings, options.to ?? destination({ dest: 2, sync: true }));
}
