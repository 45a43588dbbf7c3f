import type { BoundQuery, BoundStatement, Call } from "../bind/bound.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import type { TokenUses } from "../tokens/token-uses.ts";
import { actingCalls } from "./acting-calls.ts";
import { type ShownColumns, shownColumns } from "./base-columns.ts";
import { type CallFinding, callFindings } from "./called-functions.ts";
import { telltalePlans } from "./explained.ts";
import { type Exposure, exposureOf } from "./exposure.ts";
import type { Given } from "./given.ts";
import { type Lookup, lookupsOf } from "./lookups.ts";
import { givenOut, type NamedSights, namedSights, namesPlaces } from "./named-columns.ts";
import { type Use, usesOf } from "./relations.ts";
import type { Form } from "./statement-kinds.ts";
import { type SummaryFinding, summaryOfPeople } from "./summaries.ts";
import { tokensIn } from "./tokens.ts";
import { type WriteFindings, writeFindings } from "./writes.ts";

/** Facts about a statement that several rules need; each is computed on first use. */
export class Facts {
  readonly raw: RawStatement;
  readonly statement: BoundStatement;
  readonly form: Form;
  readonly given: Given;
  #uses: readonly Use[] | undefined;
  #shown: ShownColumns | undefined;
  #lookups: readonly Lookup[] | undefined;
  #named: NamedSights | undefined;
  #calls: readonly CallFinding[] | undefined;
  #acting: readonly Call[] | undefined;
  #telltale: readonly Use[] | undefined;
  #summaries: ReadonlyMap<BoundQuery, SummaryFinding> | undefined;
  #writes: readonly WriteFindings[] | undefined;
  #exposure: Exposure | undefined;
  #tokens: { readonly uses: TokenUses | undefined } | undefined;

  constructor(raw: RawStatement, statement: BoundStatement, form: Form, given: Given) {
    this.raw = raw;
    this.statement = statement;
    this.form = form;
    this.given = given;
  }

  /** References to relations. */
  get uses(): readonly Use[] {
    this.#uses ??= usesOf(this.statement, this.given.sights);
    return this.#uses;
  }

  get shown(): ShownColumns {
    this.#shown ??= shownColumns(this.statement);
    return this.#shown;
  }

  get lookups(): readonly Lookup[] {
    this.#lookups ??= lookupsOf(this.statement, this.given);
    return this.#lookups;
  }

  /** Columns of tables, as the role sees them. */
  get named(): NamedSights {
    this.#named ??= namedSights(this.statement, this.given, this.lookups);
    return this.#named;
  }

  get calls(): readonly CallFinding[] {
    this.#calls ??= callFindings(this.statement, this.given);
    return this.#calls;
  }

  /** Calls of user-defined functions that may write. */
  get acting(): readonly Call[] {
    this.#acting ??= actingCalls(this.statement, this.given);
    return this.#acting;
  }

  /** Relations whose plans would reveal what the role may not know. */
  get telltale(): readonly Use[] {
    this.#telltale ??= telltalePlans(this.given.role, this.uses);
    return this.#telltale;
  }

  /** What `aggregates_only` requires of each query. */
  get summaries(): ReadonlyMap<BoundQuery, SummaryFinding> {
    this.#summaries ??= new Map(
      this.statement.queries.flatMap((query) => {
        const found = summaryOfPeople(this.statement, this.given, query);
        return found === undefined ? [] : [[query, found] as const];
      }),
    );
    return this.#summaries;
  }

  /** What it does with columns that hold tokens; undefined if the policy has none. */
  get tokens(): TokenUses | undefined {
    this.#tokens ??= { uses: tokensIn(this.statement, this.given) };
    return this.#tokens.uses;
  }

  get writes(): readonly WriteFindings[] {
    const { statement, given, named, uses } = this;
    this.#writes ??= uses.flatMap((target) => {
      const query = statement.queries.find(({ write }) => write?.target === target.reference);
      return query === undefined ? [] : [writeFindings({ statement, given, named, query, target })];
    });
    return this.#writes;
  }

  get exposure(): Exposure {
    this.#exposure ??= exposureOf({
      named: this.named,
      givenOut: givenOut(this.statement, this.given),
      lookups: this.lookups,
      searched: this.writes.flatMap(({ searched }) => searched),
      namesPlaces: namesPlaces(this.statement, this.given),
    });
    return this.#exposure;
  }
}
