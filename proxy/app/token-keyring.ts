import { unwrapRing } from "../keys/kms/kms.ts";
import type { LoadedTokenKeys } from "../keys/token-keys.ts";
import type { Log } from "../log.ts";
import type { PolicySet } from "../policy/compile.ts";
import { describeProblem } from "../policy/problems.ts";
import type { Settings } from "../settings/settings.ts";
import { Sealer } from "../tokens/sealed.ts";
import { tokenProblems } from "./compose-policy.ts";
import type { ReadAgain } from "./compose-reload.ts";
import { kmsAccess } from "./kms-access.ts";

/** The keys of the settings' ring, as the KMS has unwrapped them; undefined without a ring. */
export async function tokenKeysOf(settings: Settings): Promise<LoadedTokenKeys | undefined> {
  if (settings.tokenKeys === undefined) return undefined;
  try {
    return await unwrapRing(settings.tokenKeys, kmsAccess(settings, process.env));
  } catch (error) {
    return { ok: false, problem: error instanceof Error ? error.message : "the key ring cannot be read" };
  }
}

/** The key ring in force. A reload reads it again; one that cannot be unwrapped, or is not the policy's, changes nothing. */
export class TokenKeyring {
  readonly sealer: Sealer | undefined;
  readonly #readAgain: ReadAgain | undefined;
  readonly #log: Log;

  constructor(keys: LoadedTokenKeys | undefined, readAgain: ReadAgain | undefined, log: Log) {
    this.sealer = keys?.ok === true ? new Sealer(keys.keys) : undefined;
    this.#readAgain = readAgain;
    this.#log = log;
  }

  /** Gives why the keys of before stay; undefined: those of the settings are in force. */
  async reload(policies: PolicySet): Promise<string | undefined> {
    const read = this.#readAgain?.();
    // What is wrong with other settings is told by those who read them.
    if (read === undefined || !read.ok) return undefined;
    const keys = await tokenKeysOf(read.settings);
    if (keys === undefined) return this.sealer && "--token-keys-file is not given any more";
    if (!keys.ok) return keys.problem;
    if (this.sealer === undefined) return "a first key ring needs a restart";
    const [problem] = tokenProblems(policies, new Sealer(keys.keys));
    if (problem !== undefined) return describeProblem(problem);
    this.sealer.use(keys.keys);
    return undefined;
  }

  tell(problem: string): void {
    this.#log.error({ problem }, "the key ring is not good: the keys of tokens that were read before stay");
  }
}
