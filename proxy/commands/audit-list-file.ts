import { readFile } from "node:fs/promises";
import { type CalledColumn, listText, readSubjects, type SubjectList } from "../audit/subject-list.ts";
import type { Wrong } from "./streams.ts";

/** The list of people in the file that a flag names. */
export async function listIn(
  flag: string,
  file: string,
  column: string | undefined,
  called?: CalledColumn,
): Promise<Extract<SubjectList, { readonly ok: true }> | Wrong> {
  const wrong = (problem: string): Wrong => ({ problem: `--${flag}: ${problem}`, status: 1 });
  let content: Buffer;
  try {
    content = await readFile(file);
  } catch (error) {
    return wrong(`"${file}" cannot be read: ${(error as NodeJS.ErrnoException).code ?? "unknown"}`);
  }
  const text = listText(content);
  if (text === undefined) return wrong(`"${file}" is no text in UTF-8`);
  const list = readSubjects(text, column, called);
  return list.ok ? list : wrong(list.problem);
}
