import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { devNull, homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compose, type Running } from "../app/compose.ts";
import { DEMO_USERS, uriFor } from "../demo/demo-schema.ts";
import { type Desk, startDesk } from "../demo/desk.ts";
import { DATABASE, fill, type Progress, uriOf } from "../demo/fill.ts";
import { type Amounts, FULL } from "../demo/made-up-people.ts";
import { type Screen, screenOn } from "../demo/screen.ts";
import { tour } from "../demo/tour.ts";
import { startPostgres } from "../embedded/postgres.ts";
import { createLog } from "../log.ts";
import { type Address, readSettings, type Settings } from "../settings/settings.ts";
import { untilSignal } from "./signals.ts";

const HELP = `usage: sluice demo [FLAGS]

Starts a Postgres of its own with 100,000 made-up customers, Sluice in front of it with
policies/support.yaml, and shows what each user sees. Then it keeps running: log in with psql.

  --data FOLDER     where the data stays for the next start (~/.cache/sluice/demo)
  --port NUMBER     where clients connect (6432, or the next free one)
  --redis URI       keep the counters in this Redis (in the process)
  --exit            end after the tour
`;

const HOST = "127.0.0.1";
const DESK_PORT = 9480;
const POLICY = fileURLToPath(new URL("../../policies/support.yaml", import.meta.url));

interface Options {
  readonly data: string;
  readonly port: number;
  readonly redis: string | undefined;
  readonly exit: boolean;
}

/** What has to be stopped again, last started first. */
type Stops = (() => Promise<void>)[];

/** `sluice demo`: the whole of it on one machine, from nothing. */
export async function demo(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (typeof options === "string") {
    process.stderr.write(`sluice demo: ${options}; "sluice demo --help" has details\n`);
    return 2;
  }
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const screen = screenOn(process.stdout, process.env);
  const stops: Stops = [];
  const signal = untilSignal();
  try {
    const shown = show(options, FULL, screen, stops);
    // Once a signal has come, nobody waits for what the show still fails at.
    shown.catch(() => {});
    const status = await Promise.race([shown, signal.received]);
    if (status === "signal" || options.exit) return status === "signal" ? 0 : status;
    screen.quiet("Ctrl-C stops all of it.");
    await signal.received;
    return 0;
  } finally {
    for (const stop of stops.reverse()) await stop();
    signal.forget();
  }
}

/** Everything up to the point where the user takes over; the exit status says whether the tour went as told. */
async function show(options: Options, amounts: Amounts, screen: Screen, stops: Stops): Promise<number> {
  const server = await database(options.data, amounts, screen, stops);
  const settings = await demoSettings(options, server);
  const [{ port: listens }] = settings.listen;
  if (listens !== options.port) {
    screen.line(`  port ${options.port} is taken: Sluice takes ${listens}`);
  }
  const composed = await compose(settings, createLog({ level: settings.logLevel }));
  if (!composed.ok) throw new Error(composed.problems.join("\n"));
  const { running } = composed;
  stops.push(() => running.close());
  const [{ port }] = running.addresses;
  screen.line(`  Sluice listens on ${HOST}:${port}`);
  const places = { host: HOST, port, serverPort: server.port, database: DATABASE };
  const findings = await tour(places, screen);
  const desk = await startDesk({
    connectionString: uriFor("helpdesk_web", HOST, port, DATABASE),
    port: await freePortFrom(DESK_PORT),
  });
  stops.push(() => desk.close());
  invite(running, settings, desk, screen);
  screen.line("  Whom did anna read? (docs/officers-day.md goes on from there)");
  screen.line("    node dist/main.js audit read-by anna \\");
  screen.line(`      --audit ${settings.audit} --key-file ${keyFileIn(options.data)} \\`);
  screen.line(`      --upstream ${officersUri(server.port)}`);
  screen.line();
  const { stoppedBy, applicationSame } = findings;
  const isDeskRight = findings.desk.stoppedBy !== undefined && findings.desk.othersWork;
  return stoppedBy !== undefined && applicationSame && isDeskRight ? 0 : 1;
}

async function database(folder: string, amounts: Amounts, screen: Screen, stops: Stops) {
  screen.heading("Sluice demo");
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const server = await startPostgres({
    dataFolder: join(folder, "postgres"),
    superuser: "postgres",
    // The superuser can run programs on this machine, so the password is random, unlike those of the demo's users.
    password: await secretIn(join(folder, "superuser")),
    settings: { max_wal_size: "2GB", max_connections: "200" },
  }).catch((error: Error) => {
    if (!error.message.includes("postmaster.pid")) throw error;
    throw new Error(`another demo runs on the data in ${folder}; give this one a folder of its own (--data)`);
  });
  stops.push(() => server.stop());
  screen.line(`  Postgres runs on ${HOST}:${server.port}, its data is in ${server.dataFolder}`);
  const start = performance.now();
  const outcome = await fill(server.uri, amounts, progressOn(screen));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  screen.line(
    outcome === "reused" ? "  the data of the last start is used again" : `  filled in ${seconds} s`,
  );
  return server;
}

function keyFileIn(data: string): string {
  return join(data, "key");
}

/** Random at the first start, the same ever after. */
async function secretIn(file: string): Promise<string> {
  await writeFile(file, randomBytes(32).toString("hex"), { mode: 0o600, flag: "wx" }).catch((error) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  });
  return readFile(file, "utf8");
}

/** The database itself, as somebody who may read whom a question to the log is about. */
function officersUri(port: number): string {
  return uriFor("helpdesk_app", HOST, port, DATABASE);
}

async function demoSettings(
  options: Options,
  server: { readonly uri: string; readonly port: number },
): Promise<Settings> {
  const listen = await freePortFrom(options.port);
  const admin = await freePortFrom(9432);
  const argv = [
    // Neither the variables nor the sluice.yaml of another Sluice count here.
    ...["--config", devNull, "--log-level", "warn", "--drain-timeout", "2s"],
    ...["--listen", `${HOST}:${listen}`, "--admin", `${HOST}:${admin}`],
    ...["--policy", POLICY, "--audit", join(options.data, "audit")],
    ...["--console-url", `http://${HOST}:${admin}`],
    ...(options.redis === undefined ? [] : ["--redis", options.redis]),
  ];
  // The audit log goes on from the last start's, so it is signed with the same key.
  const env = {
    SLUICE_UPSTREAM: uriOf(server.uri, DATABASE),
    SLUICE_CONSOLE_UPSTREAM: officersUri(server.port),
    SLUICE_KEY: await secretIn(keyFileIn(options.data)),
    SLUICE_CONSOLE_TOKEN: await secretIn(join(options.data, "console-token")),
  };
  const read = readSettings(argv, env);
  if (!read.ok) throw new Error(read.problems.join("\n"));
  return read.settings;
}

function invite(
  { addresses: [address], admin }: Running,
  settings: Settings,
  desk: Desk,
  screen: Screen,
): void {
  const { policy, audit, consoleToken } = settings;
  screen.heading("Now you");
  const people = { anna: "an agent", cleo: "her lead", metabase: "reports", helpdesk_app: "the application" };
  for (const { name } of DEMO_USERS) {
    const who = people[name as keyof typeof people];
    if (who) screen.line(`  psql ${uriFor(name, HOST, address.port, DATABASE)}   # ${who}`);
  }
  screen.line();
  screen.line(`  help desk  ${desk.url} (dora and emil, by the account helpdesk_web)`);
  screen.line(`  console    ${httpOf(admin)}/console`);
  screen.line(`             log in with ${consoleToken?.[0]?.token}`);
  screen.line(`  numbers    ${httpOf(admin)}/metrics`);
  screen.line(`  readiness  ${httpOf(admin)}/readyz`);
  screen.line(`  policy     ${policy} (edit it: it is read again at once)`);
  screen.line(`  audit log  ${audit}`);
  screen.line();
}

function httpOf({ host, port }: Address): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function progressOn(screen: Screen): Progress {
  return (table, done, total) => {
    const percent = Math.floor((done / total) * 100);
    const amount = `${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
    screen.progress(`filling ${table}: ${amount} (${percent} %)`, done === total ? "done" : "running");
  };
}

/** The port or the first free one of the twenty after it. */
async function freePortFrom(first: number): Promise<number> {
  for (let port = first; port <= first + 20; port++) {
    if (await isFree(port)) return port;
  }
  throw new Error(`ports ${first} to ${first + 20} are all taken`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, HOST, () => probe.close(() => resolve(true)));
  });
}

/** Undefined: the help is wanted. A text: what is wrong. */
function readOptions(args: readonly string[]): Options | string | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        data: { type: "string" },
        port: { type: "string" },
        redis: { type: "string" },
        exit: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help) return undefined;
    const port = Number(values.port ?? 6432);
    if (!Number.isInteger(port) || port < 1 || port > 65_515) return "--port: not a port";
    const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
    const data = values.data ?? join(cache, "sluice", "demo");
    return { data, port, redis: values.redis, exit: values.exit ?? false };
  } catch (error) {
    return error instanceof Error ? error.message : "these arguments are not understood";
  }
}
