import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { compose, type Running } from "../../proxy/commands/compose.ts";
import { createLog, type LogLevel } from "../../proxy/log.ts";
import { readSettings } from "../../proxy/settings.ts";

export interface SluiceOptions {
  /** The policy's text. */
  readonly policy: string;
  /** The server's URI, of the user who reads the catalog. */
  readonly upstream: string;
  /** It is waited for, unless `redisIsAway`: what a start would have counted without it is refused. */
  readonly redis?: string;
  readonly redisIsAway?: true;
  /** Further flags of `sluice serve`. */
  readonly flags?: readonly string[];
  /** Settings that have no flag, as variables. */
  readonly variables?: Readonly<Record<string, string>>;
  /** "info" if left out. */
  readonly logLevel?: LogLevel;
}

export interface TestSluice {
  readonly host: string;
  readonly port: number;
  readonly adminUrl: string;
  readonly auditFolder: string;
  /** What it logged, one object a line. */
  readonly log: readonly LogLine[];
  /** The same, byte for byte. */
  readonly lines: readonly string[];
  /** Where a client connects: the same database, this user. */
  uriFor(user: string, password?: string): string;
  /** Clients past log-in. */
  sessions(): number;
  /** The sum of a metric's series whose labels contain this text. */
  metric(name: string, labels?: string): Promise<number>;
  /** Writes another policy, and has it read. */
  setPolicy(text: string): Promise<void>;
  reload(): Promise<void>;
  readonly policyFile: string;
  close(): Promise<void>;
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly problem?: string;
}

/** A start that Sluice itself refused. */
export class NotStarted extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

const HOST = "127.0.0.1";
/** A Redis that is only slow, on a machine with too much to do, is none that is away. */
const COMMAND_TIMEOUT = "2s";

/** A whole Sluice, as `sluice serve` puts it together, on free ports of this machine. */
export async function startSluice(options: SluiceOptions): Promise<TestSluice> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-serve-"));
  const policyFile = join(folder, "policy.yaml");
  const auditFolder = join(folder, "audit");
  const lines: string[] = [];
  try {
    await writeFile(policyFile, options.policy);
    const running = await serve(options, policyFile, auditFolder, lines);
    if (options.redis !== undefined && !options.redisIsAway) await countersOf(running);
    return testSluice(running, { folder, policyFile, auditFolder, lines, upstream: options.upstream });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function serve(
  options: SluiceOptions,
  policyFile: string,
  auditFolder: string,
  lines: string[],
): Promise<Running> {
  const argv = [
    ...["--config", devNull, "--drain-timeout", "1s", "--listen", `${HOST}:0`, "--admin", `${HOST}:0`],
    ...["--policy", policyFile, "--audit", auditFolder, "--command-timeout", COMMAND_TIMEOUT],
    ...(options.redis === undefined ? [] : ["--redis", options.redis]),
    ...(options.flags ?? []),
  ];
  const env = {
    SLUICE_UPSTREAM: options.upstream,
    SLUICE_KEY: randomBytes(32).toString("hex"),
    ...options.variables,
  };
  const read = readSettings(argv, env);
  if (!read.ok) throw new NotStarted(read.problems);
  const to = { write: (line: string) => void lines.push(line) };
  const log = createLog({ level: options.logLevel ?? "info", to });
  const composed = await compose(read.settings, log, undefined, () => readSettings(argv, env));
  if (!composed.ok) throw new NotStarted(composed.problems);
  return composed.running;
}

async function countersOf({ admin }: Running): Promise<void> {
  const isAway = async () =>
    (await (await fetch(`http://${HOST}:${admin.port}/readyz`)).text()).includes("the counters");
  while (await isAway()) await setTimeout(10);
}

interface Places {
  readonly folder: string;
  readonly policyFile: string;
  readonly auditFolder: string;
  readonly lines: readonly string[];
  readonly upstream: string;
}

function testSluice(running: Running, places: Places): TestSluice {
  const { folder, policyFile, auditFolder, lines, upstream } = places;
  const { port } = running.address;
  const adminUrl = `http://${HOST}:${running.admin.port}`;
  return {
    host: HOST,
    port,
    adminUrl,
    auditFolder,
    policyFile,
    get log() {
      return lines.map((line) => JSON.parse(line) as LogLine);
    },
    lines,
    uriFor(user, password = "") {
      const url = new URL(upstream);
      url.username = encodeURIComponent(user);
      url.password = encodeURIComponent(password);
      url.port = String(port);
      return url.href;
    },
    sessions: () => running.sessions(),
    async metric(name, labels = "") {
      const text = await (await fetch(`${adminUrl}/metrics`)).text();
      return text
        .split("\n")
        .filter((line) => line.startsWith(name) && /^[ {]/.test(line.slice(name.length)))
        .filter((line) => line.includes(labels))
        .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
    },
    async setPolicy(text) {
      await writeFile(policyFile, text);
      await running.reload();
    },
    reload: () => running.reload(),
    async close() {
      await running.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
