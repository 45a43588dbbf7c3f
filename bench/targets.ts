import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { devNull } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { findServant } from "../proxy/embedded/binaries.ts";
import { freePort } from "../proxy/embedded/postgres.ts";
import { findProgram } from "../test/harness/debian.ts";
import { DATABASE, POLICY, USERS } from "./world.ts";

/** What a client is pointed at. */
export interface Target {
  readonly name: string;
  readonly uri: string;
  /** Its CPU time and memory are the proxy's. */
  readonly pid: number;
}

/** A proxy that runs. */
export interface RunningProxy {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Upstream {
  readonly port: number;
  /** A folder for settings and logs, to be removed by the caller. */
  readonly folder: string;
}

export interface SluiceOptions {
  /** Its compiled main.js. */
  readonly main: string;
  /** The superuser's URI of the server whose catalog is read. */
  readonly control: string;
  readonly redis: string;
  /** Text of its policy; the bench's own if left out. */
  readonly policy?: string;
  /** Further flags of `serve`. */
  readonly flags?: readonly string[];
  /** A folder for a CPU profile, written when it ends. */
  readonly profile?: string;
}

const HOST = "127.0.0.1";
/** More clients than any measurement opens. */
const MAX_CLIENTS = 6_000;

export function uriAt(port: number, user: string): string {
  return `postgresql://${user}@${HOST}:${port}/${DATABASE}`;
}

/** Session mode, unless so many connections are to be shared: then a client has its server connection to itself. */
export async function startPgBouncer(
  { port: upstream, folder }: Upstream,
  shared?: number,
): Promise<RunningProxy> {
  const port = await freePort();
  const [settings, users] = [
    join(folder, `pgbouncer-${port}.ini`),
    join(folder, `pgbouncer-users-${port}.txt`),
  ];
  await writeFile(users, USERS.map((user) => `"${user}" ""\n`).join(""));
  await writeFile(
    settings,
    `[databases]
* = host=${HOST} port=${upstream}
[pgbouncer]
listen_addr = ${HOST}
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = ${shared === undefined ? "session" : "transaction"}
server_reset_query =
max_client_conn = ${MAX_CLIENTS}
default_pool_size = ${shared ?? MAX_CLIENTS}
log_connections = 0
log_disconnections = 0
`,
  );
  const { path, environment } = await findProgram("pgbouncer");
  return started(await asServant(path, [settings], environment), port);
}

/** Its usual mode, streaming replication, with one server and without its checks of that server. */
export async function startPgpool(
  { port: upstream, folder }: Upstream,
  clients: number,
): Promise<RunningProxy> {
  const port = await freePort();
  const own = join(folder, `pgpool-${port}`);
  await mkdir(own);
  await chmod(own, 0o777);
  const settings = join(folder, `pgpool-${port}.conf`);
  await writeFile(
    settings,
    `listen_addresses = '${HOST}'
port = ${port}
pcp_port = ${await freePort()}
pcp_listen_addresses = ''
socket_dir = '${own}'
pcp_socket_dir = '${own}'
pid_file_name = '${own}/pid'
logdir = '${own}'
backend_clustering_mode = 'streaming_replication'
backend_hostname0 = '${HOST}'
backend_port0 = ${upstream}
backend_weight0 = 1
num_init_children = ${clients}
max_pool = 1
child_life_time = 0
sr_check_period = 0
health_check_period = 0
enable_pool_hba = off
pool_passwd = ''
log_min_messages = fatal
`,
  );
  const { path, environment } = await findProgram("pgpool");
  return started(await asServant(path, ["-n", "-f", settings], environment), port);
}

export async function startRelay({ port: upstream }: Upstream): Promise<RunningProxy> {
  const port = await freePort();
  const relay = fileURLToPath(new URL("./relay.js", import.meta.url));
  return started(tied(process.execPath, [relay, String(port), String(upstream)], {}), port);
}

/** See idle-server.ts. */
export async function startIdleServer(): Promise<RunningProxy> {
  const port = await freePort();
  const server = fileURLToPath(new URL("./idle-server.js", import.meta.url));
  return started(tied(process.execPath, [server, String(port)], {}), port);
}

/** Compiled, in a process of its own, with audit and counters in Redis as in earnest. */
export async function startSluice(
  { port: upstream, folder }: Upstream,
  options: SluiceOptions,
): Promise<RunningProxy> {
  const [port, admin] = [await freePort(), await freePort()];
  const policy = join(folder, `policy-${port}.yaml`);
  await writeFile(policy, options.policy ?? POLICY);
  const profiling = options.profile && ["--cpu-prof", "--cpu-prof-dir", options.profile];
  const child = tied(
    process.execPath,
    [
      ...(profiling ?? []),
      ...[options.main, "serve", "--config", devNull, "--log-level", "error"],
      ...["--listen", `${HOST}:${port}`, "--admin", `${HOST}:${admin}`, "--policy", policy],
      ...["--redis", options.redis, "--audit", join(folder, `audit-${port}`)],
      ...["--max-clients", String(MAX_CLIENTS), "--login-timeout", "300s", ...(options.flags ?? [])],
    ],
    {
      SLUICE_UPSTREAM: uriAt(upstream, "postgres"),
      SLUICE_CONTROL: options.control,
      SLUICE_KEY: randomBytes(32).toString("hex"),
    },
  );
  await untilReady(child, async () => (await fetch(`http://${HOST}:${admin}/readyz`)).ok);
  return started(child, port);
}

/** PgBouncer and Pgpool-II do not run as root. */
async function asServant(
  path: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  const servant = await findServant();
  const identity = servant && [`--reuid=${servant.uid}`, `--regid=${servant.gid}`, "--clear-groups"];
  return tied(path, args, environment, identity ?? []);
}

/** A child that ends when we do, however we end; `setpriv` becomes the program, so its pid is the program's. */
function tied(
  path: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  identity: readonly string[] = [],
): ChildProcess {
  const child = spawn("setpriv", ["--pdeathsig=KILL", ...identity, path, ...args], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "ignore", "pipe"],
  });
  // Some are talkative; what they said last is of interest when they end too early.
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    lastWords.set(child, `${lastWords.get(child) ?? ""}${text}`.slice(-2_000));
  });
  return child;
}

const lastWords = new WeakMap<ChildProcess, string>();

async function started(child: ChildProcess, port: number): Promise<RunningProxy> {
  await untilReady(child, () => canConnect(port));
  return {
    port,
    pid: child.pid ?? 0,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      await new Promise<void>((done) => {
        child.once("exit", () => done());
        child.kill("SIGINT");
      });
    },
  };
}

async function untilReady(child: ChildProcess, isReady: () => Promise<boolean>): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    if (await isReady().catch(() => false)) return;
    await setTimeout(50);
  }
  throw new Error(`${child.spawnargs.join(" ")} ended:\n${lastWords.get(child) ?? ""}`);
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    socket.once("connect", () => socket.destroy());
    socket.once("close", (failed) => resolve(!failed));
    socket.once("error", () => {});
  });
}
