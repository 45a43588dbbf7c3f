import { isNode, RTE, type TreeNode, type TreeValue } from "./node-tree.ts";

/** How many rows of each relation one row of a view may show, and what combines many of them into one. */
export interface ViewReferences {
  /**
   * By oid: how often the view's query refers to the relation. A reference that yields only yes or no is not counted.
   */
  readonly times: ReadonlyMap<number, number>;
  /** Relations in ARRAY(…) and WITH RECURSIVE: one row may contain any number of their rows. */
  readonly gathered: ReadonlySet<number>;
  /** The functions of all aggregate calls, and of all window function calls (oids). */
  readonly aggregates: readonly number[];
  readonly windows: readonly number[];
}

/** SubLinkType of Postgres (nodes/primnodes.h): the same in 13 to 18. */
const YES_OR_NO: ReadonlySet<TreeValue | undefined> = new Set(["0", "1", "2"]); // EXISTS, ALL, ANY
const ARRAY_SUBLINK = "6";

type Times = ReadonlyMap<number, number>;

/** The WITH queries of one query and, by `ctelevelsup`, of the queries around it. */
type Ctes = readonly ReadonlyMap<string, TreeNode>[];

/**
 * Reads a view's stored query. `own` is the view's oid, which the query contains as `old` and `new` up to Postgres 15.
 */
export function readReferences(query: TreeNode, own: number): ViewReferences {
  const gathered = new Set<number>();
  const aggregates: number[] = [];
  const windows: number[] = [];
  const begun = new Set<TreeNode>();

  const ofQuery = (node: TreeNode, around: Ctes): Times => {
    const ctes: Ctes = [withQueries(node), ...around];
    const parts = [...node.fields].filter(([name]) => name !== "cteList" && name !== "rtable");
    const tables = list(node.fields.get("rtable")).map((entry) => of(entry, ctes));
    // A row of a set operation comes from one of its arms.
    const isUnion = node.fields.get("setOperations") !== "<>";
    const from = isUnion ? tables.reduce(most, NONE) : tables.reduce(sum, NONE);
    return parts.map(([, part]) => of(part, ctes)).reduce(sum, from);
  };

  const of = (value: TreeValue, ctes: Ctes): Times => {
    if (typeof value === "string") return NONE;
    if (!isNode(value)) return value.map((item) => of(item, ctes)).reduce(sum, NONE);
    const { type, fields } = value;
    switch (type) {
      case "QUERY":
        return ofQuery(value, ctes);
      case "SUBLINK": {
        const inside = ofFields(value, ctes);
        if (fields.get("subLinkType") === ARRAY_SUBLINK) for (const oid of inside.keys()) gathered.add(oid);
        return YES_OR_NO.has(fields.get("subLinkType")) ? NONE : inside;
      }
      case "RANGETBLENTRY":
        return sum(ofTable(value, ctes), ofFields(value, ctes));
      case "AGGREF":
        aggregates.push(oidOf(value, "aggfnoid"));
        return ofFields(value, ctes);
      case "WINDOWFUNC":
        windows.push(oidOf(value, "winfnoid"));
        return ofFields(value, ctes);
      default:
        return ofFields(value, ctes);
    }
  };

  const ofFields = ({ fields }: TreeNode, ctes: Ctes): Times =>
    [...fields.values()].map((field) => of(field, ctes)).reduce(sum, NONE);

  const ofTable = (entry: TreeNode, ctes: Ctes): Times => {
    const kind = entry.fields.get("rtekind");
    if (kind === RTE.relation) {
      const oid = oidOf(entry, "relid");
      return oid === own ? NONE : new Map([[oid, 1]]);
    }
    if (kind !== RTE.cte) return NONE;
    const level = oidOf(entry, "ctelevelsup");
    const cte = ctes[level]?.get(String(entry.fields.get("ctename")));
    if (cte === undefined) throw new Error("a WITH query that is not there");
    // A recursive query refers to itself here.
    if (begun.has(cte)) return NONE;
    begun.add(cte);
    const inside = of(cte.fields.get("ctequery") ?? "", ctes.slice(level));
    begun.delete(cte);
    if (cte.fields.get("cterecursive") === "true") for (const oid of inside.keys()) gathered.add(oid);
    return inside;
  };

  const times = ofQuery(query, []);
  return { times, gathered, aggregates, windows };
}

const NONE: Times = new Map();

function sum(one: Times, other: Times): Times {
  return merged(one, other, (a, b) => a + b);
}

function most(one: Times, other: Times): Times {
  return merged(one, other, Math.max);
}

function merged(one: Times, other: Times, both: (a: number, b: number) => number): Times {
  if (other.size === 0) return one;
  const all = new Map(one);
  for (const [oid, count] of other) all.set(oid, both(all.get(oid) ?? 0, count));
  return all;
}

function withQueries(query: TreeNode): ReadonlyMap<string, TreeNode> {
  return new Map(
    list(query.fields.get("cteList"))
      .filter(isNode)
      .map((cte) => [String(cte.fields.get("ctename")), cte]),
  );
}

function list(value: TreeValue | undefined): readonly TreeValue[] {
  return Array.isArray(value) ? (value as readonly TreeValue[]) : [];
}

function oidOf({ fields }: TreeNode, field: string): number {
  const value = fields.get(field);
  if (typeof value !== "string" || !/^\d{1,10}$/.test(value)) throw new Error("not a number");
  return Number(value);
}
