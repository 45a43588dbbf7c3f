import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { kmsNamed, wrappedKey } from "../keys/kms/kms.ts";
import { KmsError } from "../keys/kms/kms-request.ts";
import { canaryToken } from "../tokens/canary.ts";
import { Sealer } from "../tokens/sealed.ts";
import { accessBy, KEY_OPTIONS, type KeyOptions, KMS_USAGE, keysBy } from "./kms-options.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const USAGE = `usage: sluice tokens key [--version NUMBER] [--kms KEY] [options]
       sluice tokens canary [options]

key prints a line for the key ring of classes with "stored: token". canary prints the line for the policy by
which serve recognises the key ring.

  --version NUMBER             of the key; 1 if left out
  --kms KEY                    a line that only this key of a KMS can unwrap: vault:https://HOST:PORT/MOUNT/KEY, aws:ARN
                               or gcp:projects/…/cryptoKeys/KEY. With a key ring, its key of this version is wrapped
${KMS_USAGE}`;

/** As the command line calls it. */
export const tokensKey = async (args: readonly string[]): Promise<number> =>
  await tokens(["key", ...args], process.env);
export const tokensCanary = async (args: readonly string[]): Promise<number> =>
  await tokens(["canary", ...args], process.env);

/** `sluice tokens`: prints a line; returns the exit status. */
export async function tokens(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  streams: Streams = STANDARD,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(USAGE);
    return 0;
  }
  const asked = readArguments(args);
  const line = isWrong(asked)
    ? asked
    : asked.order === "key"
      ? await keyLine(asked, env)
      : await canaryLine(asked, env);
  if (!isWrong(line)) {
    streams.output.write(`${line}\n`);
    return 0;
  }
  if (line.status === 2) streams.errors.write(USAGE);
  return complain("tokens", line, streams);
}

interface Asked {
  readonly order: "key" | "canary";
  readonly version: number;
  readonly kms: string | undefined;
  readonly options: KeyOptions;
}

async function keyLine({ version, kms, options }: Asked, env: NodeJS.ProcessEnv): Promise<string | Wrong> {
  if (kms === undefined) return `${version} ${randomBytes(32).toString("hex")}`;
  const given = await secretOf(version, options, env);
  if (isWrong(given)) return given;
  const access = accessBy(options, env);
  if (isWrong(access)) return access;
  try {
    return `${version} ${kms} ${await wrappedKey(kmsNamed(kms, access), given.secret)}`;
  } catch (error) {
    if (error instanceof KmsError) return { problem: error.message, status: 1 };
    throw error;
  }
}

/** A key that exists already; undefined without a key ring: a new one. */
async function secretOf(
  version: number,
  options: KeyOptions,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly secret: Buffer | undefined } | Wrong> {
  if (options["token-keys-file"] === undefined) return { secret: undefined };
  const keys = await keysBy(options, env);
  if (isWrong(keys)) return keys;
  const secret = keys.secrets.get(version);
  return secret === undefined
    ? { problem: `the key ring has no key of version ${version}`, status: 1 }
    : { secret };
}

async function canaryLine({ options }: Asked, env: NodeJS.ProcessEnv): Promise<string | Wrong> {
  const keys = await keysBy(options, env);
  return isWrong(keys) ? keys : `token_canary: ${canaryToken(new Sealer(keys))}`;
}

function readArguments(args: readonly string[]): Asked | Wrong {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { version: { type: "string", default: "1" }, kms: { type: "string" }, ...KEY_OPTIONS },
      allowPositionals: true,
    });
    const [order, ...more] = positionals;
    const { version: given, kms, ...options } = values;
    const version = Number(given);
    if ((order !== "key" && order !== "canary") || more.length > 0) return misused("key or canary");
    if (!Number.isInteger(version) || version < 1 || version > 9_999)
      return misused("--version: a number of 1 to 9999");
    return { order, version, kms, options };
  } catch (error) {
    return misused(error instanceof Error ? error.message : "these arguments are not understood");
  }
}
