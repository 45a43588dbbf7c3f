import type { DocumentColumn, ValueColumn } from "../sql/tokens/documents.ts";
import { turnDocument } from "../tokens/json-documents.ts";

/* Values inside of the documents of a column, for the commands that turn or count them. */

/** What one value becomes. Undefined: it stays; "strange": it should not be there. */
export type TurnValue = (value: string, column: ValueColumn) => string | undefined | "strange";

/** The same for a document. What is strange in it stays, and is told once nothing else is left to do. */
export function turnedDocument(
  text: string,
  { shape }: DocumentColumn,
  turn: TurnValue,
): string | undefined | "strange" {
  let [isChanged, isStrange] = [false, false];
  const strange = () => {
    isStrange = true;
    return undefined;
  };
  const turned = turnDocument(text, shape, {
    string(value, leaf) {
      const other = turn(value, leaf);
      isChanged ||= other !== undefined && other !== "strange";
      isStrange ||= other === "strange";
      return other === "strange" ? undefined : other;
    },
    other: strange,
    misplaced: strange,
  });
  if ("fault" in turned) return "strange";
  if (isChanged) return turned.text;
  return isStrange ? "strange" : undefined;
}

/** The strings at the paths, and how many values there are something else; undefined if the document cannot be read. */
export function valuesIn(
  text: string,
  { shape }: DocumentColumn,
): { readonly strings: readonly (readonly [string, ValueColumn])[]; readonly others: number } | undefined {
  const strings: (readonly [string, ValueColumn])[] = [];
  let others = 0;
  const other = () => {
    others++;
    return undefined;
  };
  const turned = turnDocument(text, shape, {
    string(value, leaf) {
      strings.push([value, leaf]);
      return undefined;
    },
    other,
    misplaced: other,
  });
  return "fault" in turned ? undefined : { strings, others };
}
