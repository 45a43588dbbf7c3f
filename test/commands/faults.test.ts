import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { compileSluice, type Program } from "../harness/compiled-program.ts";

let program: Program;
beforeAll(async () => {
  program = await compileSluice();
});

function at(path: string): string {
  return JSON.stringify(pathToFileURL(join(dirname(program.main), path)).href);
}

/** Runs a few lines in a process of their own, in which faults are told of; gives its log and how it ended. */
async function run(lines: string): Promise<{ readonly log: string; readonly status: number }> {
  const source = `
    const { createLog } = await import(${at("log.js")});
    const { tellOfFaults } = await import(${at("commands/faults.js")});
    tellOfFaults(createLog({ level: "info" }));
    const fault = Object.assign(new Error("broken"), { command: { args: ["hunter2"] } });
    ${lines}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source]);
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const [status] = await once(child, "close");
  return { log, status };
}

test("a promise that nobody waits for ends nothing, and the log has its error without what hangs on it", async () => {
  const { log, status } = await run(`Promise.reject(fault); setImmediate(() => console.error("goes on"));`);
  expect(log).toContain('"message":"broken"');
  expect(log).toContain("goes on");
  expect(log).not.toContain("hunter2");
  expect(status).toBe(0);
});

test("an exception that nobody catches ends the process, and the log has it without what hangs on it", async () => {
  const { log, status } = await run("setImmediate(() => { throw fault; }); setTimeout(() => {}, 60_000);");
  expect(log).toContain('"level":"fatal"');
  expect(log).not.toContain("hunter2");
  expect(status).toBe(1);
});
