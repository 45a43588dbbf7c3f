import { type Browser, chromium } from "playwright-core";
import { findProgram } from "./debian.ts";

/** Starts Debian's Chromium without a window. Rejects if this machine cannot have one, and says what is missing. */
export async function openBrowser(): Promise<Browser> {
  const { path, environment } = await findProgram("chromium-headless-shell", "chromium");
  return chromium.launch({
    executablePath: path,
    // Chromium's sandbox requires a user other than root. The pages that it opens here are ours.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    env: { ...process.env, ...environment },
  });
}
