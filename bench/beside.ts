/**
 * This Sluice beside an older commit's, for what a change costs: two processes on one server, and short bursts of
 * pgbench -S by turns, so that what disturbs the machine disturbs both.
 *
 *   npm run bench:beside -- COMMIT
 *
 *   --only "guarded, each another"    some of the loads, by the start of their names, parted by ";"
 *   --roles app,guarded               for a commit whose policies know less: the roles that both are given
 *   --rounds 12  --seconds 2          bursts of each build for each load, and their length
 *   --clients 8,32
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { parse, stringify } from "yaml";
import { median, percentile, ratios, table } from "./figures.ts";
import { type Load, type Measured, runPgbench } from "./pgbench.ts";
import { type RunningProxy, startSluice, type Target, uriAt } from "./targets.ts";
import { ACCOUNTS, FEW, POLICY, startWorld, USERS, type World } from "./world.ts";

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL("../../main.js", import.meta.url));
const CHECKOUT = fileURLToPath(new URL("../../..", import.meta.url));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string" },
    roles: { type: "string", default: USERS.join(",") },
    rounds: { type: "string", default: "12" },
    seconds: { type: "string", default: "2" },
    clients: { type: "string", default: "8,32" },
  },
});

interface Work {
  readonly name: string;
  readonly user: string;
  readonly load: Omit<Load, "clients" | "seconds">;
  readonly after?: true;
}

const prepared = { mode: "prepared", accounts: FEW } as const;

const WORKS: readonly Work[] = [
  { name: "app, simple", user: "app", load: { mode: "simple", accounts: FEW } },
  { name: "app, prepared", user: "app", load: prepared },
  { name: "app, a login each", user: "app", load: { ...prepared, logins: true } },
  { name: "guarded, few people", user: "guarded", load: prepared },
  { name: "guarded, each another", user: "guarded", load: { ...prepared, accounts: ACCOUNTS } },
  { name: "guarded, after, few people", user: "guarded", load: prepared, after: true },
  {
    ...{ name: "guarded, after, each another", user: "guarded", after: true },
    load: { ...prepared, accounts: ACCOUNTS },
  },
  { name: "guarded, a login each", user: "guarded", load: { ...prepared, logins: true } },
  { name: "watched, few people", user: "watched", load: prepared },
  { name: "watched, each another", user: "watched", load: { ...prepared, accounts: ACCOUNTS } },
];

async function main(): Promise<void> {
  const [commit] = positionals;
  if (commit === undefined) throw new Error("Which commit? npm run bench:beside -- COMMIT");
  const roles = new Set(values.roles.split(","));
  for (const role of roles)
    if (!USERS.some((user) => user === role)) throw new Error(`No such role: ${role}`);
  const able = WORKS.filter(({ user }) => roles.has(user));
  const wanted = values.only?.split(";").map((name) => name.trim()) ?? [""];
  for (const start of wanted)
    if (!able.some(({ name }) => name.startsWith(start))) throw new Error(`No such load: ${start}`);
  const works = able.filter(({ name }) => wanted.some((start) => name.startsWith(start)));
  const other = await build(commit);
  let world: World | undefined;
  try {
    world = await startWorld(1_000);
    const rows: string[][] = [];
    for (const after of [false, true] as const) {
      const group = works.filter((work) => (work.after ?? false) === after);
      if (group.length > 0) rows.push(...(await measure(world, other.main, group, policyOf(roles), after)));
    }
    process.stdout.write(
      `${table(["load", "clients", `${commit}, µs`, "now, µs", "now ÷ then, quartiles"], rows)}\n`,
    );
  } finally {
    await Promise.all([world?.stop(), other.remove()]);
  }
}

/** Both builds at once, each with an audit log of its own. */
async function measure(
  world: World,
  then: string,
  works: readonly Work[],
  policy: string,
  after: boolean,
): Promise<string[][]> {
  const { redis, control, postgres, folder } = world;
  const start = (main: string) =>
    startSluice(
      { port: postgres.port, folder },
      {
        ...{ main, control, redis: redis.url, policy },
        flags: after ? ["--audit-durability", "after"] : [],
      },
    );
  const proxies = [await start(then), await start(MAIN)] as const;
  try {
    const rows: string[][] = [];
    for (const { name, user, load } of works) {
      for (const clients of values.clients.split(",").map(Number)) {
        const [old, now] = await byTurns(proxies, user, {
          ...load,
          clients,
          seconds: Number(values.seconds),
        });
        const ratio = ratios(cpu(now), cpu(old));
        const share = (at: number) => percentile(ratio, at).toFixed(2);
        rows.push([
          ...[name, String(clients), micro(cpu(old)), micro(cpu(now))],
          `${median(ratio).toFixed(3)} (${share(0.25)} to ${share(0.75)})`,
        ]);
        process.stderr.write(`${rows.at(-1)?.join("  ")}\n`);
      }
    }
    return rows;
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
  }
}

/** Old, new, new, old, old, new…: what drifts drifts for both. The first burst of each warms it up and does not count. */
async function byTurns(
  [old, now]: readonly [RunningProxy, RunningProxy],
  user: string,
  load: Load,
): Promise<readonly [Measured[], Measured[]]> {
  const of = ({ port, pid }: RunningProxy): Target => ({ name: user, uri: uriAt(port, user), pid });
  const figures: readonly [Measured[], Measured[]] = [[], []];
  for (const proxy of [old, now]) await runPgbench(of(proxy), load);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const which of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      figures[which].push(await runPgbench(of(which === 0 ? old : now), load));
    }
  }
  return figures;
}

const cpu = (series: readonly Measured[]) => series.map((measured) => measured.cpu);
const micro = (series: readonly number[]) => (median(series) * 1_000).toFixed(0);

/** The roles that the older build knows; one of `watch: true` is refused by builds that have no such key. */
function policyOf(roles: ReadonlySet<string>): string {
  const policy = parse(POLICY) as { roles: Record<string, unknown> };
  policy.roles = Object.fromEntries(Object.entries(policy.roles).filter(([name]) => roles.has(name)));
  return stringify(policy);
}

/** A worktree of the commit, compiled with this checkout's packages. */
async function build(commit: string): Promise<{ readonly main: string; remove(): Promise<void> }> {
  const parent = await mkdtemp(join(tmpdir(), "sluice-beside-"));
  const folder = join(parent, "then");
  const git = (...args: string[]) => run("git", ["-C", CHECKOUT, ...args]);
  const remove = async () => {
    await git("worktree", "remove", "--force", folder);
    await rm(parent, { recursive: true, force: true });
  };
  await git("worktree", "add", "--detach", folder, commit);
  try {
    await symlink(resolve(CHECKOUT, "node_modules"), join(folder, "node_modules"));
    await run("npm", ["run", "--silent", "build"], { cwd: folder });
  } catch (error) {
    await remove();
    throw error;
  }
  return { main: join(folder, "dist", "main.js"), remove };
}

await main();
