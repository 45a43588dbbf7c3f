import { arrayElements, binaryArrayElements } from "../../pg/array-text.ts";
import { hasWildcard, MAXIMUM_VALUES } from "../../sql/rules/lookup-forms.ts";
import type { BoundAsk } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Bind, boundParameter, declaredType } from "../../wire/frontend-messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";

/**
 * How many values a Bind's parameters look up, beside those that the text has. A pattern must match one text alone, and an
 * array hold no more values than a list in the text may have.
 */
export function boundLookups(
  asks: readonly BoundAsk[] | undefined,
  frame: Frame,
  bind: Bind,
  parse: Buffer | undefined,
): number | Refusal {
  let lookups = 0;
  for (const { parameter, as } of asks ?? []) {
    const value = boundParameter(frame, bind, parameter);
    if (value === undefined) continue;
    if (as === "array") {
      const { bytes, isBinary } = value;
      lookups += isBinary ? binaryArrayElements(bytes) : arrayElements(bytes.toString("utf8"));
      continue;
    }
    const type = parse === undefined ? 0 : declaredType(parse, parameter);
    if (!TEXTS.has(type) || hasWildcard(value.bytes.toString("utf8"))) return WILDCARD;
  }
  return lookups > MAXIMUM_VALUES ? tooMany(lookups) : lookups;
}

/** Left to the server, text, varchar (pg_type.dat): what is sent is the pattern. */
const TEXTS: ReadonlySet<number> = new Set([0, 25, 1043]);

const WILDCARD = refuse("42501", "a pattern with % or _ may not be matched with a masked column", {
  hint: "Write lower(column) = lower($1) to find an exact value in any case; or put a backslash before each % and _ that is meant as it is.",
});

function tooMany(count: number): Refusal {
  return refuse("54000", `this statement looks up ${count} values of masked columns`, {
    detail: `One statement may look up ${MAXIMUM_VALUES}.`,
    hint: `Send the array in parts of ${MAXIMUM_VALUES} values.`,
  });
}
