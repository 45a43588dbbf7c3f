import cluster from "node:cluster";
import { compose } from "../app/compose.ts";
import type { ReadAgain } from "../app/compose-reload.ts";
import { createLog, type Log } from "../log.ts";
import { type Address, readSettings, type Settings } from "../settings/settings.ts";
import type { Channel } from "../workers/link.ts";
import { startWorkers, WORKER_NUMBER } from "../workers/primary.ts";
import { joinCrew } from "../workers/worker.ts";
import { tellOfFaults } from "./faults.ts";
import { settingsHelp } from "./settings-help.ts";
import { untilSignal } from "./signals.ts";

/** `sluice serve`: runs until SIGTERM or SIGINT. SIGHUP reads policy, users, TLS files and the files that settings stand in again. */
export async function serve(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(settingsHelp());
    return 0;
  }
  const read = readSettings(args, process.env);
  if (!read.ok) return complain(read.problems, 2);
  const { settings } = read;
  const log = createLog({ level: settings.logLevel });
  tellOfFaults(log);
  const readAgain = () => readSettings(args, process.env);
  if (settings.workers === 1) return serveAlone(settings, log, readAgain);
  return cluster.isPrimary ? serveFirst(settings, log) : serveAsWorker(settings, log, readAgain);
}

async function serveAlone(settings: Settings, log: Log, readAgain: ReadAgain): Promise<number> {
  const signal = untilSignal();
  const composed = await compose(settings, log, undefined, readAgain);
  if (!composed.ok) return complain(composed.problems, 1);
  const { running } = composed;
  const reload = () => void running.reload();
  process.on("SIGHUP", reload);
  log.info({ listen: textOfAll(running.addresses), admin: textOf(running.admin) }, "serving");

  await signal.received;
  log.info({ sessions: running.sessions() }, ENDING);
  await running.close();
  process.off("SIGHUP", reload);
  signal.forget();
  return 0;
}

/** Starts the workers, and passes on to them what it is told. */
async function serveFirst(settings: Settings, log: Log): Promise<number> {
  const signal = untilSignal();
  const workers = startWorkers(settings, log);
  const reload = () => workers.reload();
  process.on("SIGHUP", reload);
  const outcome = await Promise.race([workers.started, signal.received]);
  if (outcome !== "signal" && "status" in outcome) {
    // The worker has said why.
    await workers.end();
    return outcome.status;
  }
  if (outcome !== "signal") {
    const { addresses, admin } = outcome;
    log.info({ listen: textOfAll(addresses), admin: textOf(admin), workers: settings.workers }, "serving");
    await signal.received;
  }
  log.info(ENDING);
  await workers.end();
  process.off("SIGHUP", reload);
  signal.forget();
  return 0;
}

async function serveAsWorker(settings: Settings, log: Log, readAgain: ReadAgain): Promise<number> {
  // A terminal, or systemd, signals every process; only the first one acts on it, and tells.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  const number = Number(process.env[WORKER_NUMBER]);
  const crew = joinCrew(number, channelToFirst());
  const composed = await compose(settings, log.child({ worker: number }), crew, readAgain);
  if (composed.ok) {
    await crew.ending;
    await composed.running.close();
  }
  const status = composed.ok ? 0 : complain(composed.problems, 1);
  // The channel to the first process would keep this one alive.
  process.exit(status);
}

function channelToFirst(): Channel {
  const { worker } = cluster;
  if (worker === undefined) throw new Error("this process is no worker");
  return worker as Channel;
}

const ENDING = "ending: no new clients, open transactions may finish";

function complain(problems: readonly string[], status: number): number {
  for (const problem of problems) process.stderr.write(`sluice serve: ${problem}\n`);
  return status;
}

function textOfAll(addresses: readonly Address[]): string {
  return addresses.map(textOf).join(",");
}

function textOf({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
