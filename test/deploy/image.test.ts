import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, join, posix } from "node:path";
import { validate } from "dockerfile-utils";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { openFileLog } from "../../proxy/audit/file-log.ts";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { NOON, reading, SILENT } from "../audit/support.ts";
import { freshDatabase, supportSchema } from "../harness/postgres.ts";
import { readyTied } from "../harness/tied.ts";
import { type Chroot, makeChroot } from "./chroot.ts";
import {
  DOCKERFILE,
  ROOT,
  readStages,
  type Stage,
  type Step,
  type StepKind,
  type StepOf,
} from "./dockerfile.ts";

const stages = readStages();
const stepsOf = <Kind extends StepKind>({ steps }: Stage, kind: Kind) =>
  steps.filter((step): step is Step & StepOf<Kind> => step.kind === kind);
const image = stages.at(-1) as Stage;
/** What the image with DuckDB starts from, as its Dockerfile says it. */
const SLUICE = "$" + "{SLUICE}";
const SECRET = randomBytes(32);

test("the Dockerfile has no mistake that Docker's language server knows", () => {
  expect(validate(DOCKERFILE)).toEqual([]);
  expect(validate("FROM node:24\nRUNN x").length).toBeGreaterThan(0);
});

test("each stage starts from one named release, and what runs is no root and has a health check", () => {
  for (const { image: base } of stages) expect(base).toMatch(/^node:\d+\.\d+\.\d+-bookworm-slim(@sha256:|$)/);
  expect(new Set(stages.map(({ image: base }) => base)).size).toBe(1);
  expect(stepsOf(image, "USER").at(-1)?.argument).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  expect(stepsOf(image, "HEALTHCHECK")).toHaveLength(1);
});

test("what is copied is in the build context", () => {
  const ignored = readFileSync(join(ROOT, ".dockerignore"), "utf8").trim().split("\n");
  const copied = stages.flatMap((stage) => stepsOf(stage, "COPY")).filter(({ from }) => from === undefined);
  const sources = copied.flatMap((step) => step.sources);
  expect(sources.length).toBeGreaterThan(3);
  for (const source of sources) expect(existsSync(join(ROOT, source)), source).toBe(true);
  expect(sources.filter((source) => ignored.includes(source))).toEqual([]);
});

/** Roots are changed by root alone. */
const isRoot = process.getuid?.() === 0;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-image-"));
  // The program runs as another user, who must get there.
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let made: Promise<ReadonlyMap<string, Chroot>> | undefined;

/** The image of the program, of which there is one: to make it takes a minute. */
async function program(): Promise<Chroot> {
  made ??= build(stages, new Map());
  return (await made).get("image") as Chroot;
}

test.runIf(isRoot)(
  "its steps make a program that serves as a user without rights, with a read-only root, and says that it is well",
  { timeout: 300_000 },
  async () => {
    const chroot = await program();
    const database = await freshDatabase("image");
    onTestFinished(() => database.drop());
    await supportSchema(database.uri);
    const env = variablesOf(image.steps);
    const policies = chroot.outside(env.SLUICE_POLICY ?? "no policy");
    cpSync(join(ROOT, "deploy/kubernetes/policies"), policies, { recursive: true });
    const admin = `127.0.0.1:${await freePort()}`;
    const how = {
      workdir: directoryOf(image.steps),
      user: stepsOf(image, "USER").at(-1)?.argument ?? "0:0",
      writable: stepsOf(image, "VOLUME").map(({ argument }) => argument),
      env: {
        PATH,
        ...env,
        SLUICE_LISTEN: "127.0.0.1:0",
        SLUICE_ADMIN: admin,
        SLUICE_UPSTREAM: database.uri,
        SLUICE_KEY: randomBytes(32).toString("hex"),
      },
    };
    const words = [...stepsOf(image, "ENTRYPOINT"), ...stepsOf(image, "CMD")].flatMap((step) => step.words);
    const check = stepsOf(image, "HEALTHCHECK").flatMap((step) =>
      step.words.map((word) => word.replace(env.SLUICE_ADMIN ?? "no address", admin)),
    );
    expect(await exitOf(chroot.start(check, how))).toBe(1);
    const sluice = chroot.start(words, how);
    onTestFinished(() => endGroup(sluice));
    await readyTied(sluice, '"msg":"serving"');
    expect(await exitOf(chroot.start(check, how))).toBe(0);
    const audit = statSync(chroot.outside(env.SLUICE_AUDIT ?? "no folder"));
    expect(`${audit.uid}:${audit.gid}`).toBe(how.user);
    const write = ["node", "-e", `require("fs").writeFileSync("x", "")`];
    expect(await exitOf(chroot.start(write, how))).not.toBe(0);
  },
);

/** The command of the documentation, but for the places of its files and the user's number. */
const OFFICER =
  /docker run --rm --user "\$\(id -u\):\$\(id -g\)" [^\n]*sluice-officer \\\n\s+(audit read-by [^\n]*)/;

test.runIf(isRoot)(
  "the image with DuckDB is made by its steps, and answers an officer who owns the copy of the log, without rights",
  { timeout: 300_000 },
  async () => {
    const base = await program();
    const text = readFileSync(join(ROOT, "deploy/duckdb/Dockerfile"), "utf8");
    const officers = readStages(text);
    const built = await build(officers, new Map([[SLUICE, base]]));
    const chroot = built.get("image") as Chroot;
    const audit = await openFileLog({
      ...{ folder: chroot.outside("/audit"), key: deriveKeys(SECRET).audit, log: SILENT },
      ...{ onLost: () => {}, anchor: () => {}, now: () => NOON },
    });
    const subjects = [audit.hashSubject("public.customers.id", "7")];
    audit.write(reading({ people: 1, subjects, namespaces: ["public.customers.id"] }));
    await audit.close();
    mkdirSync(chroot.outside("/case"));
    writeFileSync(chroot.outside("/key"), SECRET.toString("hex"), { mode: 0o600 });
    const user = 12_345;
    for (const path of [
      "/audit",
      "/case",
      "/key",
      ...readdirSync(chroot.outside("/audit")).map((name) => `/audit/${name}`),
    ])
      chownSync(chroot.outside(path), user, user);
    const page = readFileSync(join(ROOT, "docs/log-at-scale.md"), "utf8");
    const command = OFFICER.exec(page)?.[1] ?? "no command";
    expect(OFFICER.exec(text.replaceAll(/^# ?/gm, ""))?.[1]).toBe(command);
    const answer = chroot.start(
      [...stepsOf(image, "ENTRYPOINT").flatMap(({ words }) => words), ...command.split(" ")],
      {
        ...{ workdir: directoryOf(image.steps), user: `${user}:${user}`, writable: ["/case"], env: { PATH } },
      },
    );
    const said: string[] = [];
    answer.stdout?.on("data", (chunk) => said.push(String(chunk)));
    answer.stderr?.on("data", (chunk) => said.push(String(chunk)));
    expect(await exitOf(answer), said.join("")).toBe(0);
    expect(said.join("")).toMatch(/anna[\s\S]*Not covered:/);
    expect(readdirSync(chroot.outside("/case")).some((name) => name.endsWith(".jsonl.gz"))).toBe(true);
  },
);

async function endGroup({ pid }: ChildProcess): Promise<void> {
  if (pid === undefined) return;
  process.kill(-pid, "SIGKILL");
  await vi.waitFor(() => expect(() => process.kill(-pid, 0)).toThrow("ESRCH"));
}

async function exitOf(child: ChildProcess): Promise<number> {
  const [status] = await once(child, "close");
  return status;
}

/** As Docker sets it where an image does not. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Carries out all stages, with this machine's npm cache; a stage starts from one of `bases`, or from an empty root. */
async function build(
  all: readonly Stage[],
  bases: ReadonlyMap<string, Chroot>,
): Promise<ReadonlyMap<string, Chroot>> {
  const built = new Map<string, Chroot>();
  for (const { image: base, name = "image", steps } of all) {
    const chroot = bases.get(base) ?? makeChroot(join(folder, name), certificates());
    built.set(name, chroot);
    for (const [i, step] of steps.entries()) await carryOut(step, steps.slice(0, i), chroot, built);
  }
  return built;
}

async function carryOut(
  step: Step,
  before: readonly Step[],
  chroot: Chroot,
  built: ReadonlyMap<string, Chroot>,
): Promise<void> {
  const directory = directoryOf(before);
  if (step.kind === "WORKDIR") mkdirSync(chroot.outside(step.argument), { recursive: true });
  if (step.kind === "RUN") {
    // What the lock file names by its digest need not be asked for again.
    const npm = { HOME: "/root", npm_config_prefer_offline: "true", ...certificateVariables() };
    const env = { PATH, ...npm, ...variablesOf(before) };
    await chroot.run(step.argument, {
      workdir: directory,
      env,
      mounts: { [join(homedir(), ".npm")]: "/root/.npm" },
    });
  }
  if (step.kind !== "COPY") return;
  const context = step.from === undefined ? ROOT : (built.get(step.from)?.root ?? "no stage");
  for (const source of step.sources) {
    const target = posix.resolve(directory, step.target);
    // A folder's contents are copied, a file into a folder (Dockerfile reference, "COPY").
    const isFile = statSync(join(context, source)).isFile();
    const into = isFile && step.target.endsWith("/") ? posix.join(target, basename(source)) : target;
    cpSync(join(context, source), chroot.outside(into), { recursive: true, verbatimSymlinks: true });
  }
}

function directoryOf(steps: readonly Step[]): string {
  return steps.reduce(
    (path, step) => (step.kind === "WORKDIR" ? posix.resolve(path, step.argument) : path),
    "/",
  );
}

function variablesOf(steps: readonly Step[]): Readonly<Record<string, string>> {
  return Object.assign({}, ...steps.map((step) => (step.kind === "ENV" ? step.variables : {})));
}

/** Where a network has certificates of its own, npm needs them inside as well. */
function certificateVariables(): Readonly<Record<string, string>> {
  const file = process.env.NODE_EXTRA_CA_CERTS;
  return file ? { NODE_EXTRA_CA_CERTS: file } : {};
}

function certificates(): readonly string[] {
  return Object.values(certificateVariables());
}
