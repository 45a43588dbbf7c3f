import type { PersonSource, Role } from "../policy/policy.ts";
import { BYTES_OF_UNNAMED } from "../policy/price-units.ts";
import type { Statement } from "./verdict.ts";

/** How the people that a watched role's statements show are counted. */
export function watchedTexts(statements: readonly Statement[], role: Role): readonly string[] {
  const texts = new Set(
    statements.flatMap(({ metering, copies }) => [
      ...(metering === undefined ? [] : textsOf(metering)),
      ...(copies === undefined ? [] : [copyText(copies)]),
    ]),
  );
  if (texts.size === 0) return [];
  const { onBudget, peopleBehind, signedBy } = role;
  const by = signedBy === undefined ? "" : "a signed claim in ";
  return [
    ...texts,
    ...(peopleBehind === undefined
      ? []
      : [`charged to the person named by ${by}${peopleBehind.map(sourceText).join(", or ")}`]),
    ...(role.budget.length === 0
      ? []
      : [`a budget that is used up ${onBudget === "alert" ? "alerts" : "stops"}`]),
  ];
}

function textsOf({
  subjects,
  unknown,
  groups,
  price,
}: NonNullable<Statement["metering"]>): readonly string[] {
  const bySize = `one for each ${BYTES_OF_UNNAMED} bytes`;
  return [
    ...subjects.map(({ namespace }) => `each person of ${namespace} that a row names`),
    ...(groups === undefined
      ? []
      : [`the people of ${[...new Set(groups.namespaces)].join(", ")} behind each row`]),
    ...(price?.bySize === true ? [`people who cannot be named, by the size of the rows: ${bySize}`] : []),
    ...(unknown > 0 && price?.bySize !== true
      ? [`${unknown} a row who cannot be named, or ${bySize} if that is less`]
      : []),
  ];
}

function copyText(copies: number): string {
  return copies === Number.POSITIVE_INFINITY
    ? "values of people stored elsewhere, an unknown number: undone where a budget stops"
    : `${copies} a row whose values are stored elsewhere; undone where a budget has no room`;
}

function sourceText(source: PersonSource): string {
  switch (source.kind) {
    case "setting":
      return source.path === undefined ? source.name : `${source.path.join(".")} in ${source.name}`;
    case "comment":
      return `${source.key} in a comment`;
    case "application_name":
      return "application_name";
    case "role":
      return "SET ROLE";
  }
}
