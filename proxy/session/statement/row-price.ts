import { PERSON } from "../../policy/price-units.ts";
import type { Metering } from "../../sql/verdict.ts";

/*
 * What a row costs in addition to the people it names. A row about many people costs no more than they do, and no more than
 * its size can tell: 32 bits for a person are four bytes.
 */

/** Four bytes hold as much as one person counts for (docs/security.md). */
const BYTES_OF_A_PERSON = 4;

/** In groups of fewer people, even unprotected values count as information about them. */
const CROWD = 10;

/** More than these are not distinguished in one row, see sql/metering.ts. */
const NAMED_IN_A_ROW = 1_000;

/** Whose a row of groups is. */
export interface GroupMembers {
  /** How many they are; undefined where only some of them are known. */
  readonly count: number | undefined;
  /** Who they are, and the name space of each; empty where only their number is known. */
  readonly identities: readonly string[];
  readonly namespaces: readonly string[];
}

/** Units for a row that does not say whose it is. `size` as `sizeOf` has it. */
export function unitsOfUnnamed({ unknown, price }: Metering, size: number): number {
  if (unknown === 0 && price?.bySize !== true) return 0;
  const bySize = peopleInBytes(size);
  return PERSON * (price?.bySize === true ? bySize : Math.min(unknown, bySize));
}

/** Units for a row of groups. */
export function unitsOfGroup(metering: Metering, { count, identities }: GroupMembers, size: number): number {
  if (metering.groups?.isPlain === true && (count ?? CROWD) >= CROWD) return 0;
  if (identities.length > 0) return 0;
  const most = Math.min(peopleInBytes(size), metering.groups?.most ?? Number.POSITIVE_INFINITY);
  return PERSON * (count === undefined ? most : Math.min(count, most));
}

/** Reads what the rewrite appended to a row of groups: one text for each reference, "" for NULL. */
export function membersOf({ groups }: Metering, fields: readonly string[]): GroupMembers {
  if (groups?.tell !== "people") {
    const count = fields.reduce((sum, field) => sum + Number(field || 0), 0);
    return { count: Number.isSafeInteger(count) ? count : undefined, identities: [], namespaces: [] };
  }
  const identities: string[] = [];
  const namespaces: string[] = [];
  for (const [i, field] of fields.entries()) {
    for (const identity of namesIn(field)) {
      identities.push(identity);
      namespaces.push(groups.namespaces[i] ?? "");
    }
  }
  if (identities.length > NAMED_IN_A_ROW) return { count: undefined, identities: [], namespaces: [] };
  return { count: identities.length, identities, namespaces };
}

function namesIn(field: string): readonly string[] {
  const names: unknown = field === "" ? [] : JSON.parse(field);
  if (!Array.isArray(names)) throw new Error("a group without its members");
  return names.filter((name) => typeof name === "string");
}

/** The bytes of a row's fields, and one for each field: its length, or that it is NULL, tells something too. */
export function sizeOf(length: number, fields: number): number {
  // The count of fields has two bytes, each field a length word of four (Postgres docs, "DataRow").
  return length - 2 - 3 * fields;
}

/** No row tells nothing: that it is there is one byte's worth. */
function peopleInBytes(size: number): number {
  return Math.max(1, Math.ceil(size / BYTES_OF_A_PERSON));
}
