import { createHmac } from "node:crypto";
import { z } from "zod";
import { bytes, concat, hex, text, utf8 } from "../sql-pieces.ts";
import { type Masked, type MaskSql, maskKind, typed, unfit } from "./mask.ts";
import { capacity, TEXT_TYPES, textOf } from "./mask-text.ts";

export const token = maskKind("token", {
  mapping: {
    key: "token",
    value: z
      .string({ error: "What each token begins with, as in cust_." })
      .regex(/^[A-Za-z0-9_.:-]{0,20}$/, { error: "At most 20 letters, digits and _ . : -, as in cust_." }),
    compile: (prefix) => ({ kind: "token", prefix }),
  },
  examples: [{ token: "cust_" }],
  about:
    "Keyed and always the same for the same value, so joins and groups still work; the value is the prefix.",
  fits: "text, uuid and bigint",
  sql: ({ prefix }, masked) => tokenOf(prefix, masked),
  shown: ({ prefix }, value, key) =>
    key === undefined
      ? null
      : `${prefix}${createHmac("sha256", keyOf(prefix, key)).update(value).digest("hex").slice(0, TOKEN_LENGTH)}`,
  text: ({ prefix }) => `token ${prefix}…`,
});

const TOKEN_LENGTH = 16;

/**
 * HMAC-SHA-256 (RFC 2104) written out, because Postgres has no built-in function for it. The statement contains the
 * key's inner and outer block as constants; they belong to this prefix alone, and no other key can be derived from
 * them.
 */
function tokenOf(prefix: string, { column, type, key }: Masked): MaskSql {
  if (key === undefined) return { ok: false, problem: "a token mask needs the secret key of the proxy" };
  const blocks = hmacBlocks(keyOf(prefix, key));
  const digest = (value: string) => {
    const inner = `pg_catalog.sha256(${concat(bytes(blocks.inner), utf8(value))})`;
    return hex(`pg_catalog.sha256(${concat(bytes(blocks.outer), inner)})`);
  };
  const plain = `(${column})::pg_catalog.text`;
  if (TEXT_TYPES.has(type.name)) {
    const room = capacity(type);
    const needed = prefix.length + TOKEN_LENGTH;
    // A truncated token would be the same for different people.
    if (room < needed) return { ok: false, problem: `a token has ${needed} characters, the column ${room}` };
    return typed(
      column,
      concat(text(prefix), `pg_catalog.left(${digest(textOf(column, type))}, ${TOKEN_LENGTH})`),
      type,
    );
  }
  switch (type.name) {
    case "uuid":
      return typed(column, `pg_catalog.left(${digest(plain)}, 32)`, type);
    case "int8":
      // 60 bits: never negative, and long enough that collisions are practically impossible.
      return typed(
        column,
        `(${concat("'x'", `pg_catalog.left(${digest(plain)}, 15)`)})::pg_catalog.bit(60)`,
        type,
      );
    case "int4":
    case "int2":
      return {
        ok: false,
        problem: `a token of type ${type.sql} would be the same for different people: it has too few digits`,
      };
    default:
      return unfit(type, "text, uuid or bigint");
  }
}

function keyOf(prefix: string, key: Buffer): Buffer {
  return createHmac("sha256", key).update(`sluice token mask\0${prefix}`).digest();
}

function hmacBlocks(key: Buffer): { readonly inner: Buffer; readonly outer: Buffer } {
  // The key is shorter than SHA-256's block of 64 bytes, so it is padded with zeros.
  const block = Buffer.concat([key], 64);
  return {
    inner: block.map((byte) => byte ^ 0x36) as Buffer,
    outer: block.map((byte) => byte ^ 0x5c) as Buffer,
  };
}
