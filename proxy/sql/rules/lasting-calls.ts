import { limitKey, limitsReads } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundStatement, Call } from "../bind/bound.ts";
import { acts, nameOfCall } from "./acting-calls.ts";
import { functionsMeant } from "./calls.ts";
import { castsIntoWrite } from "./casts.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";
import { writtenPeople } from "./written-people.ts";

/** Even without returning a row, what a call leaves behind could reveal people who have not been counted. */
export function lastingCall(statement: BoundStatement, given: Given): Refusal | undefined {
  const { role, sights } = given;
  const isHeld = limitsReads(role) || role.aggregatesOnly !== undefined;
  const call = isHeld ? firstLasting(statement, given) : undefined;
  if (call === undefined) return undefined;
  const people = statement.queries
    .flatMap(({ relations }) => relations)
    .map((reference) => sightOf(sights, reference))
    .find((sight) => sight?.people !== undefined);
  if (people === undefined) return undefined;
  return denied(
    role,
    `role "${role.name}" may not call ${acts(given.catalog, call) ? nameOfCall(call) : call.name}() in a statement that reads ${people.key}`,
    role.aggregatesOnly !== undefined ? "aggregates_only" : limitKey(role),
    "What the call leaves behind could reveal people who are not counted; make it in a statement of its own.",
  );
}

function firstLasting(statement: BoundStatement, given: Given): Call | undefined {
  const free = new Set(
    statement.queries.flatMap((query) =>
      storesNobody(statement, given, query) ? (query.write?.source ?? []) : [],
    ),
  );
  const within = (query: BoundQuery | undefined): boolean =>
    query !== undefined && (free.has(query) || within(statement.parentOf.get(query)));
  return statement.queries
    .flatMap((query) => query.calls.map((call) => ({ call, query })))
    .find(({ call, query }) => lasts(given, call) && !within(query))?.call;
}

/** Rows that are derived from no person cannot copy anyone: nextval() of a new key. */
function storesNobody(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  return (
    query.form === "insert" &&
    query.write?.source !== undefined &&
    writtenPeople(statement, given, query).values === 0 &&
    !castsIntoWrite(statement, given, query)
  );
}

function lasts({ catalog }: Given, call: Call): boolean {
  if (call.form === "syntax") return false;
  const isBuiltin = functionsMeant(catalog, call).some((fn) => fn.schema === "pg_catalog");
  return (isBuiltin && (LASTING.test(call.name) || LOCKING.test(call.name))) || acts(catalog, call);
}

/**
 * The effects of these functions can be read elsewhere, without counting the people they reveal (pg_locks, currval, the
 * next random number, SHOW, other transactions' numbers), and the duration of a waiting call can be measured. Constant
 * arguments are no safer: a condition decides which of many calls is made. Random uuids come from another source, whose
 * state cannot be read; a version 7 of many is ahead of the clock.
 */
const LASTING =
  /^(?:set_config|setval|pg_(?:try_)?advisory_.*|pg_sleep.*|nextval|setseed|random|random_normal|array_shuffle|array_sample|uuidv7|pg_current_xact_id|txid_current)$/;

/**
 * These functions lock what they read until the transaction ends: the tables of a view or of a function's body, partitions, a sequence, any
 * object, or the catalogs that they query. The locks are visible in pg_locks, and to LOCK … NOWAIT in another session.
 */
const LOCKING =
  /^(?:pg_get_(?:viewdef|ruledef|functiondef|function_sqlbody|object_address)|pg_partition_tree|pg_sequence_last_value|currval|lastval|(?:col|obj|shobj)_description|ts_debug)$/;
