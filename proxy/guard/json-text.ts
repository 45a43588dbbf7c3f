import type { z } from "zod";

/** What a text of JSON holds, as the schema has it; undefined for what is no JSON, or holds something else. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
