import { spawn } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { expect } from "vitest";
import { findProgram } from "../harness/debian.ts";

/** Gives a program a terminal (util-linux). */
const SCRIPT = "/usr/bin/script";
/** Tests at a terminal are left out where there is none. */
export const noTerminal = await access(SCRIPT).then(
  () => false,
  () => true,
);

/** A psql at a terminal: what it shows, and the keys that are pressed. */
export async function atTerminal(uri: string, act: (terminal: Terminal) => Promise<void>): Promise<string> {
  const { path, environment } = await findProgram("psql");
  const variables = { PSQL_PAGER: "cat", TERM: "dumb", HOME: "/nonexistent", TARGET: uri };
  const child = spawn(SCRIPT, ["-qec", `${path} --no-psqlrc "$TARGET"`, "/dev/null"], {
    env: { ...process.env, ...environment, ...variables },
  });
  const closed = once(child, "close");
  let seen = "";
  child.stdout.on("data", (text: Buffer) => {
    // Without the bells that ring where more than one name begins like that.
    seen += text.toString().replaceAll(/(?!\n)\p{Cc}/gu, "");
  });
  try {
    await act({
      press: (keys) => void child.stdin.write(keys),
      see: async (what) => void (await expect.poll(() => seen).toMatch(what)),
    });
    child.stdin.end("\\q\n");
    await closed;
    return seen;
  } finally {
    child.kill();
  }
}

export interface Terminal {
  press(keys: string): void;
  see(what: RegExp): Promise<void>;
}
