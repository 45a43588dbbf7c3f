import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { CLIENTS } from "./clients.ts";
import { explain } from "./explanations.ts";
import { type Count, describeCounts, describeDifferences, replaceGenerated, type WayCount } from "./page.ts";
import { prepare, type Ready } from "./run.ts";
import { differences, type Step, working } from "./steps.ts";
import { startWorld, type Way, type World } from "./world.ts";

/* `npm run compat`: clients that others wrote, direct and through Sluice; the counts go to docs/compatibility.md. */

const { values } = parseArgs({
  options: {
    /** Names of clients, with commas between them. */
    only: { type: "string" },
    write: { type: "boolean", default: false },
    /** Only the application on a desk that holds tokens. */
    tokens: { type: "boolean", default: false },
    /** Shows what each step gave. */
    verbose: { type: "boolean", default: false },
  },
});

const WAYS = values.tokens ? ["tokens"] : ["session", "pool", "agent"];
// npm runs its scripts in the project's folder.
const MAIN = resolve("dist/main.js");
const PROGRAMS = resolve("bench/compatibility/programs");
const PAGE = resolve("docs/compatibility.md");

async function main(): Promise<void> {
  const only = values.only?.split(",").map((name) => name.toLowerCase());
  const chosen = CLIENTS.filter(({ name }) => only?.includes(name.toLowerCase()) ?? true);
  const world = await startWorld(MAIN);
  const counts: Count[] = [];
  try {
    for (const client of chosen) {
      const ready = await prepare(client, PROGRAMS).catch((error: Error) =>
        say(`Not tried: ${client.name}: ${error.message}`),
      );
      if (ready === undefined) continue;
      const count = await countOf(ready, world);
      counts.push(count);
      say(`${describeCounts([count], WAYS).split("\n").at(-1)}`);
    }
  } finally {
    await world.stop();
  }
  const text = `Postgres ${world.serverVersion}, Node ${process.version.slice(1)}.\n\n${describeCounts(counts, WAYS)}\n\n${describeDifferences(counts)}`;
  say(text);
  if (values.write && only === undefined && !values.tokens)
    await writeFile(PAGE, replaceGenerated(await readFile(PAGE, "utf8"), text));
  const unexplained = counts.some(({ ways }) =>
    ways.some((way) => way.differences.some(({ why }) => why === undefined)),
  );
  if (unexplained) process.exitCode = 1;
}

/** Each way after the other: direct as the same user first. */
async function countOf(ready: Ready, world: World): Promise<Count> {
  const steps = async (name: Way["name"]) => {
    await world.renew();
    const got = await ready.run(world.ways[name]);
    if (values.verbose) say(got.map((step) => `  ${name}: ${JSON.stringify(step).slice(0, 400)}`).join("\n"));
    return got;
  };
  const app = await steps("direct");
  for (const step of app)
    if ("error" in step) say(`${ready.client.name}, direct: ${step.step}: ${step.error}`);
  if (values.tokens) {
    const way = wayCount("tokens", app, await steps("tokens"));
    const clear = (await world.clearValues()).map((what) => ({
      step: "stored in the clear",
      what,
      why: undefined,
    }));
    return {
      client: ready.client,
      version: ready.version,
      ways: [{ ...way, differences: [...way.differences, ...clear] }],
    };
  }
  const ways: WayCount[] = [
    wayCount("session", app, await steps("session")),
    wayCount("pool", app, await steps("pool")),
    wayCount("agent", await steps("agent-direct"), await steps("agent")),
  ];
  return { client: ready.client, version: ready.version, ways };
}

function wayCount(name: WayCount["name"], direct: readonly Step[], through: readonly Step[]): WayCount {
  const found = differences(direct, through, name === "agent");
  return {
    name,
    direct: working(direct).length,
    differences: found.map((one) => ({ ...one, why: explain(name, one) })),
  };
}

function say(text: string): undefined {
  process.stdout.write(`${text}\n`);
}

await main();
