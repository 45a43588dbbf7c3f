import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { type ProgramOptions, runSluice } from "../../test/harness/program.ts";
import { ROWS, SCHEMA, TOKEN_COLUMNS, tokenPolicy } from "./desk.ts";

export interface TokenDesk {
  readonly port: number;
  renew(): Promise<void>;
  clearValues(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** A desk that holds tokens, and a proxy with their keys in front of it. */
export async function startTokenDesk(
  main: string,
  options: Omit<ProgramOptions, "policy">,
  folder: string,
): Promise<TokenDesk> {
  const secret = Buffer.alloc(32, 7);
  const canary = canaryToken(new Sealer({ active: 1, secrets: new Map([[1, secret]]) }));
  const [ring, policyFile] = [join(folder, "tokens.keys"), join(folder, "tokens.yaml")];
  const policy = tokenPolicy(canary);
  await writeFile(ring, `1 ${secret.toString("hex")}\n`, { mode: 0o600 });
  await writeFile(policyFile, policy);
  const desk = new pg.Client({ connectionString: options.upstream });
  await desk.connect();
  await desk.query(SCHEMA);
  const proxy = await runSluice(main, { ...options, policy, flags: ["--token-keys-file", ring] });
  const migrate = async (column: string) => {
    let [said, output] = ["", ""];
    const status = await tokensColumn(
      "migrate",
      [column, "--policy", policyFile, "--upstream", options.upstream, "--token-keys-file", ring],
      {},
      { output: { write: (text) => (output += text) }, errors: { write: (text) => (said += text) } },
    );
    if (status !== 0) throw new Error(`${column} was not migrated: ${said}${output}`);
  };
  return {
    port: proxy.port,
    async renew() {
      await desk.query(ROWS);
      for (const column of TOKEN_COLUMNS) await migrate(column);
    },
    async clearValues() {
      const found: string[] = [];
      for (const column of TOKEN_COLUMNS) {
        const [schema, table, name] = column.split(".");
        const { rows } = await desk.query<{ value: string }>(
          `SELECT ${name} AS value FROM ${schema}.${table} WHERE ${name} NOT LIKE 'slt1\\_%'`,
        );
        found.push(...rows.map(({ value }) => `${column}: ${value}`));
      }
      return found;
    },
    async close() {
      await desk.end();
      await proxy.close();
    },
  };
}
