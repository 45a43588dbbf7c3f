import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { findProgram } from "./debian.ts";
import { endTied, readyTied, spawnTied } from "./tied.ts";

export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface PrometheusServer {
  /** The current series of an expression; rejects with Prometheus' error if there is one. */
  query(expression: string): Promise<readonly Series[]>;
  stop(): Promise<void>;
}

export interface PrometheusOptions {
  /** `host:port` of each target to scrape as job "sluice". */
  readonly targets: readonly string[];
  /** Paths of rule files. */
  readonly rules: readonly string[];
}

/** Scrapes and evaluates this often, so that a test need not wait for the next time. */
const INTERVAL = "250ms";

/** Starts a Prometheus whose data is kept until it is stopped. */
export async function startPrometheus({ targets, rules }: PrometheusOptions): Promise<PrometheusServer> {
  const program = await findProgram("prometheus");
  const folder = await mkdtemp(join(tmpdir(), "sluice-prometheus-"));
  const config = {
    global: { scrape_interval: INTERVAL, scrape_timeout: INTERVAL, evaluation_interval: INTERVAL },
    rule_files: rules,
    scrape_configs: [{ job_name: "sluice", static_configs: [{ targets }] }],
  };
  // JSON is YAML.
  await writeFile(join(folder, "prometheus.yml"), JSON.stringify(config));
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawnTied(program, [
    `--config.file=${join(folder, "prometheus.yml")}`,
    `--storage.tsdb.path=${join(folder, "data")}`,
    `--web.listen-address=${address}`,
  ]);
  await readyTied(child, "Server is ready to receive web requests");
  return {
    async query(expression) {
      const response = await fetch(`http://${address}/api/v1/query`, {
        method: "POST",
        body: new URLSearchParams({ query: expression }),
      });
      const { data, error } = (await response.json()) as Answer;
      if (data === undefined) throw new Error(`${error}: ${expression}`);
      return data.result.map(({ metric, value: [, text] }) => ({ labels: metric, value: Number(text) }));
    },
    async stop() {
      await endTied(child, "SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Prometheus docs, "HTTP API": an instant vector. */
interface Answer {
  readonly data?: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
  readonly error?: string;
}
