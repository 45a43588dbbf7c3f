import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startPostgres } from "../../proxy/embedded/postgres.ts";
import { psql } from "./postgres.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-start-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const SERVER = { superuser: "owner of all", password: "p:ss/word", settings: { fsync: "off" } };

test("data is kept when the server is started again, also in a folder that only we may enter", async () => {
  // As root: the server's user cannot enter, because mkdtemp created the folder with mode 0700.
  const options = { ...SERVER, dataFolder: join(folder, "private", "data") };
  await mkdir(join(folder, "private"));
  const first = await startPostgres(options);
  await psql(["-c", "CREATE TABLE kept (a int)"], { uri: first.uri });
  await first.stop();
  const second = await startPostgres(options);
  const { stdout } = await psql(["-Atc", "SELECT count(*) FROM kept"], { uri: second.uri });
  expect(stdout).toBe("0\n");
  await second.stop();
  expect(second.dataFolder).toBe(first.dataFolder);
  await rm(second.dataFolder, { recursive: true });
});

test("a failed start reports the server's own error", async () => {
  const options = { ...SERVER, dataFolder: join(tmpdir(), `sluice-fails-${process.pid}`) };
  await expect(startPostgres({ ...options, settings: { no_such_setting: "1" } })).rejects.toThrow(
    /unrecognized configuration parameter "no_such_setting"/,
  );
  await rm(options.dataFolder, { recursive: true });
});

test.runIf(process.platform === "linux")(
  "the server ends with the process that started it, even if that is killed",
  async () => {
    const dataFolder = join(tmpdir(), `sluice-orphan-${process.pid}`);
    const parent = spawn(process.execPath, ["--input-type=module", "-e", ORPHAN], {
      env: { ...process.env, MODULE: MODULE, DATA: dataFolder },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = await new Promise<number>((done) =>
      parent.stdout.once("data", (text: Buffer) => done(Number(text.toString()))),
    );
    expect(process.kill(pid, 0)).toBe(true);
    parent.kill("SIGKILL");
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(), { timeout: 10_000 });
    await rm(dataFolder, { recursive: true });
  },
);

const MODULE = fileURLToPath(new URL("../../proxy/embedded/postgres.ts", import.meta.url));

/** Vite, which comes with vitest, runs TypeScript in a separate process. */
const ORPHAN = `
  import { runnerImport } from "vite";
  const { module } = await runnerImport(process.env.MODULE);
  const server = await module.startPostgres({ dataFolder: process.env.DATA, superuser: "postgres" });
  console.log(server.pid);
  setInterval(() => {}, 1000);`;
