import type { WhoRead } from "../audit/who-read.ts";
import {
  type AskedWords,
  CHANCE_WORDS,
  conclusion,
  headLines,
  SUSPECT_HEADS,
  suspectRow,
} from "../audit/who-read-words.ts";
import { coverageText } from "./audit-coverage-text.ts";
import { table } from "./text-table.ts";

/** The answer to "who read them?": what is known, what follows from it, what does not. */
export function answerText(answer: WhoRead, asked: AskedWords & { readonly top: number }): string {
  const { suspects } = answer;
  return [
    ...headLines(answer, asked).map((line) => `${line}\n`),
    ...(suspects.length === 0
      ? []
      : ["\n", table([SUSPECT_HEADS, ...suspects.slice(0, asked.top).map(suspectRow)])]),
    "\n",
    ...conclusion(answer).map((line) => `${line}\n`),
    "\n",
    coverageText(answer.notCovered),
    ...(suspects.length === 0 ? [] : [`\n${CHANCE_WORDS}\n`]),
  ].join("");
}
