import { writeSync } from "node:fs";
import { openFileLog } from "../../proxy/audit/file-log.ts";
import { createLog } from "../../proxy/log.ts";

/**
 * A process to be killed: writes events as fast as they become durable and says each number that was
 * acknowledged. Arguments: the folder, the first number.
 */
const [, , folder = "", first = "0"] = process.argv;
const log = await openFileLog({
  folder,
  key: Buffer.alloc(32, 3),
  log: createLog({ level: "silent" }),
  onLost: () => process.exit(3),
  // Small, so that a kill also falls between two segments and into their compression.
  segmentBytes: 20_000,
  // Often, so that it falls between two keys as well.
  checkpointEvery: 3,
});

let next = Number(first);

async function client(): Promise<never> {
  for (;;) {
    const number = next++;
    log.write({
      kind: "login",
      time: Date.now(),
      session: `n${number}`,
      user: "anna",
      role: "agent",
      database: "support",
      client: "local",
      application: "crash",
    });
    if (await log.durable()) writeSync(1, `${number}\n`);
  }
}

await Promise.all(Array.from({ length: 8 }, client));
