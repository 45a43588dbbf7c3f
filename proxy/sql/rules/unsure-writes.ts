import type {
  CreateStmt,
  CreateTableAsStmt,
  InsertStmt,
  MergeStmt,
  MergeWhenClause,
  RangeVar,
  SelectStmt,
} from "libpg-query";
import { relationsNamed } from "../../catalog/catalog.ts";
import { type Body, nodeOf } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import type { Scope } from "../scope.ts";
import { mostLost } from "./person-paths.ts";

/*
 * Writes whose target may be a view of people's rows that nobody has looked at: it was made a moment ago, is temporary, or
 * search_path has moved. They may take rows from their people as writes of known tables do (taken-rows.ts).
 */

export interface UnsureWrite {
  /** How many people each written row may stand for. Infinity: nothing says how many. */
  readonly people: number;
  /** Targets that the catalog does not have: see `nameAsWritten`. */
  readonly unknown: readonly string[];
}

/** Undefined: it takes no rows from people, whatever its names mean. */
export function unsureWrite(type: string, body: Body, scope: Scope): UnsureWrite | undefined {
  const { policy, catalog } = scope;
  if ([...policy.tables.values()].every(({ subject }) => subject === undefined)) return undefined;
  const lost = mostLost(policy, catalog);
  const found: number[] = [];
  const unknown = new Set<string>();
  const look = (field: string, object: object): void => {
    if (field === "A_Const") return;
    const people = peopleOf(field, object, lost);
    const { relation } = object as { relation?: RangeVar };
    if (people > 0) found.push(people);
    if (people > 0 && relation !== undefined && relationsNamed(catalog, relation).length === 0)
      unknown.add(nameAsWritten(relation));
    forEachObject(object, look);
  };
  look(type, body);
  const [people, ...more] = found;
  if (people === undefined) return undefined;
  // The tag says how many rows one write has, if it is the statement itself.
  const isTold = more.length === 0 && peopleOf(type, body, people) > 0;
  return { people: isTold ? people : Number.POSITIVE_INFINITY, unknown: [...unknown] };
}

function peopleOf(field: string, object: object, lost: number): number {
  switch (field) {
    case "UpdateStmt":
      return 1;
    case "InsertStmt":
      return (object as InsertStmt).onConflictClause?.action === "ONCONFLICT_UPDATE" ? 1 : 0;
    case "DeleteStmt":
      return lost;
    case "TruncateStmt":
      return lost > 0 ? Number.POSITIVE_INFINITY : 0;
    case "MergeStmt": {
      const { mergeWhenClauses = [] } = object as MergeStmt;
      const kinds = mergeWhenClauses.map((each) => (nodeOf(each)[1] as MergeWhenClause).commandType);
      return Math.max(kinds.includes("CMD_UPDATE") ? 1 : 0, kinds.includes("CMD_DELETE") ? lost : 0);
    }
    default:
      return 0;
  }
}

/** Tables that a statement makes: their rows are nobody's before something is stored in them, which counts. */
export function tablesMade(type: string, body: Body): readonly string[] {
  const { relation, into, intoClause } = body as CreateStmt & CreateTableAsStmt & SelectStmt;
  const made = type === "CreateStmt" ? relation : (into ?? intoClause)?.rel;
  return made === undefined ? [] : [nameAsWritten(made)];
}

/** Temporary relations are found by a bare name first, and `pg_temp` means the same. */
function nameAsWritten({ schemaname, relname = "" }: RangeVar): string {
  return schemaname === undefined || schemaname === "pg_temp" ? relname : `${schemaname}\0${relname}`;
}
