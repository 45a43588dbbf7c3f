import { execFile } from "node:child_process";
import { cp, readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import type { Client } from "./clients.ts";
import { type Installed, installFromDebian, installFromNpm } from "./install.ts";
import { readSteps, type Step } from "./steps.ts";
import type { Way } from "./world.ts";

const run = promisify(execFile);
/** Milliseconds that one program may take: Go compiles, Java and Rails are slow to start. */
const TIME = 120_000;

/** A client that is there to be run: its packages, its program, and the version that was installed. */
export interface Ready {
  readonly client: Client;
  readonly version: string;
  /** `environment`: what the program is told besides where to connect. */
  run(way: Reached, environment?: Readonly<Record<string, string>>): Promise<readonly Step[]>;
}

type Reached = Pick<Way, "uri"> & { readonly name: string };

/** Installs a client. `programs`: the folder of all programs. Fails where this machine cannot have it, and says why. */
export async function prepare(client: Client, programs: string): Promise<Ready> {
  const installed =
    "npm" in client.packages
      ? await installFromNpm(client.packages.npm)
      : await installFromDebian(client.packages.debian);
  // Beside the packages: Node and Go look for them from the program's own folder on.
  await cp(programs, installed.folder, { recursive: true });
  if (client.prepare !== undefined) {
    const [program = "", ...args] = client.prepare;
    await run(program, args, { cwd: installed.folder });
  }
  return {
    client,
    version: await versionOf(client, installed),
    run: (way, environment = {}) => runProgram(client, installed, way, environment),
  };
}

async function runProgram(
  client: Client,
  { folder, environment }: Installed,
  way: Reached,
  told: Readonly<Record<string, string>>,
): Promise<readonly Step[]> {
  const [program = "", ...args] = await command(join(folder, client.program), folder);
  const env = {
    ...process.env,
    ...environment,
    ...told,
    COMPAT_URI: way.uri,
    COMPAT_WAY: way.name.replaceAll("-", "_"),
    PGSSLMODE: "disable",
  };
  try {
    const { stdout } = await run(program, args, { cwd: folder, env, timeout: TIME, maxBuffer: 64 << 20 });
    return readSteps(stdout, undefined);
  } catch (error) {
    const {
      stdout = "",
      stderr = "",
      message,
    } = error as Error & { readonly stdout?: string; readonly stderr?: string };
    // Some say first what it was, some last.
    const lines = stderr.trim().split("\n");
    const last = stderr === "" ? String(message) : [...new Set([lines[0], lines.at(-1)])].join(" … ");
    return readSteps(stdout, last.slice(0, 300));
  }
}

/** How a program is run, by its file's ending. */
async function command(file: string, folder: string): Promise<readonly string[]> {
  switch (extname(file)) {
    case ".mjs":
      return [process.execPath, file];
    // Debian's packages are for Debian's Python.
    case ".py":
      return ["/usr/bin/python3", file];
    case ".rb":
      return ["ruby", file];
    case ".php":
      return ["php", "-n", ...(await phpExtensions(folder)), file];
    case ".pl":
      return ["perl", file];
    case ".tcl":
      return ["tclsh", file];
    case ".go":
      return ["go", "run", file];
    case ".java":
      return ["java", "-XX:TieredStopAtLevel=1", "-cp", `${join(folder, "usr/share/java")}/*`, file];
    default:
      return ["bash", file];
  }
}

/** PHP finds its extensions by its settings, which unpacked packages have not made. */
async function phpExtensions(folder: string): Promise<readonly string[]> {
  const root = join(folder, "usr/lib/php");
  const [api = ""] = (await readdir(root).catch(() => [])).filter((name) => /^\d{8}$/.test(name));
  return ["pdo", "pgsql", "pdo_pgsql"].flatMap((name) => [
    "-d",
    `extension=${join(root, api, `${name}.so`)}`,
  ]);
}

/** Of the first package. */
async function versionOf({ packages }: Client, { folder }: Installed): Promise<string> {
  if ("npm" in packages) {
    const [first = ""] = packages.npm;
    return first.slice(first.lastIndexOf("@") + 1);
  }
  const name = packages.debian.findLast((one) => one.startsWith("golang-github")) ?? packages.debian[0] ?? "";
  const documents = await readdir(join(folder, "usr/share/doc")).catch((): readonly string[] => []);
  if (!documents.includes(name)) return "";
  const { stdout } = await run("apt-cache", ["policy", name]);
  // "Candidate: 3:3.2.25-0+deb12u7": epoch and Debian's own revision are left out.
  return /Candidate: (?:\d+:)?([^\s+~-]+)/.exec(stdout)?.[1] ?? "";
}
