import { editedRanges } from "../emit/rewrite.ts";
import { LocatedTree, mapLocations, stringText, TreeReader } from "../parse/tree-text.ts";
import type { MadeEdit } from "../verdict.ts";
import { locationOf, stepsOf } from "./tree-steps.ts";

/*
 * The second tree must be the client's own, except for the changes that the edits are meant to make, each at its node.
 * This shows that no edit has ended up in another query, list or clause, whatever the client's names are. Both trees
 * are compared as text: the parts between two changes byte by byte.
 */

/** What is wrong with the tree of the rewritten text; undefined if it is as expected. `edits` must be in order. */
export function strayEdit(client: string, rewritten: string, edits: readonly MadeEdit[]): string | undefined {
  const places = new Map(
    edits.flatMap(({ change }) => {
      const location = change && locationOf(change);
      return location === undefined ? [] : [[location, []] as [number, number[]]];
    }),
  );
  const mine = mapLocations(withoutSchemas(client, edits), (location, at) => {
    places.get(location)?.push(at);
    return location;
  });
  const clientPlaces = new ClientPlaces(edits);
  const other = mapLocations(withoutSchemas(rewritten, edits), (location) => clientPlaces.of(location));
  const tree = new LocatedTree(mine, places);
  const steps = edits.flatMap(({ change }, index) =>
    change === undefined ? [] : stepsOf(tree, change, placeIn(index)),
  );
  const reader = new TreeReader(other);
  let at = 0;
  for (const { start, end, take } of steps.sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (start < at || !reader.expect(mine.slice(at, start)) || !take(reader))
      return "a change is not where it should be";
    at = end;
  }
  return reader.expect(mine.slice(at)) && reader.isAtEnd ? undefined : "something else has changed";
}

/** The location given to nodes within the text of an edit. */
function placeIn(edit: number): number {
  return -2 - edit;
}

/** Removes the schemas that were added to calls: the nodes' locations show which calls. */
function withoutSchemas(json: string, edits: readonly MadeEdit[]): string {
  const schemas = new Set(edits.flatMap(({ change }) => (change?.kind === "call" ? [change.schema] : [])));
  let text = json;
  for (const schema of schemas)
    text = text.replaceAll(`"funcname":[{"String":{"sval":${stringText(schema)}}},`, '"funcname":[');
  return text;
}

/** Maps locations in the rewritten text to the client's text; nodes that an edit inserted get a number for the edit. */
class ClientPlaces {
  readonly #edits: readonly MadeEdit[];
  readonly #starts: readonly number[];
  readonly #ends: readonly number[];

  constructor(edits: readonly MadeEdit[]) {
    this.#edits = edits;
    const ranges = editedRanges(edits);
    this.#starts = ranges.map(({ start }) => start);
    this.#ends = ranges.map(({ end }) => end);
  }

  of(place: number): number {
    let index = this.#lastBefore(place);
    if (index < 0) return place;
    // Edits without text of their own are at the position where the next one begins.
    for (let at = index; at >= 0 && this.#starts[at] === place; at--) if (this.#isPrefix(at)) index = at;
    const edit = this.#edits[index];
    const end = this.#ends[index] ?? 0;
    if (edit === undefined) return place;
    if (this.#isPrefix(index) && this.#starts[index] === place) return edit.at;
    if (place >= end) return place - end + edit.end;
    return edit.change?.kind === "star" ? -1 : placeIn(index);
  }

  /**
   * The edit is put before the node, is removed before it, or replaces it, so that the node begins where the edit does.
   */
  #isPrefix(index: number): boolean {
    const kind = this.#edits[index]?.change?.kind;
    return kind === "call" || kind === "column" || kind === "summary";
  }

  #lastBefore(place: number): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] ?? 0) <= place) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
