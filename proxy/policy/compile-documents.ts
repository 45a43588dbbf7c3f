import { overlaps, parsePath, pathText } from "../tokens/json-path.ts";
import type { PolicyDocument } from "./document.ts";
import type { ColumnClass, Place, SealedPath, TablePolicy } from "./policy.ts";
import type { Problems } from "./problems.ts";
import { checkClass } from "./references.ts";

/** `json:` of a table: paths into documents, and the classes of the strings there. */
export function compileDocuments(
  document: PolicyDocument,
  table: string,
  documents: readonly PolicyDocument[],
  classes: ReadonlyMap<string, ColumnClass>,
  problems: Problems,
): TablePolicy["documents"] {
  const entry = document.content.tables?.[table];
  return new Map(
    Object.entries(entry?.json ?? {}).map(([column, paths]) => {
      const key = ["tables", table, "json", column];
      if (Object.hasOwn(entry?.columns ?? {}, column))
        problems.error(
          document.placeOfKey(key),
          `column "${column}" is under "columns:" and under "json:"`,
          "A column has one class as a whole, or classes inside of its documents.",
        );
      const found: SealedPath[] = [];
      for (const [path, className] of Object.entries(paths)) {
        const place = document.placeOfKey([...key, path]);
        checkClass(documents, classes, className, document.placeOf([...key, path]), problems);
        checkForm(classes.get(className), document.placeOf([...key, path]), problems);
        const steps = parsePath(path);
        if (steps === undefined) {
          const hint =
            'Keys with dots between them, as in customer.email, "contacts[*].phone" or "\\"a.b\\".c".';
          problems.error(place, `"${path}" is no path into a document`, hint);
          continue;
        }
        const other = found.find((each) => overlaps(each.steps, steps));
        if (other === undefined) found.push({ steps, className });
        else
          problems.error(
            place,
            `the path "${path}" meets "${pathText(other.steps)}"`,
            "Each value of a document has one class: name the places of strings, and each of them once.",
          );
      }
      if (Object.keys(paths).length === 0)
        problems.error(
          document.placeOfKey(key),
          `column "${column}" has no path`,
          "Name the places of values, as in { customer.email: email }.",
        );
      return [column, found] as const;
    }),
  );
}

function checkForm(found: ColumnClass | undefined, place: Place, problems: Problems): void {
  if (found === undefined || found.stored?.form === "token") return;
  const is = found.stored === undefined ? "not stored as tokens" : `stored: ${found.stored.form}`;
  problems.error(
    place,
    `class "${found.name}" is ${is}, and values inside of documents can only be of stored: token`,
    'Give the class "stored: token", or the column another one; a column as a whole can be masked under "columns:".',
  );
}
