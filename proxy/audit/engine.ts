import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";

/** DuckDB in memory: what does not fit goes to the folder for temporary files. */
export async function openEngine(): Promise<DuckDBConnection> {
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
  };
  return (await engine.DuckDBInstance.create(":memory:", settings)).connect();
}
