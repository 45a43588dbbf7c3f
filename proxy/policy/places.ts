import type { Place } from "./policy.ts";
import type { Path } from "./yaml-file.ts";

/** Positions in a policy file. */
export interface Places {
  /** Names as written in a section, including entries with problems, so that one problem does not cause a second. */
  written(section: "classes" | "tables" | "roles"): readonly string[];
  /** Whether the file has a value at a path, valid or not. */
  has(path: Path): boolean;
  /** Position of the value at a path, or of the nearest parent that exists. */
  placeOf(path: Path): Place;
  /** Position of the last key of a path. */
  placeOfKey(path: Path): Place;
}
