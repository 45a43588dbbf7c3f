import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AuditKeys } from "./audit-keys.ts";
import { readSlots, writeSlots } from "./key-slots.ts";
import { MovingKey, randomKey, secretOf } from "./moving-keys.ts";
import type { Recovered } from "./recover.ts";

/** A writer's chain cannot go on. `cut`: its key has moved on past its end, so lines are missing. */
export class ChainEnds extends Error {
  readonly cut: boolean;

  constructor(cut: boolean) {
    super("the key that signs this chain is missing");
    this.cut = cut;
  }
}

/**
 * The key with which a writer's chain goes on: the one that it names last. A new chain begins with a random one, for which
 * the fleet's key vouches. Throws ChainEnds where the key is not there: if others could begin in the middle of a chain,
 * whoever has the fleet's key could write again what is before.
 */
export async function keyFor(
  folder: string,
  writer: string,
  { nextKey, record }: Recovered,
  fleet: AuditKeys,
): Promise<MovingKey> {
  const kept = await readSlots(folder, writer);
  let generation = kept[0]?.generation ?? 0n;
  const keep = (seeds: readonly Buffer[]) => {
    generation += 1n;
    return writeSlots(folder, writer, { generation, seeds });
  };
  const secrets = kept.flatMap(({ seeds }) => seeds.map(secretOf));
  const named = secrets.find(({ text }) => text === nextKey);
  // What names the key is behind a line that was changed. Verification ends there, whatever signs what follows.
  const last = record?.kind === "log damaged" ? secrets[0] : undefined;
  const current = nextKey === undefined ? randomKey() : (named ?? last);
  if (current === undefined) throw new ChainEnds(secrets.length > 0);
  const key = new MovingKey(current, nextKey === undefined ? fleet : undefined, keep);
  await key.renew();
  return key;
}

function leftFile(folder: string, writer: string): string {
  return join(folder, `.${writer}.left`);
}

/** So that the next process does not try again. */
export async function markLeft(folder: string, writer: string): Promise<void> {
  await writeFile(leftFile(folder, writer), "", { mode: 0o600 });
}

export async function isLeft(folder: string, writer: string): Promise<boolean> {
  return access(leftFile(folder, writer)).then(
    () => true,
    () => false,
  );
}
