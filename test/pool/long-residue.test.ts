import { expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import { ResidueCache } from "../../proxy/pool/pools.ts";
import { type Residue, residueOf, UNKNOWN_RESIDUE } from "../../proxy/sql/session-residue.ts";

const CATALOG: Catalog = {
  database: "support",
  serverVersion: 180000,
  version: "empty",
  relations: new Map(),
  relationsByOid: new Map(),
  relationsByName: new Map(),
  schemas: new Set(["public"]),
  functionsByName: new Map(),
  functionsByOid: new Map(),
  operatorsOutside: new Map(),
  casts: [],
  typesByName: new Map(),
  typesByOid: new Map(),
};

const columns = (count: number) => Array.from({ length: count }, (_, n) => `1 + ${n} as c${n}`).join(", ");
const LONG = Buffer.from(`select ${columns(1_000)}`);

function cacheWith(answer: () => Promise<Residue | undefined>) {
  const asked: string[] = [];
  const cache = new ResidueCache((text) => {
    asked.push(text);
    return answer();
  });
  return { cache, asked };
}

test("a long text may leave anything behind until it has been found out elsewhere, once", async () => {
  const found = residueOf(LONG.toString(), CATALOG, LONG.length);
  expect(found.leaves).toBe("nothing");
  const { cache, asked } = cacheWith(async () => found);
  expect(cache.of(LONG, CATALOG)).toBe(UNKNOWN_RESIDUE);
  expect(cache.of(LONG, CATALOG)).toBe(UNKNOWN_RESIDUE);
  await Promise.resolve();
  expect(cache.of(LONG, CATALOG)).toBe(found);
  expect(asked).toEqual([LONG.toString()]);
});

test("where it cannot be found out it may leave anything behind, and is asked for again", async () => {
  const { cache, asked } = cacheWith(async () => undefined);
  for (let i = 0; i < 3; i++) {
    expect(cache.of(LONG, CATALOG)).toBe(UNKNOWN_RESIDUE);
    await Promise.resolve();
  }
  expect(asked).toHaveLength(3);
});

test("a short text, and one with a long list of constants, are looked at at once", () => {
  const { cache, asked } = cacheWith(async () => undefined);
  const list = Array.from({ length: 5_000 }, (_, n) => n).join(", ");
  for (const sql of ["select 1", `select 1 in (${list})`])
    expect(cache.of(Buffer.from(sql), CATALOG).leaves).toBe("nothing");
  expect(asked).toEqual([]);
});
