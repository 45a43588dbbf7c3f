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
    serializers: { err: describeError },
    redact: { paths: SECRET_PATHS, censor: "[redacted]" },
  };
  // Synchronous: the line about a crash must be out before the crash.
  return pino(settings, options.to ?? destination({ dest: 2, sync: true }));
}

/**
 * Of an error no more than says what happened and where: drivers hang on theirs what they were about to send (a
 * command with its password) and what the server said (a row's values).
 */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error };
  const { name, message, stack, code } = error as NodeJS.ErrnoException;
  const frames = stack?.split("\n").filter((line) => /^\s+at /.test(line));
  return {
    type: name,
    message,
    ...(code !== undefined && { code }),
    ...(frames && { stack: frames.join("\n") }),
  };
}
