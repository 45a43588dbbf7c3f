import { stringify } from "yaml";
import { z } from "zod";

/*
 * Parts of the YAML format that several keys share. The `error` texts say what would be right: they become the hint of
 * a problem.
 */

/** A mapping with these keys and no others. */
export function mapping<Shape extends z.ZodRawShape>(shape: Shape, example: string) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys" ? `Keys here: ${Object.keys(shape).join(", ")}.` : example,
  });
}

export const name = z
  .string({ error: "A name; put it in quotes if it looks like a number." })
  .min(1, { error: "A name that is not empty." });

/** A table name in a policy: `schema.table` without further dots or stars. */
export const RELATION_NAME = /^[^.*\s][^.*]*\.[^.*]+$/;

export const relationName = z.string({ error: "A table as schema.table." }).regex(RELATION_NAME, {
  error: "A table with its schema, as in public.customers.",
});

export const sql = z
  .string({ error: "One SQL expression, in quotes." })
  .min(1, { error: "One SQL expression, in quotes." });

export const positive = z
  .number({ error: "A whole number, 1 or more." })
  .int({ error: "A whole number, 1 or more." })
  .min(1, { error: "A whole number, 1 or more." });

export const count = z
  .number({ error: "A whole number, 0 or more." })
  .int({ error: "A whole number, 0 or more." })
  .min(0, { error: "A whole number, 0 or more." });

export const none = z.literal("none");

export const BYTES_HINT =
  "A size as in 4096, 256kB, 10MB or 1GB (1kB is 1024 bytes, as in Postgres), or none.";

export const size = z.union(
  [positive, z.string().regex(/^[1-9][0-9]{0,8} ?(B|kB|MB|GB)$/, { error: BYTES_HINT })],
  { error: BYTES_HINT },
);

/** A value as written on one line of YAML. */
export function inline(value: unknown): string {
  const text = stringify(value, { collectionStyle: "flow", lineWidth: 0 }).trim();
  return text.replaceAll("[ ", "[").replaceAll(" ]", "]");
}
