import type { ColumnSight } from "../sight.ts";
import type { Revealed } from "../verdict.ts";
import type { Lookup } from "./lookups.ts";
import type { NamedSights } from "./named-columns.ts";

/* What a statement reveals about protected columns, by all the columns that it names, returns or searches. */

export interface Exposure {
  /** Classes whose columns were named or returned in masked form. */
  readonly masked: readonly string[];
  readonly revealed: Revealed;
  /**
   * How many people each person counts as: the most expensive class that was named in the clear or used in a lookup.
   */
  readonly cost: number;
  /** An expression names a classified column or looks someone up by one, or such a column decides which rows a relation has. */
  readonly namesProtected: boolean;
}

interface Exposing {
  readonly named: NamedSights;
  /** Columns returned without being named. */
  readonly givenOut: readonly ColumnSight[];
  readonly lookups: readonly Lookup[];
  /** Columns searched by the errors of a write. */
  readonly searched: readonly ColumnSight[];
  /** It names where rows of people are stored. */
  readonly namesPlaces: boolean;
}

export function exposureOf({ named, givenOut, lookups, searched, namesPlaces }: Exposing): Exposure {
  const seen = [...[...named.columns.values()].flat().map(({ sight }) => sight), ...givenOut];
  const moved = lookups.flatMap(({ isTarget, searches }) =>
    searches.map(({ sight }) => ({ sight, isTarget })),
  );
  const found = [...moved.map(({ sight }) => sight), ...searched];
  // Columns by which the target of a write is searched are not shown.
  const asMasks = [
    ...seen.filter(({ kind }) => kind !== "real"),
    ...moved.flatMap(({ sight, isTarget }) => (isTarget ? [] : [sight])),
  ];
  const clear = seen.filter(({ kind }) => kind === "real" || kind === "conditional");
  return {
    masked: distinct(asMasks.map(({ className, column }) => className ?? column.name)),
    revealed: {
      shown: classesOf(seen, "real"),
      shownWhere: classesOf(seen, "conditional"),
      found: distinct(found.flatMap(({ classes }) => classes)),
    },
    cost: [...clear, ...found].reduce((dearest, { cost }) => Math.max(dearest, cost), 1),
    namesProtected:
      namesPlaces || named.chosen.size > 0 || [...seen, ...found].some(({ isProtected }) => isProtected),
  };
}

function classesOf(sights: readonly ColumnSight[], of: ColumnSight["kind"]): readonly string[] {
  return distinct(sights.filter(({ kind }) => kind === of).flatMap(({ classes }) => classes));
}

function distinct(names: readonly string[]): readonly string[] {
  return [...new Set(names)];
}
