import { randomBytes } from "node:crypto";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { compose, type Running, type Threads } from "../../proxy/app/compose.ts";
import { createLog, type LogLevel } from "../../proxy/log.ts";
import { readSettings } from "../../proxy/settings/settings.ts";

export interface SluiceOptions {
  /** The policy's text. */
  readonly policy: string;
  /** The server's URI, with the user who reads the catalog. */
  readonly upstream: string;
  /** The start waits for it unless `redisIsAway`: statements that must be counted are refused without it. */
  readonly redis?: string;
  readonly redisIsAway?: true;
  /** Additional flags of `sluice serve`. */
  readonly flags?: readonly string[];
  /** Settings without a flag, as environment variables. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Of the compiled program (program.ts): threads cannot run from the sources. */
  readonly threads?: Threads;
  /** "info" if absent. */
  readonly logLevel?: LogLevel;
}

export interface TestSluice {
  readonly host: string;
  readonly port: number;
  /** All addresses that it listens on: the first is that of `port`. */
  readonly addresses: Running["addresses"];
  readonly adminUrl: string;
  readonly auditFolder: string;
  /** Its log, one object per line. */
  readonly log: readonly LogLine[];
  /** The same lines, byte for byte. */
  readonly lines: readonly string[];
  /** A client's URI for this user of the same database. */
  uriFor(user: string, password?: string): string;
  /** The number of clients that have logged in. */
  sessions(): number;
  /** The sum of a metric's series whose labels contain this text. */
  metric(name: string, labels?: string): Promise<number>;
  /** Writes another policy and reloads it. */
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

/** Sluice itself refused to start. */
export class NotStarted extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

const HOST = "127.0.0.1";
/** On an overloaded machine a slow Redis must not count as unreachable. */
const COMMAND_TIMEOUT = "2s";

/** Starts a complete Sluice, composed as `sluice serve` does it, on free local ports. */
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
  const composed = await compose(
    read.settings,
    log,
    undefined,
    () => readSettings(argv, env),
    options.threads,
  );
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
  const { addresses } = running;
  const [{ port }] = addresses;
  const adminUrl = `http://${HOST}:${running.admin.port}`;
  return {
    host: HOST,
    port,
    addresses,
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
      // In one step: whoever watches the file must not read half of it, which is a policy that is rejected.
      await writeFile(`${policyFile}.draft`, text);
      await rename(`${policyFile}.draft`, policyFile);
      await running.reload();
    },
    reload: () => running.reload(),
    async close() {
      await running.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
