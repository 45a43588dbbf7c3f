import { createLog } from "../log.ts";
import { type Address, readSettings } from "../settings.ts";
import { compose } from "./compose.ts";
import { settingsHelp } from "./settings-help.ts";
import { untilSignal } from "./signals.ts";

/** `sluice serve`: runs until SIGTERM or SIGINT. SIGHUP reads policy, users and TLS files again. */
export async function serve(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(settingsHelp());
    return 0;
  }
  const read = readSettings(args, process.env);
  if (!read.ok) return complain(read.problems, 2);
  const { settings } = read;
  const log = createLog({ level: settings.logLevel });
  const signal = untilSignal();
  const composed = await compose(settings, log);
  if (!composed.ok) return complain(composed.problems, 1);
  const { running } = composed;
  const reload = () => void running.reload();
  process.on("SIGHUP", reload);
  log.info({ listen: textOf(running.address), admin: textOf(running.admin) }, "serving");

  await signal.received;
  log.info({ sessions: running.sessions() }, "ending: no new clients, open transactions may finish");
  await running.close();
  process.off("SIGHUP", reload);
  signal.forget();
  return 0;
}

function complain(problems: readonly string[], status: number): number {
  for (const problem of problems) process.stderr.write(`sluice serve: ${problem}\n`);
  return status;
}

function textOf({ host, port }: Address): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
