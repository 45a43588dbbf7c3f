import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import type { ComputedSide } from "./blind-forms.ts";
import { GivenPlaces, type SealedConstant, type SealedParameter } from "./given-places.ts";
import type { TokenColumn, TokenColumns } from "./token-columns.ts";
import type { Compared } from "./token-comparisons.ts";
import { TokenExpressions } from "./token-expressions.ts";
import { asColumn, Traces } from "./token-traces.ts";
import { TokenWrites } from "./token-writes.ts";
import { UseRefusals } from "./use-refusals.ts";

/**
 * What a statement does with columns that hold tokens: which of its constants and parameters are values of such a
 * column, which of its outputs are, and whether it asks for something that tokens cannot do. token-writes.ts reads what
 * it stores, token-expressions.ts everything else, with token-comparisons.ts for what it compares; given-places.ts
 * collects the values that both find.
 */
export interface TokenUses {
  readonly constants: readonly SealedConstant[];
  /** By their numbers. */
  readonly parameters: ReadonlyMap<number, SealedParameter>;
  readonly compared: readonly Compared[];
  /** Calls on columns that become parts of their tokens. */
  readonly computed: readonly ComputedSide[];
  /** Of columns whose parts are compared with each other. */
  readonly matched: readonly TokenColumn[];
  /** Of the rows that the client gets; undefined where their columns are not known. */
  readonly outputs: readonly (TokenColumn | undefined)[];
  /** Columns of which the client may get tokens as they are: what is made of them is not followed. */
  readonly bare: readonly TokenColumn[];
  /** Of the columns that COPY … FROM brings in. */
  readonly copied: readonly (TokenColumn | undefined)[];
  readonly refusal: Refusal | undefined;
}

export function tokenUses(statement: BoundStatement, columns: TokenColumns): TokenUses {
  const traces = new Traces(statement, columns, { withRows: true });
  const view = { statement, traces, columns };
  const refusals = new UseRefusals();
  const given = new GivenPlaces(view, refusals);
  const expressions = new TokenExpressions(view, given, refusals);
  const writes = new TokenWrites(view, given, refusals);
  for (const query of statement.queries) {
    expressions.query(query);
    writes.query(query);
  }
  writes.check();
  given.check();
  if (statement.kind === "prepare" && given.parameters.size > 0)
    refusals.add(
      "parameters of PREPARE cannot be turned into tokens",
      "Prepare it by the driver, or write constants.",
    );
  const { compared, computed, matched } = expressions.comparisons;
  return {
    constants: [...given.constants.values()],
    parameters: given.parameters,
    ...{ compared, computed, matched },
    outputs: shownColumns(statement, traces),
    bare: bareColumns(statement, traces),
    copied: writes.copied,
    refusal: refusals.first,
  };
}

function shownColumns({ top, kind }: BoundStatement, traces: Traces): TokenUses["outputs"] {
  return top === undefined || top.hasUnknownOutputs || kind === "explain" || kind === "create as"
    ? []
    : top.outputs.map((_, index) => asColumn(traces.ofOutput(top, index)));
}

function bareColumns({ queries, top, kind }: BoundStatement, traces: Traces): readonly TokenColumn[] {
  if (top === undefined || kind === "explain") return [];
  const isBare = top.outputs.some(
    (_, index) => traces.outputHolds(top, index) && typeof traces.ofOutput(top, index) !== "object",
  );
  if (!isBare) return [];
  return queries.flatMap(({ relations }) =>
    relations.flatMap(({ columns }) => columns.flatMap((column) => asColumn(traces.ofColumn(column)) ?? [])),
  );
}
