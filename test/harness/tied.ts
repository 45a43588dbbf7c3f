import { type ChildProcess, spawn } from "node:child_process";
import type { Program } from "./debian.ts";

/** A child process that ends when this one does, however that ends. */
export function spawnTied({ path, environment }: Program, args: readonly string[]): ChildProcess {
  const options = {
    stdio: ["ignore", "pipe", "pipe"] as ("ignore" | "pipe")[],
    env: { ...process.env, ...environment },
  };
  return process.platform === "linux"
    ? spawn("setpriv", ["--pdeathsig=KILL", path, ...args], options)
    : spawn(path, args, options);
}

/** Waits until its output contains `sign`; if it ends before, rejects with the end of its output. */
export async function readyTied(child: ChildProcess, sign: string): Promise<void> {
  await new Promise<void>((done, fail) => {
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-4000);
        if (said.includes(sign)) done();
      });
    }
    child.once("error", fail);
    child.once("exit", (code, signal) =>
      fail(new Error(`${child.spawnargs.join(" ")} ended (${signal ?? code}):\n${said}`)),
    );
  });
}

/** Ends the process unless it has ended. */
export async function endTied(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((done) => {
    child.once("exit", () => done());
    child.kill(signal);
  });
}
