import type { A_Const, FuncCall, Node } from "libpg-query";
import { type Catalog, relationsNamed } from "../catalog/catalog.ts";
import { isHarmlessFunction } from "./functions.ts";
import { mayCall } from "./hidden-code.ts";
import { type Body, nodeOf, stringOf } from "./parse/grammar.ts";
import type { NamedRelation } from "./parse/named-relations.ts";
import { forEachObject, someObject } from "./parse/tree.ts";
import { READS_INPUT, RUNS_TEXT, unnamedCode } from "./unnamed-code.ts";

/** Whether a setting, by its name, says who reads or affects what a text means. */
export type IsTelling = (setting: string) => boolean;

/** Whether a statement runs code, named or not, that may change the session. Code counts unless it is known not to. */
export function runsTouchingCode(type: string, body: Body, catalog: Catalog, isTelling: IsTelling): boolean {
  const { operators, hasCasts } = unnamedCode(catalog);
  // Operators with these names are applied without being written: by USING, CASE, DISTINCT, ORDER BY.
  if (hasCasts || UNWRITTEN.some((name) => operators.has(name))) return true;
  const common = new Set<string>();
  const targets = new Set<object>();
  noteTargets(type, body, targets);
  const survey = (field: string, object: object): void => {
    if (field === "A_Const") return;
    if ("ctename" in object) common.add(String(object.ctename));
    noteTargets(field, object, targets);
    forEachObject(object, survey);
  };
  forEachObject(body, survey);
  return someObject({ body }, (field, object) => isTouching(field, object) || isTouchingRelation(object));

  function isTouching(field: string, object: object): boolean {
    if (field === "FuncCall") return !isHarmlessCall(object as FuncCall, catalog, isTelling);
    if (field === "ColumnRef" || field === "A_Indirection") return mayCall(object, catalog);
    if ("names" in object && "typemod" in object) return makesTouching(object as { names?: readonly Node[] });
    return OPERATOR_FIELDS.some((each) => namesAny(operators, (object as Operators)[each]));
  }

  function makesTouching({ names }: { names?: readonly Node[] }): boolean {
    const parts = (names ?? []).map(stringOf);
    const schema = parts.at(-2);
    const all = catalog.typesByName.get(parts.at(-1) ?? "") ?? [];
    const meant = schema === undefined ? all : all.filter((each) => each.schema === schema);
    return meant.length === 0 || meant.some(({ oid }) => unnamedCode(catalog).makes(oid));
  }

  function isTouchingRelation(object: object): boolean {
    if (!("relname" in object)) return false;
    const named = object as NamedRelation;
    const { schemaname, relname } = named;
    if (schemaname === undefined && common.has(relname) && !targets.has(object)) return false;
    const meant = relationsNamed(catalog, named);
    const code = unnamedCode(catalog);
    return (
      meant.length === 0 || meant.some((each) => (targets.has(object) ? code.writes(each) : code.reads(each)))
    );
  }
}

const UNWRITTEN = ["=", "<>", "<", "<=", ">", ">="];
const OPERATOR_FIELDS = ["name", "operName", "useOp"] as const;
type Operators = { readonly [field in (typeof OPERATOR_FIELDS)[number]]?: unknown };

function namesAny(operators: ReadonlySet<string>, names: unknown): boolean {
  if (operators.size === 0 || !Array.isArray(names)) return false;
  const last: unknown = names.at(-1);
  return (
    typeof last === "object" && last !== null && "String" in last && operators.has(stringOf(last as Node))
  );
}

const WRITES: ReadonlySet<string> = new Set([
  ...["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt"],
]);

function noteTargets(type: string, body: object, targets: Set<object>): void {
  const { relation, relations, is_from } = body as {
    relation?: object;
    relations?: readonly Node[];
    is_from?: boolean;
  };
  if (WRITES.has(type) && relation !== undefined && (type !== "CopyStmt" || is_from === true))
    targets.add(relation);
  if (type === "TruncateStmt") for (const node of relations ?? []) targets.add(nodeOf(node)[1]);
}

/** Calls that are known to read only their arguments, and set_config of a setting that is not a telling one. */
function isHarmlessCall({ funcname, args }: FuncCall, catalog: Catalog, isTelling: IsTelling): boolean {
  const path = (funcname ?? []).map(stringOf);
  const name = path.at(-1) ?? "";
  const known = catalog.functionsByName.get(name) ?? [];
  if (known.length === 0 || (path.length > 1 && path[0] !== "pg_catalog")) return false;
  if (!known.every((fn) => fn.schema === "pg_catalog" || isHarmlessFunction(fn))) return false;
  if (name !== "set_config") return !RUNS_TEXT.has(name) && !READS_INPUT.has(name);
  const [first] = args ?? [];
  const [type, body] = first === undefined ? [] : nodeOf(first);
  const setting = type === "A_Const" ? (body as A_Const).sval?.sval : undefined;
  return setting !== undefined && !isTelling(setting);
}
