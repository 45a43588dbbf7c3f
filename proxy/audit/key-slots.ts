import { hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "./segments.ts";

/**
 * Where a writer keeps the private keys of its chain: a file of two slots that are written in turn. The new one is on disk before the old
 * one is overwritten with zeroes in place, so a crash leaves one of them or both, and never none. A renamed file would leave
 * the old one's bytes on the disk.
 */
const SLOT_BYTES = 4096;
const GENERATION_BYTES = 8;
const SEED_BYTES = 32;
const SEEDS = 2;
const CONTENT_BYTES = GENERATION_BYTES + SEEDS * SEED_BYTES;
const DIGEST_BYTES = 32;

export interface Kept {
  readonly generation: bigint;
  readonly seeds: readonly Buffer[];
}

export function keysFile(folder: string, writer: string): string {
  return join(folder, `.${writer}.keys`);
}

/** What the slots hold, the newest first; nothing where there is no file. */
export async function readSlots(folder: string, writer: string): Promise<readonly Kept[]> {
  let file: FileHandle;
  try {
    file = await open(keysFile(folder, writer), "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  try {
    const content = Buffer.alloc(2 * SLOT_BYTES);
    await file.read(content, 0, content.length, 0);
    const kept = [content.subarray(0, SLOT_BYTES), content.subarray(SLOT_BYTES)].flatMap(
      (slot) => keptIn(slot) ?? [],
    );
    return kept.toSorted((a, b) => (a.generation > b.generation ? -1 : 1));
  } finally {
    await file.close();
  }
}

/** Writes one slot and erases the other. */
export async function writeSlots(folder: string, writer: string, { generation, seeds }: Kept): Promise<void> {
  const { O_RDWR, O_CREAT } = constants;
  const file = await open(keysFile(folder, writer), O_RDWR | O_CREAT, 0o600);
  try {
    const own = Number(generation % 2n);
    await file.write(slotOf(generation, seeds), 0, SLOT_BYTES, own * SLOT_BYTES);
    await file.datasync();
    if (generation === 1n) await syncFolder(folder);
    await file.write(Buffer.alloc(SLOT_BYTES), 0, SLOT_BYTES, (1 - own) * SLOT_BYTES);
    await file.datasync();
  } finally {
    await file.close();
  }
}

function slotOf(generation: bigint, seeds: readonly Buffer[]): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.writeBigUInt64BE(generation);
  for (const [i, seed] of seeds.entries()) seed.copy(slot, GENERATION_BYTES + i * SEED_BYTES);
  digestOf(slot).copy(slot, CONTENT_BYTES);
  return slot;
}

/** Undefined: erased, or torn by a crash. */
function keptIn(slot: Buffer): Kept | undefined {
  if (!digestOf(slot).equals(slot.subarray(CONTENT_BYTES, CONTENT_BYTES + DIGEST_BYTES))) return undefined;
  const seeds = Array.from({ length: SEEDS }, (_, i) => {
    const start = GENERATION_BYTES + i * SEED_BYTES;
    return Buffer.from(slot.subarray(start, start + SEED_BYTES));
  });
  return { generation: slot.readBigUInt64BE(), seeds };
}

function digestOf(slot: Buffer): Buffer {
  return hash("sha256", slot.subarray(0, CONTENT_BYTES), "buffer");
}
