import { hash } from "node:crypto";

/**
 * The Merkle tree of RFC 6962, section 2.1, over the hashes of a segment's lines: a line's proof is a handful of hashes,
 * and not the whole segment. A leaf is SHA-256(0x00 ‖ the line's hash), a node SHA-256(0x01 ‖ left ‖ right).
 */

const DIGEST = 32;
/** One hash is made after the other, so they share their memory. */
const LEAF = Buffer.alloc(1 + DIGEST);
const NODE = Buffer.alloc(1 + 2 * DIGEST, 1);

/** A hash as Latin-1 text: Node makes strings in half the time of buffers. */
type Hash = string;

/** `lineHash` is hexadecimal, as it stands in the line. */
function leafOf(lineHash: string): Hash {
  LEAF.write(lineHash, 1, "hex");
  return hash("sha256", LEAF, "binary");
}

function nodeOf(left: Hash, right: Hash): Hash {
  NODE.write(left, 1, "latin1");
  NODE.write(right, 1 + DIGEST, "latin1");
  return hash("sha256", NODE, "binary");
}

function hexOf(one: Hash): string {
  return Buffer.from(one, "latin1").toString("hex");
}

/** A tree of so many lines. */
export interface Tree {
  readonly size: number;
  /** Hexadecimal. */
  readonly root: string;
}

/** A tree that grows line by line, in the memory of its height: the roots of its full subtrees. */
export class GrowingTree {
  /** By height; only those whose bit is set in `size` count. */
  readonly #full: Hash[];
  #size: number;

  constructor(full: readonly Hash[] = [], size = 0) {
    this.#full = [...full];
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  append(lineHash: string): void {
    let node = leafOf(lineHash);
    let height = 0;
    for (let size = this.#size; size % 2 === 1; size = (size - 1) / 2) {
      const left = this.#full[height];
      if (left === undefined) throw new Error("a full subtree is missing");
      node = nodeOf(left, node);
      height += 1;
    }
    this.#full[height] = node;
    this.#size += 1;
  }

  /** The tree as it is now: its root is computed when it is asked for. */
  snapshot(): GrowingTree {
    return new GrowingTree(this.#full, this.#size);
  }

  /** Of an empty tree the hash of nothing, as the RFC has it. */
  get root(): string {
    let root: Hash | undefined;
    for (let [height, size] = [0, this.#size]; size > 0; height += 1, size = Math.floor(size / 2)) {
      const left = this.#full[height];
      if (size % 2 === 1 && left !== undefined) root = root === undefined ? left : nodeOf(left, root);
    }
    return hexOf(root ?? hash("sha256", "", "binary"));
  }

  get tree(): Tree {
    return { size: this.#size, root: this.root };
  }
}

/** All full subtrees of a segment's lines: proofs for many of them come out of it without hashing all again. */
export class WholeTree {
  /** By height, then from the left. */
  readonly #levels: Hash[][];

  constructor(lineHashes: readonly string[]) {
    let level = lineHashes.map(leafOf);
    this.#levels = [level];
    while (level.length > 1) {
      const below = level;
      level = Array.from({ length: Math.floor(below.length / 2) }, (_, i) =>
        nodeOf(at(below, 2 * i), at(below, 2 * i + 1)),
      );
      this.#levels.push(level);
    }
  }

  /** The hashes that lead from the line at `index` to the root of the tree of the first `size` lines, the lowest first. */
  path(index: number, size: number): readonly string[] {
    return this.#path(index, 0, size).map(hexOf);
  }

  #path(index: number, from: number, to: number): readonly Hash[] {
    if (to - from <= 1) return [];
    const middle = from + split(to - from);
    return index < middle
      ? [...this.#path(index, from, middle), this.#root(middle, to)]
      : [...this.#path(index, middle, to), this.#root(from, middle)];
  }

  #root(from: number, to: number): Hash {
    const count = to - from;
    const height = Math.log2(count);
    if (Number.isInteger(height)) return at(this.#levels[height] ?? [], from / count);
    const middle = from + split(count);
    return nodeOf(this.#root(from, middle), this.#root(middle, to));
  }
}

/** The largest power of two below `count`: so many leaves hang on the left. */
function split(count: number): number {
  return 2 ** Math.floor(Math.log2(count - 1));
}

function at(nodes: readonly Hash[], index: number): Hash {
  const node = nodes[index];
  if (node === undefined) throw new RangeError(`the tree has no node ${index} there`);
  return node;
}
