import type { Log } from "../log.ts";

/**
 * What nobody has caught, in the operator's log: Node itself would print all that depends on the error, a driver's
 * passwords among it. A promise that nobody waited for ends nothing; after an exception of which nobody knows
 * what it left half done, the process ends.
 */
export function tellOfFaults(log: Log): void {
  process.on("unhandledRejection", (err) => {
    log.error({ err }, "a fault of Sluice was not caught; please report it");
  });
  process.on("uncaughtException", (err) => {
    log.fatal({ err }, "a fault of Sluice was not caught, and ends the process; please report it");
    process.exit(1);
  });
}
