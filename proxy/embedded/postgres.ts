import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { access, chown, lstat, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { canEnter, findServant, npmBinaries, type Servant } from "./binaries.ts";

export interface PostgresOptions {
  /** Created with initdb if it does not exist, otherwise reused. */
  readonly dataFolder: string;
  /** A free port if absent. */
  readonly port?: number;
  readonly superuser: string;
  readonly password?: string;
  /** As in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How clients log in; if absent, scram-sha-256 with a password and trust without one. */
  readonly auth?: "trust" | "scram-sha-256";
  /** Lines of pg_hba.conf in place of initdb's; they override `auth`. */
  readonly hba?: readonly string[];
  /** Folder of `postgres` and `initdb`; the one from npm if absent. */
  readonly binaries?: string;
  /** Additional environment variables of the server. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface RunningPostgres {
  readonly port: number;
  /** The superuser's URI of the database `postgres`. */
  readonly uri: string;
  readonly superuser: string;
  /** Where the data is: another folder than requested if the server's own user could not reach that one. */
  readonly dataFolder: string;
  /** The process id of the server. */
  readonly pid: number;
  /** Fast shutdown: open sessions end. */
  stop(): Promise<void>;
}

/** How to run a server process: as which user, from which folder. */
interface Launch {
  readonly binaries: string;
  readonly servant: Servant | undefined;
  readonly environment: NodeJS.ProcessEnv;
  readonly setpriv: string | undefined;
}

/** Starts a real Postgres on 127.0.0.1, also as root, and waits until it accepts connections. */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const servant = await findServant();
  const launch: Launch = {
    binaries: options.binaries ?? (await npmBinaries(servant)),
    servant,
    environment: { PATH: process.env.PATH, LC_ALL: LOCALE, HOME: tmpdir(), ...options.environment },
    setpriv: await onPath("setpriv"),
  };
  const dataFolder = await reachable(options.dataFolder, servant);
  if (!(await exists(join(dataFolder, "PG_VERSION")))) await initialise(dataFolder, options, launch);
  if (options.hba !== undefined)
    await writeFile(join(dataFolder, "pg_hba.conf"), `${options.hba.join("\n")}\n`);
  const { port, server } = await listen(dataFolder, options, launch);
  const credentials =
    options.password === undefined
      ? encodeURIComponent(options.superuser)
      : `${encodeURIComponent(options.superuser)}:${encodeURIComponent(options.password)}`;
  return {
    port,
    uri: `postgresql://${credentials}@127.0.0.1:${port}/postgres`,
    superuser: options.superuser,
    dataFolder,
    pid: server.pid ?? 0,
    stop: () => stop(server),
  };
}

/** Ports that were handed out and may be listened on later. */
const given = new Set<number>();

/** A TCP port on 127.0.0.1 that is free at this moment; a different one each time. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const port = randomInt(LOWEST_PORT, LOWEST_EPHEMERAL_PORT);
    if (given.has(port)) continue;
    given.add(port);
    try {
      await tryPort(port);
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || attempt === 100) throw error;
    }
  }
}

const LOWEST_PORT = 20_000;
/**
 * From this port on Linux assigns ports to outgoing connections (ip(7), ip_local_port_range): one of them could take a
 * server's port while the server is down.
 */
const LOWEST_EPHEMERAL_PORT = 32_768;

function tryPort(port: number): Promise<void> {
  return new Promise((done, fail) => {
    const server = createServer().once("error", fail);
    server.listen(port, "127.0.0.1", () => server.close(() => done()));
  });
}

/** The locale of the data and of messages: it must know letters beyond ASCII, for upper() and similar functions. */
const LOCALE = process.platform === "linux" ? "C.UTF-8" : "en_US.UTF-8";

async function initialise(folder: string, options: PostgresOptions, launch: Launch): Promise<void> {
  // Renamed when complete, so that a run that was killed half-way leaves nothing that looks like data.
  const fresh = `${folder}.${randomBytes(4).toString("hex")}`;
  const secrets = await mkdtemp(join(tmpdir(), "sluice-init-"));
  const passwordFile = join(secrets, "password");
  try {
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(fresh, { mode: 0o700 });
    await writeFile(passwordFile, `${options.password ?? ""}\n`, { mode: 0o600 });
    await handOver([secrets, passwordFile, fresh], launch.servant);
    const auth = options.auth ?? (options.password === undefined ? "trust" : "scram-sha-256");
    const password = options.password === undefined ? [] : [`--pwfile=${passwordFile}`];
    await finished(
      run(launch, "initdb", [
        ...["-D", fresh, "-U", options.superuser, "-A", auth, "-E", "UTF8", `--locale=${LOCALE}`],
        // initdb of Postgres 13 has no --no-instructions; its output is not read.
        ...["--no-sync", ...password],
      ]),
    );
    await rename(fresh, folder);
  } finally {
    await rm(secrets, { recursive: true, force: true });
    await rm(fresh, { recursive: true, force: true });
  }
}

async function listen(
  folder: string,
  options: PostgresOptions,
  launch: Launch,
): Promise<{ readonly port: number; readonly server: ChildProcess }> {
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    ...options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const server = run(launch, "postgres", ["-D", folder, "-p", String(port), ...flags]);
    try {
      await ready(server);
      return { port, server };
    } catch (error) {
      // Another process took the port between the check and the start.
      const taken = error instanceof Error && error.message.includes("Address already in use");
      if (!taken || options.port !== undefined || attempt === 3) throw error;
    }
  }
}

/**
 * The server must not outlive us, however we end: the kernel signals it (prctl(2), PR_SET_PDEATHSIG). It has a process
 * group of its own, so that Ctrl-C reaches only us and we choose what stops first.
 */
function run(
  { binaries, servant, environment, setpriv }: Launch,
  name: string,
  args: readonly string[],
): ChildProcess {
  const program = join(binaries, name);
  const common: SpawnOptions = {
    env: environment,
    cwd: "/",
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  };
  if (setpriv !== undefined) {
    const identity = servant && [`--reuid=${servant.uid}`, `--regid=${servant.gid}`, "--clear-groups"];
    return spawn(setpriv, ["--pdeathsig=INT", ...(identity ?? []), program, ...args], common);
  }
  const child = spawn(program, args, { ...common, ...servant });
  const end = () => child.kill("SIGINT");
  process.once("exit", end);
  child.once("exit", () => process.off("exit", end));
  return child;
}

async function ready(server: ChildProcess): Promise<void> {
  await new Promise<void>((done, fail) => {
    let log = "";
    server.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-4000);
      // A standby accepts read-only connections.
      if (/ready to accept (read-only )?connections/.test(log)) done();
    });
    server.once("error", fail);
    server.once("exit", (code, signal) => fail(new Error(`postgres ended (${signal ?? code}):\n${log}`)));
  });
  // The server keeps logging; an unread pipe would block it.
  server.stderr?.removeAllListeners("data").resume();
}

async function finished(child: ChildProcess): Promise<void> {
  await new Promise<void>((done, fail) => {
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-4000);
    });
    child.once("error", fail);
    child.once("close", (code) => (code === 0 ? done() : fail(new Error(`initdb ended (${code}):\n${log}`))));
  });
}

/** SIGINT is Postgres's "fast shutdown" (Postgres docs, "Shutting Down the Server"). */
async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  await new Promise<void>((done) => {
    server.once("exit", () => done());
    server.kill("SIGINT");
  });
}

/** The folder itself or, if the servant cannot reach it (a clone in /root), one in the temporary folder. */
async function reachable(folder: string, servant: Servant | undefined): Promise<string> {
  const asked = resolve(folder);
  if (servant === undefined || (await canEnter(dirname(asked), servant))) return asked;
  const mark = createHash("sha256").update(asked).digest("hex").slice(0, 12);
  const instead = join(tmpdir(), `sluice-data-${mark}`);
  const found = await lstat(instead).catch(() => undefined);
  if (found !== undefined && (found.uid !== servant.uid || !found.isDirectory())) {
    throw new Error(`${instead} belongs to somebody else; remove it`);
  }
  return instead;
}

async function handOver(paths: readonly string[], servant: Servant | undefined): Promise<void> {
  if (servant === undefined) return;
  for (const path of paths) await chown(path, servant.uid, servant.gid);
}

async function onPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder !== "" && (await exists(join(folder, program)))) return join(folder, program);
  }
  return undefined;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
