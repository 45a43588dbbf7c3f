import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface ProgramOptions {
  readonly policy: string;
  readonly upstream: string;
  readonly redis: string;
  /** The fleet's secret. */
  readonly key: string;
  readonly flags?: readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
}

export interface RunningProgram {
  readonly port: number;
  readonly adminUrl: string;
  readonly auditFolder: string;
  readonly policyFile: string;
  /** Lines of its log, as they arrive. */
  readonly log: readonly { readonly msg: string; readonly pid: number }[];
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
  /** Its exit status, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** The sum of a metric's series whose labels contain this text. */
  metric(name: string, labels?: string): Promise<number>;
  close(): Promise<void>;
}

type LogLine = RunningProgram["log"][number] & { readonly listen?: string; readonly admin?: string };

/** `sluice serve` as a process; it ends when this process does, however that ends. */
export async function runSluice(main: string, options: ProgramOptions): Promise<RunningProgram> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-program-"));
  const policyFile = join(folder, "policy.yaml");
  const auditFolder = join(folder, "audit");
  await writeFile(policyFile, options.policy);
  const args = [
    ...["serve", "--config", devNull, "--drain-timeout", "2s", "--command-timeout", "2s"],
    ...["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
    ...["--policy", policyFile, "--audit", auditFolder, "--redis", options.redis],
    ...(options.flags ?? []),
  ];
  const own = { SLUICE_UPSTREAM: options.upstream, SLUICE_KEY: options.key };
  const env = { ...process.env, ...own, ...options.variables };
  const command = process.platform === "linux" ? ["setpriv", "--pdeathsig=KILL"] : [];
  const [program = "", ...before] = [...command, process.execPath];
  const child = spawn(program, [...before, main, ...args], { env, stdio: ["ignore", "inherit", "pipe"] });
  const ended = once(child, "exit").then(([status, signal]) => (signal ?? status) as number | string);
  const log: LogLine[] = [];
  const serving = await readUntilServing(child, log);
  const adminUrl = `http://${serving.admin}`;
  return {
    port: Number(serving.listen?.split(":").at(-1)),
    adminUrl,
    auditFolder,
    policyFile,
    log,
    pid: child.pid ?? 0,
    signal: (signal) => void child.kill(signal),
    ended,
    async metric(name, labels = "") {
      const text = await (await fetch(`${adminUrl}/metrics`)).text();
      return text
        .split("\n")
        .filter((line) => line.startsWith(name) && /^[ {]/.test(line.slice(name.length)))
        .filter((line) => line.includes(labels))
        .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
    },
    async close() {
      child.kill("SIGTERM");
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Rejects if the start fails, with the program's output. */
function readUntilServing(child: ChildProcess, log: LogLine[]): Promise<LogLine> {
  return new Promise((resolve, reject) => {
    const plain: string[] = [];
    if (child.stderr === null) throw new Error("no standard error");
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (!line.startsWith("{")) {
        plain.push(line);
        return;
      }
      const entry = JSON.parse(line) as LogLine;
      log.push(entry);
      if (entry.msg === "serving") resolve(entry);
    });
    child.once("close", (status) => reject(new Error([`status ${status}`, ...plain].join("\n"))));
  });
}
