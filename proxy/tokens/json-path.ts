/*
 * Paths into JSON documents, as the policy writes them: keys with dots between them, `[*]` for every element of an array,
 * and `"a.b"` for a key with other characters, with a backslash before a quote or a backslash.
 */

/** A key of an object; null for every element of an array. */
export type PathStep = string | null;

const PLAIN_KEY = /^[\p{L}\p{N}_$-]+$/u;
const STEP = /(?:^|(?<!^)\.)(?:([\p{L}\p{N}_$-]+)|"((?:[^"\\]|\\["\\])*)")|(\[\*\])/uy;

/** Undefined for a text that is no path. */
export function parsePath(text: string): readonly PathStep[] | undefined {
  const steps: PathStep[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < text.length) {
    const [, plain, quoted, each] = STEP.exec(text) ?? [];
    if (plain === undefined && quoted === undefined && each === undefined) return undefined;
    steps.push(each === undefined ? (plain ?? quoted?.replace(/\\(.)/g, "$1") ?? "") : null);
  }
  return steps.length > 0 ? steps : undefined;
}

/** One spelling for each path. */
export function pathText(steps: readonly PathStep[]): string {
  return steps
    .map((step, index) => {
      if (step === null) return "[*]";
      const key = PLAIN_KEY.test(step) ? step : `"${step.replace(/["\\]/g, "\\$&")}"`;
      return index === 0 ? key : `.${key}`;
    })
    .join("");
}

/** Whether one path is the other one, or leads through it. */
export function overlaps(one: readonly PathStep[], other: readonly PathStep[]): boolean {
  const length = Math.min(one.length, other.length);
  return one.slice(0, length).every((step, index) => step === other[index]);
}
