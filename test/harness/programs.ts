import { spawn } from "node:child_process";
import { findProgram, type ProgramName } from "./debian.ts";

export interface ProgramOptions {
  /** Passed to libpq programs in the environment, so that a password is not in the process list. */
  readonly uri?: string;
  /** Its standard input. */
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Milliseconds after which it is killed; 60 seconds if absent. */
  readonly timeout?: number;
}

export interface ProgramResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Undefined if a signal ended it. */
  readonly code: number | undefined;
}

/** Runs a program from the PATH or from Debian's packages to its end. */
export async function runProgram(
  name: ProgramName,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const { path, environment } = await findProgram(name);
  const child = spawn(path, args, {
    env: {
      ...process.env,
      LC_ALL: "C.UTF-8",
      ...environment,
      ...libpqVariables(options.uri),
      ...options.environment,
    },
    timeout: options.timeout ?? 60_000,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  // It may end without reading its input.
  child.stdin.on("error", () => undefined).end(options.input ?? "");
  const code = await new Promise<number | null>((done, fail) =>
    child.once("error", fail).once("close", done),
  );
  return { stdout, stderr, code: code ?? undefined };
}

/** psql without the user's own psqlrc. */
export function psql(args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  return runProgram("psql", ["--no-psqlrc", ...args], options);
}

export function pgbench(args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  return runProgram("pgbench", args, options);
}

export function pgDump(args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  return runProgram("pg_dump", args, options);
}

/** Postgres docs, "Environment Variables" of libpq. */
function libpqVariables(uri: string | undefined): Record<string, string> {
  if (uri === undefined) return {};
  const url = new URL(uri);
  return {
    PGHOST: url.hostname.replace(/^\[|\]$/g, ""),
    PGPORT: url.port || "5432",
    PGUSER: decodeURIComponent(url.username),
    PGPASSWORD: decodeURIComponent(url.password),
    PGDATABASE: decodeURIComponent(url.pathname.slice(1)),
    ...(url.searchParams.get("sslmode") && { PGSSLMODE: url.searchParams.get("sslmode") ?? "" }),
  };
}
