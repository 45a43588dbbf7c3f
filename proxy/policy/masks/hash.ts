import { createHash } from "node:crypto";
import { hex, utf8 } from "../sql-pieces.ts";
import { type Masked, type MaskSql, maskKind, typed, unfit } from "./mask.ts";
import { capacity, TEXT_TYPES, textOf } from "./mask-text.ts";

export const hash = maskKind("hash", {
  words: { hash: { kind: "hash" } },
  examples: ["hash"],
  about: "SHA-256 without a key; anyone who can list all possible values can find the one behind it.",
  fits: "text of 64 characters or more",
  sql: (_, masked) => digest(masked),
  shown: (_, value) => createHash("sha256").update(value).digest("hex"),
  text: () => "hash",
});

const HASH_LENGTH = 64;

function digest({ column, type }: Masked): MaskSql {
  if (!TEXT_TYPES.has(type.name)) return unfit(type, "text");
  const room = capacity(type);
  if (room < HASH_LENGTH)
    return { ok: false, problem: `a hash has ${HASH_LENGTH} characters, the column ${room}` };
  return typed(column, hex(`pg_catalog.sha256(${utf8(textOf(column, type))})`), type);
}
