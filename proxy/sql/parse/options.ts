import type { DefElem, Node } from "libpg-query";
import { nodeOf, stringOf } from "./grammar.ts";

/** Option names of EXPLAIN and COPY, in lower case. */
export function optionNames(options: readonly Node[] | undefined): readonly string[] {
  return (options ?? []).map((node) => ((nodeOf(node)[1] as DefElem).defname ?? "").toLowerCase());
}

export function optionText(options: readonly Node[] | undefined, name: string): string | undefined {
  const option = (options ?? [])
    .map((node) => nodeOf(node)[1] as DefElem)
    .find(({ defname }) => defname?.toLowerCase() === name);
  return option?.arg === undefined ? undefined : stringOf(option.arg);
}
