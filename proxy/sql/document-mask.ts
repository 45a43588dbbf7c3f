import { quoteLiteral } from "../pg/quote.ts";
import type { SealedPath } from "../policy/policy.ts";
import type { PathStep } from "../tokens/json-path.ts";
import { MARKS } from "../tokens/sealed.ts";

/**
 * A document for roles that do not see all of its classes: NULL if a value at one of the paths is no token, as somebody has
 * written it beside the proxy. So no expression gets at such a value. What a token stands for, the proxy masks.
 * Undefined if the column is no document.
 */
export function onlyTokensIn(type: string, column: string, paths: readonly SealedPath[]): string | undefined {
  if (type === "jsonb") return `CASE WHEN ${isClear(column, paths)} THEN NULL ELSE ${column} END`;
  if (type !== "json") return undefined;
  const text = `CAST(${column} AS pg_catalog.text)`;
  const binary = `CAST(${column} AS pg_catalog.jsonb)`;
  // jsonb has one value for each key, and takes no zero character and no half one. The order of CASE keeps it from failing.
  return (
    `CASE WHEN (${text} OPERATOR(pg_catalog.~*) ${quoteLiteral("\\\\u(0000|d[89a-f])")}) THEN NULL ` +
    `WHEN ${isClear(binary, paths)} THEN NULL ELSE CAST(${binary} AS pg_catalog.json) END`
  );
}

function isClear(document: string, paths: readonly SealedPath[]): string {
  const ways = paths.flatMap((path) => [clearPath(path.steps), ...misplacedPaths(path, paths)]);
  const each = [...new Set(ways)].map(
    (path) => `pg_catalog.jsonb_path_exists(${document}, CAST(${quoteLiteral(path)} AS pg_catalog.jsonpath))`,
  );
  return `(${each.join(" OR ")})`;
}

/**
 * Finds values that are neither tokens nor null. In lax mode nothing that is missing is an error, and arrays are looked
 * into as well where the path has none.
 */
function clearPath(steps: readonly PathStep[]): string {
  const token = `@.type() == "string" && @ starts with "${MARKS.token}"`;
  return `${jsonpath(steps)} ? (@.type() != "null" && !(${token}))`;
}

/**
 * Find what is no object where the path goes on with a key: it may be the value itself. Lax mode takes the elements of an
 * array for it, so nothing is said of places where paths lead into arrays as well.
 */
function misplacedPaths({ steps }: SealedPath, paths: readonly SealedPath[]): readonly string[] {
  return steps.flatMap((step, index) => {
    const way = steps.slice(0, index);
    const isArray = paths.some(
      (other) => other.steps[index] === null && way.every((each, at) => each === other.steps[at]),
    );
    return step === null || isArray
      ? []
      : [`${jsonpath(way)} ? (@.type() != "null" && @.type() != "object")`];
  });
}

function jsonpath(steps: readonly PathStep[]): string {
  const way = steps.map((step) =>
    step === null ? "[*]" : `.${JSON.stringify(step).replace(/[\u007f-\uffff]/g, escaped)}`,
  );
  return `$${way.join("")}`;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
