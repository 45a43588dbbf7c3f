import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { readSecretText } from "../keys/secret-file.ts";
import { parseTokenKeys } from "../keys/token-keys.ts";
import { canaryToken } from "../tokens/canary.ts";
import { Sealer } from "../tokens/sealed.ts";

const USAGE = `usage: sluice tokens key [--version NUMBER]
       sluice tokens canary [--token-keys-file FILE]

key prints a line for the key ring of classes with "stored: token". canary prints the line for the policy by
which serve recognises the key ring; it is read from the file or from SLUICE_TOKEN_KEYS.`;

/** As the command line calls it. */
export const tokensKey = async (args: readonly string[]): Promise<number> =>
  tokens(["key", ...args], process.env);
export const tokensCanary = async (args: readonly string[]): Promise<number> =>
  tokens(["canary", ...args], process.env);

/** `sluice tokens`: prints a line; returns the exit status. */
export function tokens(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  print: (line: string) => void = (line) => process.stdout.write(`${line}\n`),
  complain: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): number {
  if (args.includes("--help") || args.includes("-h")) {
    print(USAGE);
    return 0;
  }
  const given = readArguments(args);
  if (given === undefined) {
    complain(USAGE);
    return 2;
  }
  if (given.order === "key") {
    print(`${given.version} ${randomBytes(32).toString("hex")}`);
    return 0;
  }
  const { file } = given;
  const read =
    file === undefined ? ({ ok: true, text: env.SLUICE_TOKEN_KEYS ?? "" } as const) : readSecretText(file);
  if (!read.ok) {
    complain(`sluice tokens: ${read.problem}`);
    return 1;
  }
  const ring = parseTokenKeys(read.text);
  if (!ring.ok) {
    complain(`sluice tokens: ${file ?? "SLUICE_TOKEN_KEYS"}: ${ring.problem}`);
    return 1;
  }
  print(`token_canary: ${canaryToken(new Sealer(ring.keys))}`);
  return 0;
}

function readArguments(args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { version: { type: "string", default: "1" }, "token-keys-file": { type: "string" } },
      allowPositionals: true,
    });
    const [order, ...more] = positionals;
    const version = Number(values.version);
    const isKnown = order === "key" || order === "canary";
    if (!isKnown || more.length > 0 || !Number.isInteger(version) || version < 1 || version > 9_999)
      return undefined;
    return { order, version, file: values["token-keys-file"] } as const;
  } catch {
    return undefined;
  }
}
