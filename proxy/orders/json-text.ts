import type { z } from "zod";

/** Parses JSON text by the schema; undefined if it is not JSON or does not match. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
