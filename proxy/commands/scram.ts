import { randomBytes } from "node:crypto";
import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { parseArgs } from "node:util";
import { DEFAULT_ITERATIONS, formatVerifier, makeVerifier, SALT_BYTES } from "../wire/scram.ts";
import { formatUser } from "../wire/users-file.ts";

const USAGE = `usage: sluice scram USER [--iterations NUMBER]

Makes a line for the users file of --auth scram. The password is asked for at a terminal, or read as the
first line of standard input; it is never an argument, for those show in the process list.`;

/** As the command line calls it. */
export const run = (args: readonly string[]): Promise<number> => scram(args);

/** Where the password comes from and the line goes to. */
export interface ScramStreams {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream;
  readonly errors: NodeJS.WritableStream;
}

/** `sluice scram`: prints a user's line for the users file; resolves to the exit status. */
export async function scram(
  args: readonly string[],
  streams: ScramStreams = { input: stdin, output: stdout, errors: process.stderr },
): Promise<number> {
  const fail = (problem: string, status: number) => {
    streams.errors.write(`${problem}\n`);
    return status;
  };
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(`${USAGE}\n`);
    return 0;
  }
  const options = readOptions(args);
  if (options === undefined) return fail(USAGE, 2);
  const answer = await (streams.input.isTTY ? askTwice(streams) : firstLine(streams.input));
  if ("problem" in answer) return fail(`sluice scram: ${answer.problem}`, 1);
  const verifier = await makeVerifier(answer.password, options.iterations, randomBytes(SALT_BYTES));
  streams.output.write(`${formatUser(options.user, formatVerifier(verifier))}\n`);
  return 0;
}

function readOptions(args: readonly string[]): { user: string; iterations: number } | undefined {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { iterations: { type: "string", default: String(DEFAULT_ITERATIONS) } },
      allowPositionals: true,
    });
    const [user, ...rest] = positionals;
    const iterations = Number(values.iterations);
    // RFC 7677 asks for 4096 at the least.
    const possible = Number.isInteger(iterations) && iterations >= 4096 && iterations <= 1_000_000;
    if (!user || /[\r\n\0]/.test(user) || rest.length > 0 || !possible) return undefined;
    return { user, iterations };
  } catch {
    return undefined;
  }
}

type PasswordAnswer = { readonly password: string } | { readonly problem: string };

async function firstLine(input: NodeJS.ReadableStream): Promise<PasswordAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return checked(Buffer.concat(chunks).toString("utf8").split(/\r?\n/, 1)[0] ?? "");
}

async function askTwice(streams: ScramStreams): Promise<PasswordAnswer> {
  // What readline would echo goes nowhere; the questions are written past it.
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: streams.input, output: silence, terminal: true });
  const interrupted = new AbortController();
  lines.once("SIGINT", () => interrupted.abort()).once("close", () => interrupted.abort());
  const ask = async (question: string) => {
    streams.errors.write(question);
    const answer = await lines.question("", { signal: interrupted.signal });
    streams.errors.write("\n");
    return answer;
  };
  try {
    const password = await ask("Password: ");
    const again = await ask("Again: ");
    return password === again ? checked(password) : { problem: "the two passwords differ" };
  } catch {
    return { problem: "no password given" };
  } finally {
    lines.close();
  }
}

function checked(password: string): PasswordAnswer {
  if (password === "") return { problem: "the password is empty" };
  if (password.includes("\0")) return { problem: "the password holds a zero byte" };
  return { password };
}
