import type { Output } from "./bound.ts";
import type { PlainColumn } from "./relation.ts";

/** A query's outputs as the columns of a reference to it. */
export function outputColumns(outputs: readonly Pick<Output, "name" | "typeOid">[]): readonly PlainColumn[] {
  return outputs.map(({ name, typeOid }, position) => ({
    name,
    typeOid,
    source: { kind: "output", position },
  }));
}
