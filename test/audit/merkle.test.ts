import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { GrowingTree, WholeTree } from "../../proxy/audit/merkle.ts";

const sha256 = (...parts: readonly Buffer[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
const lineHash = (i: number) => sha256(Buffer.from(`line ${i}`)).toString("hex");
const leaf = (hash: string) => sha256(Buffer.of(0), Buffer.from(hash, "hex"));

/** MTH and PATH as RFC 6962, section 2.1, writes them down. */
function treeHash(leaves: readonly Buffer[]): Buffer {
  const [only] = leaves;
  if (only === undefined) return sha256();
  if (leaves.length === 1) return only;
  const k = split(leaves.length);
  return sha256(Buffer.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

function pathOf(index: number, leaves: readonly Buffer[]): readonly Buffer[] {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return index < k
    ? [...pathOf(index, leaves.slice(0, k)), treeHash(leaves.slice(k))]
    : [...pathOf(index - k, leaves.slice(k)), treeHash(leaves.slice(0, k))];
}

function split(count: number): number {
  let k = 1;
  while (2 * k < count) k *= 2;
  return k;
}

test("a growing tree has at each size the root that RFC 6962 gives it", () => {
  const growing = new GrowingTree();
  const leaves: Buffer[] = [];
  for (let i = 0; i < 140; i++) {
    expect(growing.root).toBe(treeHash(leaves).toString("hex"));
    const earlier = growing.snapshot();
    growing.append(lineHash(i));
    leaves.push(leaf(lineHash(i)));
    // What was put aside does not grow along.
    expect(earlier.root).toBe(treeHash(leaves.slice(0, -1)).toString("hex"));
  }
});

test("a proof is the RFC's, for each line and for each size of the tree that has it", () => {
  const hashes = Array.from({ length: 97 }, (_, i) => lineHash(i));
  const whole = new WholeTree(hashes);
  const leaves = hashes.map(leaf);
  const claim = fc.property(fc.nat(96), fc.nat(96), (a, b) => {
    const [index, size] = [Math.min(a, b), Math.max(a, b) + 1];
    const expected = pathOf(index, leaves.slice(0, size)).map((node) => node.toString("hex"));
    expect(whole.path(index, size)).toEqual(expected);
  });
  fc.assert(claim, { numRuns: 300 });
});
