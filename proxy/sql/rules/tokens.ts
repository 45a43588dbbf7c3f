import { type Role, seesClass } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { valuesOf } from "../tokens/documents.ts";
import { type TokenColumn, tokenColumnsOf } from "../tokens/token-columns.ts";
import { type TokenUses, tokenUses } from "../tokens/token-uses.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Lookup } from "./lookups.ts";

/** Undefined if the policy stores no class as tokens. */
export function tokensIn(statement: BoundStatement, given: Given): TokenUses | undefined {
  const columns = tokenColumnsOf(given);
  return columns && tokenUses(statement, columns);
}

/**
 * Tokens as they are tell who does not see their class which values share a word or their last four characters, and who can
 * write, whose they are.
 */
function bareHashes({ bare }: TokenUses, { role }: Given): Refusal | undefined {
  const [found] = bare
    .flatMap(valuesOf)
    .filter(({ carried = [], className }) => carried.length > 0 && !seesClass(role, className));
  return (
    found &&
    denied(
      role,
      `role "${role.name}" sees ${found.name} masked, and this would show its tokens with what they are searched by`,
      "sees",
      "Select the columns themselves, or parts of documents by -> and ->> with constant keys: whole rows, casts and functions show tokens.",
    )
  );
}

/**
 * Given values that become tokens of a class that the role does not see: a row of one's own with a guessed value has the
 * token of whoever has that value, and tokens can be compared.
 */
function guessed({ constants, parameters, copied }: TokenUses, { role }: Given): Refusal | undefined {
  const given = [...constants.map(({ at }) => at), ...[...parameters.values()].flatMap(({ at }) => at)];
  const stored = given.filter(({ place }) => place === "stored").map(({ column }) => column);
  const found = [...stored, ...copied.filter((column) => column !== undefined)].find(
    (column) => !classesOf(column).every((each) => seesClass(role, each)),
  );
  return (
    found &&
    denied(
      role,
      `role "${role.name}" sees ${found.name} masked and may not write values of it`,
      "sees",
      "The column is stored as tokens, and a value that is written could be compared with those of others. Let a role write it that sees the class, or leave the column out.",
    )
  );
}

function howToFind(role: Role, token: TokenColumn): string {
  const lacking = classesOf(token).find(
    (each) => !seesClass(role, each) && role.finds !== "all" && !role.finds.has(each),
  );
  return lacking === undefined
    ? 'By "finds:" a role compares the column in the WHERE of the query that reads its table.'
    : `The column is stored as tokens. Add the class "${lacking}" under "finds:", and compare the column in the WHERE of the query that reads its table.`;
}

function classesOf(column: TokenColumn): readonly string[] {
  return valuesOf(column).map(({ className }) => className);
}

/** The classes of whose values the proxy turns tokens back in the rows. */
export function revealedClasses(uses: TokenUses | undefined, { role }: Given): readonly string[] {
  const classes = (uses?.outputs ?? []).flatMap((column) => (column === undefined ? [] : classesOf(column)));
  return [...new Set(classes)].filter((each) => seesClass(role, each));
}

/**
 * What cannot work on columns whose values the database holds as tokens. A masked one may be searched by exact value as
 * a lookup only: a value that is compared elsewhere would be turned into a token, and the answer would tell who has it.
 */
export function forbiddenOnTokens(
  uses: TokenUses | undefined,
  given: Given,
  lookups: readonly Lookup[],
): Refusal | undefined {
  if (uses === undefined) return undefined;
  const { compared, refusal } = uses;
  if (refusal !== undefined) return refusal;
  const told = bareHashes(uses, given);
  if (told !== undefined) return told;
  const guess = guessed(uses, given);
  if (guess !== undefined) return guess;
  const { role } = given;
  const limited = compared.find(
    ({ token, tellsPart }) => tellsPart && role.reveals.some(({ of = "" }) => classesOf(token).includes(of)),
  );
  if (limited !== undefined)
    return denied(
      role,
      `role "${role.name}" reads ${limited.token.name} of a limited number of people, and a search by a part of it would tell more`,
      "reveals",
      `Search by the whole value (=, lower(column) = …). Roles without "reveals: { ${classesOf(limited.token)[0]}: … }" may search by parts.`,
    );
  const searched = new Set<object>(
    lookups.flatMap(({ searches }) => searches.map(({ comparison }) => comparison.body)),
  );
  const stray = compared.find(
    ({ node, token }) => !classesOf(token).every((each) => seesClass(role, each)) && !searched.has(node),
  );
  return stray === undefined
    ? undefined
    : denied(
        role,
        `role "${role.name}" sees ${stray.token.name} masked and may search it by exact value only`,
        "finds",
        `${howToFind(role, stray.token)} Values inside of documents are searched by roles that see all their classes.`,
      );
}
