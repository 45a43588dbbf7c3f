import { hash } from "node:crypto";

/** Longer strings cost more than a digest: each is copied, hashed, and kept as long as the verdict. */
const LONG = 16 * 1024;

/** Equal for equal texts only. No text contains a zero byte, so the two kinds of key are never equal. */
export function textKey(sql: Buffer): string {
  // latin1 keeps every byte as one character, which is the cheapest exact key for a short text.
  return sql.length <= LONG ? sql.toString("latin1") : `\0#${hash("sha256", sql, "base64")}`;
}
