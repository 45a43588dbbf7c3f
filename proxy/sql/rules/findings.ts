import type { FuncCall } from "libpg-query";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import type { ShownColumns } from "./base-columns.ts";
import type { Given } from "./given.ts";
import type { KeptAssignment } from "./kept-columns.ts";
import type { Lookup } from "./lookups.ts";
import type { Appended } from "./metering.ts";
import type { RepeatedCondition } from "./repeated-conditions.ts";
import type { ReturnedItem } from "./returned.ts";
import type { PeopleSummary } from "./summaries.ts";

/** A statement that the role may run. */
export interface JudgedStatement {
  readonly raw: RawStatement;
  /** The number of statements before it in the text. */
  readonly index: number;
  readonly bound: BoundStatement;
  readonly given: Given;
  readonly findings: Findings;
}

/** The rules' findings about a statement that change its text. */
export interface Findings {
  /** What subqueries need in addition to the named columns. */
  readonly shown: ShownColumns;
  /** Conditions that move into subqueries, and conditions that are repeated there. */
  readonly lookups: readonly Lookup[];
  readonly repeated: readonly RepeatedCondition[];
  /** What `aggregates_only` requires of a query. */
  readonly summaries: ReadonlyMap<BoundQuery, PeopleSummary>;
  /** Assignments that either change nothing or fail. */
  readonly kept: readonly KeptAssignment[];
  /** Items of RETURNING that are written out. */
  readonly returned: readonly ReturnedItem[];
  /** The schemas of functions that are called without one. */
  readonly schemas: ReadonlyMap<FuncCall, string>;
  /** Calls whose only argument becomes NULL. */
  readonly withoutArgument: ReadonlySet<FuncCall>;
  /** Columns after those of the statement's own query. */
  readonly appended: Appended | undefined;
  /** EXPLAIN shows no figures. */
  readonly hidesFigures: boolean;
  /** The LIMIT sent to the server: the role's row limit plus one, which shows that there were more. */
  readonly limit: number | undefined;
}
