import { chmod, mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import type { TestProject } from "vitest/node";
import { type PostgresOptions, startPostgres } from "../../proxy/embedded/postgres.ts";
import { chosenBinaries, MAJOR } from "./postgres-versions.ts";
import { launchRedis } from "./redis-process.ts";
import { createRoles } from "./support-schema.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** A superuser's URI. */
    readonly postgresUri: string;
    readonly redisUrl: string;
    /** Folder with the run's templates of data folders: see data-templates.ts. */
    readonly postgresTemplates: string;
    /** Where the run's compiled program is: see compiled-program.ts. */
    readonly programFolder: string;
    /** The number of logical databases of that Redis. */
    readonly redisDatabases: number;
  }
}

interface Provided {
  readonly url: string;
  readonly way: string;
  stop(): Promise<void>;
}

/** Provides real servers for the whole test run: started once, stopped at its end. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const templates = await serverFolder();
  const programs = await programFolder();
  const started = await Promise.allSettled([providePostgres(), provideRedis()]);
  const [postgres, redis] = started;
  const stop = async () => {
    await Promise.all(
      started.map((server) => (server.status === "fulfilled" ? server.value.stop() : undefined)),
    );
    for (const folder of [templates, programs]) await rm(folder, { recursive: true, force: true });
  };
  if (postgres.status === "rejected" || redis.status === "rejected") {
    await stop();
    throw postgres.status === "rejected" ? postgres.reason : (redis as PromiseRejectedResult).reason;
  }
  await createRoles(postgres.value.url);
  project.provide("postgresUri", postgres.value.url);
  project.provide("postgresTemplates", templates);
  project.provide("programFolder", programs);
  project.provide("redisUrl", redis.value.url);
  project.provide("redisDatabases", await countDatabases(redis.value.url));
  console.log(`Postgres: ${postgres.value.way}\nRedis: ${redis.value.way}`);
  return stop;
}

/** Inside the project, so that the compiled program finds its dependencies. */
async function programFolder(): Promise<string> {
  const cache = join(import.meta.dirname, "../../node_modules/.cache");
  await mkdir(cache, { recursive: true });
  return mkdtemp(join(cache, "sluice-program-"));
}

/** A folder that the server's own user can reach, even if we are root; in memory if there is room. */
export async function serverFolder(): Promise<string> {
  const folder = await mkdtemp(join(await roomiest(), "sluice-test-"));
  await chmod(folder, 0o755);
  return folder;
}

/** A database is hundreds of files: on a disk, creating and removing them takes a tenth of the total time. */
const MEMORY = "/dev/shm";
const ROOM = 4 * 1024 ** 3;

async function roomiest(): Promise<string> {
  const memory = await statfs(MEMORY).catch(() => undefined);
  return memory !== undefined && memory.bavail * memory.bsize > ROOM && freemem() > 2 * ROOM
    ? MEMORY
    : tmpdir();
}

const binaries = await chosenBinaries();

/** Passwords are required, as in production; nothing survives a crash. */
export const TEST_POSTGRES = {
  ...(binaries !== undefined && { binaries }),
  superuser: "postgres",
  password: "postgres-password",
  settings: {
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
    max_connections: "200",
    autovacuum: "off",
  },
} satisfies Partial<PostgresOptions>;

async function providePostgres(): Promise<Provided> {
  const given = process.env.TEST_PG_URL;
  if (given) return { url: given, way: "TEST_PG_URL", stop: async () => undefined };
  const folder = await serverFolder();
  const server = await startPostgres({ ...TEST_POSTGRES, dataFolder: join(folder, "data") });
  return {
    url: server.uri,
    way: `${MAJOR}, the npm package's, port ${server.port}`,
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function provideRedis(): Promise<Provided> {
  const given = process.env.TEST_REDIS_URL;
  if (given) return { url: given, way: "TEST_REDIS_URL", stop: async () => undefined };
  const server = await launchRedis({});
  return { url: server.url, way: `${server.way}, port ${server.port}`, stop: server.stop };
}

async function countDatabases(url: string): Promise<number> {
  const redis = new Redis(url);
  try {
    const [, count] = (await redis.config("GET", "databases")) as readonly string[];
    return Number(count ?? 1);
  } finally {
    redis.disconnect();
  }
}
