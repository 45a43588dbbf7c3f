import { open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "./segments.ts";

/*
 * Files beside the log: its own lines are a chain, and nothing can be added to or taken out of what is sealed. Whoever
 * writes one signs each line.
 */

/** Appends lines. Once this resolves they are on disk, and so is the file's name in its folder. */
export async function appendLines(path: string, lines: readonly string[]): Promise<void> {
  const file = await open(path, "a", 0o600);
  try {
    await file.appendFile(lines.map((line) => `${line}\n`).join(""));
    await file.datasync();
  } finally {
    await file.close();
  }
  await syncFolder(dirname(path));
}

/** The file's lines; none if there is no such file. */
export async function linesOf(path: string): Promise<readonly string[]> {
  try {
    return (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
