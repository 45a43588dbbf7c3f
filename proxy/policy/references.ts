import type { Places } from "./places.ts";
import type { ColumnClass, Place } from "./policy.ts";
import { type Problems, suggest } from "./problems.ts";

/** A class that is used must be defined. A class that is defined but invalid is reported at its definition. */
export function checkClass(
  documents: readonly Places[],
  classes: ReadonlyMap<string, ColumnClass>,
  name: string,
  place: Place,
  problems: Problems,
): void {
  if (classes.has(name) || documents.some((document) => document.written("classes").includes(name))) return;
  const hint = suggest(name, classes.keys(), `Define it under "classes:", as in ${name}: { mask: redact }.`);
  problems.error(place, `there is no class "${name}"`, hint);
}
