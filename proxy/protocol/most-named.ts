import { type Refusal, refuse } from "../wire/refusal.ts";

/** What all names of a session may hold (bytes): thousands of statements as object mappers write them. */
export const MOST_NAMED = 32 * 1024 * 1024;

/** What a name's own objects weigh, about. */
export const NAME_BYTES = 500;

/** Undefined: there is room for one more named statement or portal beside those that hold so many bytes. */
export function refuseWeight(held: number): Refusal | undefined {
  if (held < MOST_NAMED) return undefined;
  return refuse(
    "54000",
    `prepared statements and cursors of this session hold more than ${MOST_NAMED} bytes`,
    {
      hint: "Close those that are not needed: DEALLOCATE, CLOSE, or a smaller statement cache of the driver.",
    },
  );
}
