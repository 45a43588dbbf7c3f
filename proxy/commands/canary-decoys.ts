/** A column of the table that decoys are made for, as the catalog has it. */
export interface DecoyColumn {
  readonly name: string;
  /** As format_type writes it. */
  readonly type: string;
  /** No other row may have the same value. */
  readonly unique: boolean;
}

/** Whole values as Postgres writes them; null for NULL. */
export type Row = Readonly<Record<string, string | null>>;

export interface DecoyPlan {
  readonly columns: readonly DecoyColumn[];
  /** Rows of the table, for what its values look like. */
  readonly samples: readonly Row[];
  /** Ids of the decoys, in the column `subject`. */
  readonly ids: readonly string[];
  readonly subject: string;
  /** Where mail to a decoy goes. */
  readonly domain: string;
  /** A column whose values each get decoys of their own, if any. */
  readonly spread: { readonly column: string; readonly values: readonly string[] } | undefined;
  /** Below a number, at random. */
  readonly below: (limit: number) => number;
}

export interface Decoy {
  readonly group: string;
  readonly row: Row;
}

/**
 * People who look like the others and do not exist: names are put together from two, digits are thrown again,
 * mail goes to the given domain, and everything else is taken over from some row.
 */
export function makeDecoys(plan: DecoyPlan): readonly Decoy[] {
  const { ids, spread } = plan;
  const taken = new Map(
    plan.columns.map(({ name }) => [name, new Set(plan.samples.map((row) => row[name]))]),
  );
  return ids.map((id, i) => {
    const group = spread?.values[i % spread.values.length] ?? "";
    const base = pick(plan.samples, plan.below);
    // Of the row's own name: its mail address says the same.
    const name = personName(plan);
    const row: Record<string, string | null> = {};
    for (const column of plan.columns) {
      if (column.name === plan.subject) row[column.name] = id;
      else if (column.name === spread?.column) row[column.name] = group;
      else
        row[column.name] = freshValue(column, base[column.name] ?? null, name, plan, taken.get(column.name));
    }
    return { group, row };
  });
}

const ATTEMPTS = 50;

function freshValue(
  column: DecoyColumn,
  like: string | null,
  name: string,
  plan: DecoyPlan,
  taken: Set<string | null | undefined> = new Set(),
): string | null {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const value = valueLike(column, like, name, plan);
    if (!column.unique || value === null || !taken.has(value)) {
      taken.add(value);
      return value;
    }
  }
  throw new Error(`no new value could be made for the unique column "${column.name}"`);
}

function valueLike(
  { name: column, type, unique }: DecoyColumn,
  like: string | null,
  name: string,
  plan: DecoyPlan,
) {
  if (like === null) return null;
  if (type === "uuid" && unique) return randomUuid(plan.below);
  if (!/^(text|character|citext)/.test(type)) return unique ? rethrown(like, plan.below) : like;
  if (/^[^\s@]+@[^\s@]+$/.test(like)) {
    const local = name
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, ".")
      .replaceAll(/^\.|\.$/g, "");
    return `${local || "mail"}.${plan.below(9_000) + 1_000}@${plan.domain}`;
  }
  if (NAMELIKE.test(column)) return name;
  return rethrown(like, plan.below);
}

const NAMELIKE = /(^|_)(full_?|display_?|customer_?)?name$/i;

/** The first word of one person's name and the rest of another's. */
function personName({ columns, samples, below }: DecoyPlan): string {
  const column = columns.find(
    ({ name, type }) => NAMELIKE.test(name) && /^(text|character|citext)/.test(type),
  );
  if (column === undefined) return "";
  const [first = ""] = (pick(samples, below)[column.name] ?? "").split(" ");
  const [, ...last] = (pick(samples, below)[column.name] ?? "").split(" ");
  return rethrown([first, ...last].join(" "), below);
}

/** Other digits in the same places; a first digit stays, so that lengths and prefixes look right. */
function rethrown(text: string, below: (limit: number) => number): string {
  let isFirst = true;
  return text.replaceAll(/\d/g, (digit) => {
    if (!isFirst) return String(below(10));
    isFirst = false;
    return digit;
  });
}

/** RFC 9562, version 4. */
function randomUuid(below: (limit: number) => number): string {
  const hex = (count: number) => Array.from({ length: count }, () => below(16).toString(16)).join("");
  return `${hex(8)}-${hex(4)}-4${hex(3)}-${(8 + below(4)).toString(16)}${hex(3)}-${hex(12)}`;
}

function pick<T>(from: readonly T[], below: (limit: number) => number): T {
  // The caller has checked that there is at least one.
  return from[below(from.length)] as T;
}
