import { type Browser, chromium } from "playwright-core";
import { findProgram } from "./debian.ts";

/** Debian's Chromium, without a window. Rejects where this machine can have none, and says what it lacks. */
export async function openBrowser(): Promise<Browser> {
  const { path, environment } = await findProgram("chromium-headless-shell", "chromium");
  return chromium.launch({
    executablePath: path,
    // Chromium's sandbox wants a user who is not root. What it opens here is ours.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    env: { ...process.env, ...environment },
  });
}
