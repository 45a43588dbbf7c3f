import { execFile } from "node:child_process";
import { copyFile, cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { inject } from "vitest";
import type { Threads } from "../../proxy/app/compose.ts";
import { madeOnce } from "./made-once.ts";

const ROOT = join(import.meta.dirname, "../..");

/** The compiled program: a process of its own cannot run from the sources. */
export interface Program {
  readonly main: string;
  /** For a Sluice that otherwise runs from its sources. */
  readonly threads: Threads;
}

/** It takes some six seconds of a processor. */
export async function compileSluice(): Promise<Program> {
  const folder = await madeOnce(join(inject("programFolder"), "compiled"), compile);
  return {
    main: join(folder, "dist/main.js"),
    threads: {
      analyst: pathToFileURL(join(folder, "dist/analyst/thread.js")),
      leaks: pathToFileURL(join(folder, "dist/app/leak-thread.js")),
    },
  };
}

async function compile(folder: string): Promise<void> {
  await mkdir(folder);
  await copyFile(join(ROOT, "package.json"), join(folder, "package.json"));
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const project = join(ROOT, "tsconfig.build.json");
  // `npm run check` checks the types.
  await promisify(execFile)(process.execPath, [
    tsc,
    "-p",
    project,
    "--outDir",
    join(folder, "dist"),
    "--noCheck",
  ]);
  // The build script does the same.
  for (const asset of ["admin/console/assets", "audit/evidence/verify.mjs"])
    await cp(join(ROOT, "proxy", asset), join(folder, "dist", asset), { recursive: true });
}
