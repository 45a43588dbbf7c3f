import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";

/**
 * What a question may use of the machine. "command": a command asks, and has it for itself. "console": a proxy asks beside
 * its clients.
 */
export type EngineShare = "command" | "console";

const CONSOLE_MEMORY = "1GB";

/** DuckDB in memory: what does not fit goes to the folder for temporary files. */
export async function openEngine(share: EngineShare = "command"): Promise<DuckDBConnection> {
  const engine = await import("@duckdb/node-api").catch(() => undefined);
  if (engine === undefined) {
    throw new Error(
      "asking the log needs the package @duckdb/node-api, which was left out of this installation",
    );
  }
  const settings = {
    temp_directory: join(tmpdir(), `sluice-duckdb-${process.pid}`),
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    ...(share === "console" && {
      memory_limit: CONSOLE_MEMORY,
      threads: String(Math.max(1, Math.floor(availableParallelism() / 2))),
    }),
  };
  return (await engine.DuckDBInstance.create(":memory:", settings)).connect();
}

/** The answer took longer than the asker was given. */
export class TooSlow extends Error {}

/** Interrupts what the engine does after so many milliseconds, and then throws `TooSlow`. */
export async function within<T>(
  connection: Pick<DuckDBConnection, "interrupt">,
  milliseconds: number,
  work: () => Promise<T>,
): Promise<T> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    connection.interrupt();
  }, milliseconds);
  try {
    return await work();
  } catch (error) {
    throw isLate ? new TooSlow("the log took too long to answer") : error;
  } finally {
    clearTimeout(timer);
  }
}
