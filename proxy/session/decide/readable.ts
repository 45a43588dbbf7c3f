import type { Reported } from "../context/reported.ts";

/**
 * Whether a text means to the server what our parser reads in it. The parser reads UTF-8 and standard strings; in plain ASCII all
 * of Postgres's encodings agree.
 */
export function isReadable(text: Buffer, { clientEncoding, standardStrings }: Reported): boolean {
  if (standardStrings === "off") return false;
  return clientEncoding === undefined || clientEncoding === "UTF8" || text.every((byte) => byte < 0x80);
}
