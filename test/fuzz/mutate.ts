import type { Random } from "./random.ts";

/** Lengths and counts at which something changes: zero, signs, and the limits of protocol and proxy. */
const LENGTHS = [
  -2147483648,
  -1,
  0,
  1,
  3,
  4,
  5,
  7,
  8,
  255,
  256,
  32767,
  32768,
  65535,
  65536,
  1 << 20,
  2147483647,
];

/** Another input near this one: some messages of it changed, moved, doubled, left out, or cut. */
export function mutate(
  messages: readonly Buffer[],
  pool: readonly Buffer[],
  random: Random,
): readonly Buffer[] {
  let mutated = [...messages];
  for (let left = 1 + random.below(3); left > 0; left--) mutated = step(mutated, pool, random);
  return mutated.slice(0, 40);
}

function step(messages: readonly Buffer[], pool: readonly Buffer[], random: Random): Buffer[] {
  const at = random.below(messages.length + 1);
  const message = messages[at];
  const before = messages.slice(0, at);
  const after = messages.slice(at + 1);
  if (message === undefined || message.length === 0) return [...messages, random.of(pool)];
  switch (random.below(9)) {
    case 0:
      return [...before, ...after];
    case 1:
      return [...before, message, message, ...after];
    case 2:
      return [...before, random.of(pool), message, ...after];
    case 3:
      return [...before, message.subarray(0, random.below(message.length)), ...after];
    case 4:
      return [...before, withByte(message, random), ...after];
    case 5:
      return [...before, withWord(message, random.below(message.length), random), ...after];
    case 6:
      // The length word, behind the type byte or at the start.
      return [...before, withWord(message, random.below(2), random), ...after];
    case 7:
      return [...before, spliced(message, random.of(pool), random), ...after];
    default:
      return [...after, message, ...before];
  }
}

function withByte(message: Buffer, random: Random): Buffer {
  const changed = Buffer.from(message);
  changed[random.below(changed.length)] = random.of([
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x27,
    0x22,
    0x5c,
    random.below(256),
  ]);
  return changed;
}

function withWord(message: Buffer, at: number, random: Random): Buffer {
  const changed = Buffer.concat([message, Buffer.alloc(Math.max(0, at + 4 - message.length))]);
  changed.writeInt32BE(random.of([...LENGTHS, message.length, message.length - 1, message.length + 1]), at);
  return changed;
}

function spliced(one: Buffer, other: Buffer, random: Random): Buffer {
  return Buffer.concat([
    one.subarray(0, random.below(one.length)),
    other.subarray(random.below(other.length + 1)),
  ]);
}

/** The bytes in pieces as a network may cut them: often inside of a head. */
export function* chunks(bytes: Buffer, random: Random): Generator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random.below(random.of([1, 4, 6, 64, bytes.length]));
    yield bytes.subarray(at, end);
    at = end;
  }
}
