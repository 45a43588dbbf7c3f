import { type DocumentFault, type Shape, turnDocument } from "../../tokens/json-documents.ts";
import { looksLikeToken } from "../../tokens/sealed.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { type DocumentColumn, leavesOf, type ValueColumn } from "./documents.ts";

/** Makes the token of a value. */
export interface Seal {
  /** Under the active key; undefined for a value that does not have the form of the column. */
  seal(value: string, column: ValueColumn): string | undefined;
}

/** What becomes of a given document: it is stored, or documents are searched that contain it. */
export type DocumentUse = "stored" | "searched";

/** A document with tokens in place of its values, and everything else as it was. */
export function sealDocument(
  text: string,
  { name, shape }: DocumentColumn,
  seals: Seal,
  use: DocumentUse,
): string | Refusal {
  let refusal: Refusal | undefined;
  const turned = turnDocument(text, shape, {
    string(value, leaf) {
      if (looksLikeToken(value)) refusal ??= tokenGiven(leaf);
      const sealed = seals.seal(value, leaf);
      if (sealed === undefined) throw new Error("every text has a token");
      return sealed;
    },
    other(leaf) {
      refusal ??= notAString(leaf);
      return undefined;
    },
    misplaced(part) {
      refusal ??= use === "stored" ? misplaced(part) : searchedBare(part);
      return undefined;
    },
  });
  if ("fault" in turned) return FAULTS[turned.fault](name);
  return refusal ?? turned.text;
}

export function tokenGiven({ name }: ValueColumn): Refusal {
  return refuse("42501", `a value for ${name} begins like a token of the proxy`, {
    hint: "Give the value itself: the proxy makes the token.",
  });
}

/** What is not at the path would be stored as it is. */
function misplaced(part: Shape<ValueColumn>): Refusal {
  const [leaf] = leavesOf({ shape: part });
  const expected = [...(part.keys.size > 0 ? ["an object"] : []), ...(part.each ? ["an array"] : [])];
  return refuse(
    "22023",
    `a document has something other than ${expected.join(" or ")} on the way to ${leaf?.name}, whose values are stored as tokens`,
    {
      hint: `Write ${expected.join(" or ")} there, or null. If it has several forms, the policy needs a path for each of them.`,
    },
  );
}

/** As an exception, an array contains a string that is one of its elements. */
function searchedBare({ each }: Shape<ValueColumn>): Refusal | undefined {
  const leaf = each?.leaf;
  return (
    leaf &&
    refuse("42501", `a value of ${leaf.name} is searched without the array around it`, {
      hint: "Put it in an array: @> '[\"…\"]'.",
    })
  );
}

function notAString({ name }: ValueColumn): Refusal {
  return refuse("22023", `a value for ${name} is no string, and only strings are stored as tokens there`, {
    hint: "Write it in double quotes, or null.",
  });
}

const FAULTS: Readonly<Record<DocumentFault, (name: string) => Refusal>> = {
  syntax: (name) =>
    refuse("22P02", `a document for ${name} is no valid JSON`, {
      hint: "Values inside of it are stored as tokens, so the proxy reads it.",
    }),
  depth: (name) =>
    refuse("54001", `a document for ${name} is nested too deeply`, {
      hint: "Values inside of it are stored as tokens: it may have 1000 levels.",
    }),
  character: (name) =>
    refuse(
      "22P05",
      `a document for ${name} has \\u0000 or a half of a surrogate pair in a value to be stored as a token`,
      {
        hint: "The database has no such text.",
      },
    ),
};
