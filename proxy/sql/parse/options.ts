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

/** Whether a boolean option says no, in the spellings of defGetBoolean (commands/define.c). */
export function isOff({ arg }: DefElem): boolean {
  if (arg === undefined) return false;
  const [type, body] = nodeOf(arg);
  switch (type) {
    case "Boolean":
      return (body as { boolval?: boolean }).boolval !== true;
    case "Integer":
      // The parser's JSON omits zeros.
      return ((body as { ival?: number }).ival ?? 0) === 0;
    case "String":
      return ["false", "off"].includes(stringOf(arg).toLowerCase());
    default:
      return false;
  }
}

/** Whether a boolean option of EXPLAIN says yes: the last of several wins (ParseExplainOptionList of commands/explain_state.c). */
export function isOn(options: readonly Node[], name: string, usual: boolean): boolean {
  const option = options
    .map((each) => nodeOf(each)[1] as DefElem)
    .findLast(({ defname }) => defname === name);
  return option === undefined ? usual : !isOff(option);
}
