import type { StatementFamily } from "../pg/statements.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Change } from "./emit/text-changes.ts";
import type { UnsureWrite } from "./rules/unsure-writes.ts";
import type { StageName } from "./stages.ts";

/** What happens to one statement text (which may contain several statements) for one scope: pure data, cached. */
export type Verdict =
  | {
      readonly kind: "pass";
      readonly statements: readonly Statement[];
      /** See `PinnedPerson`. */
      readonly places?: readonly number[];
    }
  | {
      readonly kind: "rewrite";
      readonly statements: readonly Statement[];
      readonly places?: readonly number[];
      /** The whole text to send in place of the client's: UTF-8, without a terminating zero. */
      readonly sql: Buffer;
      /** In ascending order of `at`; they turn the client's text into `sql`. */
      readonly edits: readonly Edit[];
    }
  | {
      readonly kind: "refuse";
      readonly statements: readonly Statement[];
      readonly refusal: Refusal;
      /** The stage of the analysis that refused it; absent if there was no analysis. */
      readonly stage?: StageName;
    };

/** Replaces the client's bytes `[at, end)` by `text`. */
export interface Edit {
  readonly at: number;
  readonly end: number;
  readonly text: string;
}

/** An edit as the analysis makes it. */
export interface MadeEdit extends Edit {
  /** The text begins with a subquery that has this target list: `(SELECT list FROM …`. */
  readonly list?: string;
  /** The change to the tree; no other change is allowed. Absent if another edit of the same change has it. */
  readonly change?: Change;
}

/** One statement of a text. */
export interface Statement {
  /** As in a command tag, from a bounded set: SELECT, INSERT, COPY, SET, BEGIN, CREATE TABLE, OTHER … */
  readonly command: string;
  readonly kind: StatementKind;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** Classes whose columns the statement named or returned in masked form. */
  readonly masked: readonly string[];
  /** Classes whose values the user learns; absent if this was not analysed (a role that sees everything). */
  readonly revealed?: Revealed;
  /** How many exact lookups of masked columns it makes. */
  readonly lookups: number;
  /** Classes of its outputs that are stored as tokens, and turned back for the role. */
  readonly reveals?: readonly string[];
  /** Lookups whose number, or whose presence, is known only from the values of parameters. */
  readonly asks?: readonly BoundAsk[];
  /** Notices sent in addition to its result: what the statement does may not be what was meant. */
  readonly notices?: readonly Refusal[];
  /** Sent if the statement fails because it would change a column that the role may not change. */
  readonly keeps?: Refusal;
  /** What its tag counts as written rows: rows of a table with people, or of another table. */
  readonly changes?: "people" | "rows";
  /** The role's row and byte limits apply to what it returns. */
  readonly limited: boolean;
  /** Names a column that the catalog does not have: the column may be new. */
  readonly namesUnknown?: true;
  /** Its plan, as prepared, would show something that the role may not see. */
  readonly hidesPlan?: true;
  /** A write that returns no rows. */
  readonly silent?: true;
  /** It calls a function that may write: if its answer may not be sent, its effects are rolled back. */
  readonly acts?: true;
  /** What its rows tell the meter; undefined if they are about no person. */
  readonly metering?: Metering;
  /** Its effect on the session once it has completed. */
  readonly effect?: Effect;
  /** For a watched role: the people it shows cannot all be identified, and what it shows is charged by its size. */
  readonly uncounted?: true;
  /** For a watched role: what it may change for later statements. */
  readonly touch?: SessionTouch;
  /**
   * For a watched role: it stores values of so many people in each row that it writes, where nobody is counted for them.
   * Infinity: of any number. Zero: of those who are counted by its rows, as long as these reach the client.
   */
  readonly copies?: number;
  /** For a watched role: these are one person, however many rows it writes. */
  readonly copiesOne?: true;
  /** For a watched role: each of them counts as so many people; one if absent. */
  readonly copiesCost?: number;
  /**
   * For a watched role: the one row that it reads or writes, by its key. What it stores of it is free for readers who were shown
   * that row before.
   */
  readonly row?: PinnedPerson;
  /** For a watched role: some of what it stores outlives a rollback. */
  readonly isForGood?: true;
  /** For a watched role: it stores values of the client's and reads none, so its errors quote what the client has sent. */
  readonly ownValues?: true;
  /** For a watched role: replaces a text that cannot be read, which may contain several statements. */
  readonly unread?: true;
  /** It may read relations that are not among `reads`: by code that it runs, from a cursor, in a part of its text that was not read. */
  readonly readsMore?: true;
}

/** What a statement leaves behind in its session, as far as later statements depend on it. */
export interface SessionTouch {
  /** Settings or temporary relations may have changed, so that the server has to be asked. */
  readonly session: boolean;
  /** Relations that outlive the session may have changed. */
  readonly defines: boolean;
  /** Relations that it names without a schema: a temporary one takes precedence over all others. */
  readonly bareNames: readonly string[];
  /** The prepared statement that it runs within itself: CREATE TABLE AS EXECUTE, EXPLAIN EXECUTE. */
  readonly runs?: string;
  /** It makes a table of what that gives. */
  readonly makesTable?: true;
  /** Names of relations, known ones too, may mean the rows of others afterwards. */
  readonly remeans?: true;
  /** It stores rows of relations that it names. */
  readonly stores?: true;
  /** What it takes from people if its names mean other relations than they seem to. */
  readonly unsure?: UnsureWrite;
  /** Tables that it makes: see `tablesMade`. */
  readonly makes?: readonly string[];
  /** It may change search_path or temporary relations, also by code that it runs. */
  readonly moves?: true;
  /** Several relations have one of its bare names. */
  readonly isAmbiguous?: true;
  /** Name spaces of rows in which it may give keys to others: see `keysGiven`. */
  readonly keys?: readonly string[];
}

/**
 * A parameter (numbered from 1) with an array of values to look up, or with a pattern that must contain no wildcard.
 */
export interface BoundAsk {
  readonly parameter: number;
  readonly as: "array" | "pattern";
}

/** By class: what a statement reveals to its user about the real values. */
export interface Revealed {
  /** Shown in the clear. */
  readonly shown: readonly string[];
  /** In the clear in rows for which a condition of the policy is true, masked in the others. */
  readonly shownWhere: readonly string[];
  /** People were looked up by their exact value, which the user therefore has. */
  readonly found: readonly string[];
}

/** COPY of guarded roles has a direction. */
export type StatementKind = StatementFamily | "copyIn" | "copyOut";

export interface Metering {
  /** For a watched role, where nothing tells how many people are behind a row: it gathers rows. */
  readonly gathers?: true;
  /**
   * Fields that the rewrite appended to the end of the target list, in order: the proxy removes them from
   * RowDescription and DataRow. Each is a person's identity as text, in the given name space.
   */
  readonly subjects: readonly { readonly namespace: string }[];
  /** By output: which of `subjects` its value surely is of. */
  readonly owners?: readonly (number | undefined)[];
  /** Guarded references without a subject field: each output row counts one unknown person for each. */
  readonly unknown: number;
  /** How many people each of them counts as; 1 if absent. */
  readonly cost?: number;
  /** One more field at the very end says whether the user has work with all these people: "t" or "f". */
  readonly purpose?: true | "of another reader";
  /** Each row is made from several people's rows, and fields at the end identify them. Then there are no `subjects`. */
  readonly groups?: Groups;
  /** What a role with a budget of people pays; absent for other roles, and if nothing can be learned. */
  readonly price?: StatementPrice;
}

/**
 * Fields at the end of each row of groups, one per reference: the number of people, or a JSON array of their
 * identities.
 */
export interface Groups {
  readonly namespaces: readonly string[];
  readonly tell: "number" | "people";
  /** Nothing in the statement names a protected column. */
  readonly isPlain: boolean;
  /**
   * The maximum number of people a row counts as: a row that shows only what they have in common is one person per
   * reference.
   */
  readonly most?: number;
}

/** See docs/metering.md, "What a statement costs", and prices.ts for the units. */
export interface StatementPrice {
  /** Units for each execution, charged before it runs. */
  readonly execution: number;
  /**
   * The only people about whom its answer can reveal anything. If all of them can be identified before it runs, they
   * and `pinned` units are charged instead of everything else.
   */
  readonly pins?: readonly PinnedPerson[];
  readonly pinned: number;
  /** Units for each Bind, because planning can fail on stored values; left out if it cannot. */
  readonly planning?: number;
  /** Units of `execution` that pay for the first rows. */
  readonly prepaid?: number;
  /** Rows may be made from more people than `unknown` says: they are charged by their size. */
  readonly bySize: boolean;
}

/** A person who is identified by a constant or a parameter. */
export interface PinnedPerson {
  readonly namespace: string;
  /** How its values are read as text. */
  readonly type: "integer" | "text" | "uuid";
  /**
   * A parameter's number from 1, and whether it is used nowhere else (its type is then the subject's); or an index into
   * the verdict's `places`: byte offsets of constants in the text.
   */
  readonly from: { readonly parameter: number; readonly isAlone: boolean } | { readonly place: number };
}

/** The number of fields that the client did not request. */
export function extraFields({ metering }: Statement): number {
  if (metering === undefined) return 0;
  const { subjects, purpose, groups } = metering;
  return subjects.length + (purpose === undefined ? 0 : 1) + (groups?.namespaces.length ?? 0);
}

/** Effects on the session, applied when the statement's CommandComplete arrives. */
export type Effect =
  | { readonly kind: "prepare"; readonly name: string; readonly inner: Statement }
  | { readonly kind: "execute"; readonly name: string }
  /** EXPLAIN of the statement that is prepared under this name. */
  | { readonly kind: "explainExecute"; readonly name: string }
  | { readonly kind: "deallocate"; readonly name: string | undefined }
  | { readonly kind: "declare"; readonly name: string; readonly hold: boolean; readonly inner: Statement }
  /** `seeks`: by position, or backwards; `most`: the number of rows it requests, undefined for all. */
  | {
      readonly kind: "fetch";
      readonly portal: string;
      readonly move: boolean;
      readonly seeks: boolean;
      readonly most: number | undefined;
    }
  | { readonly kind: "close"; readonly portal: string | undefined }
  | { readonly kind: "discard"; readonly target: "all" | "plans" | "other" }
  /** `reset` names a parameter, or "all". */
  | { readonly kind: "set"; readonly parameter: string; readonly local: boolean }
  | { readonly kind: "transaction"; readonly ends: boolean }
  | { readonly kind: "definition" }
  | { readonly kind: "copyIn" }
  /** `header`: the first line contains the columns' names (HEADER). */
  | { readonly kind: "copyOut"; readonly header?: boolean };
