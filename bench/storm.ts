/**
 * Two proxies, one Redis, one Postgres and many clients, while policies change, servers are restarted and processes
 * killed. What the clients saw is held against the database, the counters and the audit log; status 1 if one check fails.
 *
 *   npm run storm -- [--minutes 10] [--clients 500] [--rate 1000] [--quick]
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Ledger } from "./storm/ledger.ts";
import type { LoadOptions } from "./storm/load.ts";
import { PHASES, runStorm } from "./storm/run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    clients: { type: "string" },
    rate: { type: "string", default: "1000" },
    /** 100 clients for 40 seconds, with every trouble once. */
    quick: { type: "boolean", default: false },
  },
});

const { checks, report } = await runStorm({
  main: fileURLToPath(new URL("../../main.js", import.meta.url)),
  seconds: values.quick ? 40 : Number(values.minutes) * 60,
  clients: Number(values.clients ?? (values.quick ? 100 : 500)),
  rate: Number(values.rate),
  calm: values.quick ? 500 : 5_000,
  phases: PHASES,
  load: (options, stop) => Promise.all(halves(options).map((half) => inProcess(half, stop))),
});
console.log(report);
process.exitCode = checks.every(({ problems }) => problems.length === 0) ? 0 : 1;

/** Two processes: one alone would be slower than the proxies. */
function halves(options: LoadOptions): readonly LoadOptions[] {
  const middle = Math.ceil((options.first + options.end) / 2);
  return [
    { ...options, end: middle },
    { ...options, first: middle },
  ];
}

function inProcess(options: LoadOptions, stop: AbortSignal): Promise<Ledger> {
  const program = fileURLToPath(new URL("./storm/load-process.js", import.meta.url));
  // Sets and maps arrive as what they are.
  const child: ChildProcess = fork(program, { serialization: "advanced" });
  child.send(options);
  stop.addEventListener("abort", () => child.send("stop"), { once: true });
  return new Promise((resolve, reject) => {
    child.once("message", (ledger) => resolve(ledger as Ledger));
    child.once("exit", (status) => reject(new Error(`a process of clients ended (${status})`)));
  });
}
