import type { RangeTableSample } from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/**
 * `c TABLESAMPLE bernoulli (10)`: the sample belongs to the table, so it moves into the subquery. Its arguments stay as
 * written, and so may only be constants and parameters.
 */
export function unknownSample({ relation, args, repeatable, method }: RangeTableSample): Refusal | undefined {
  if (nodeOf(relation ?? {})[0] !== "RangeVar")
    return refuse("42501", "TABLESAMPLE is only known on a relation", {
      hint: "Sample the table inside the subquery.",
    });
  const given = [...(args ?? []), ...(repeatable === undefined ? [] : [repeatable])];
  if (!given.every((argument) => ["A_Const", "ParamRef"].includes(nodeOf(argument)[0])))
    return refuse("42501", "TABLESAMPLE takes constants and parameters only", {
      hint: "Write the percentage as a number.",
    });
  const names = (method ?? []).map(stringOf);
  if (names.length > 1 || !["bernoulli", "system"].includes(names[0] ?? ""))
    return refuse("42501", `the sampling method ${names.join(".")} is not known`, {
      hint: "Use bernoulli or system.",
    });
  return undefined;
}
