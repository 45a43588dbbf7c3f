import type { Refusal } from "../wire/refusal.ts";
import type { Change } from "./changes.ts";

/** What becomes of one statement text (which may hold several statements) for one scope: pure data, cached. */
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
      /** The whole text to send in place of the client's, UTF-8, without a terminating zero. */
      readonly sql: Buffer;
      /** In ascending order of `at`; they turn the client's text into `sql`. */
      readonly edits: readonly Edit[];
    }
  | {
      readonly kind: "refuse";
      readonly statements: readonly Statement[];
      readonly refusal: Refusal;
    };

/** Replaces the client's bytes `[at, end)` by `text`. */
export interface Edit {
  readonly at: number;
  readonly end: number;
  readonly text: string;
}

/** An edit as the analysis makes it. */
export interface MadeEdit extends Edit {
  /** The text begins with a subquery, and this is its target list: `(SELECT list FROM …`. */
  readonly list?: string;
  /** What becomes of the tree; nothing else may. Left out where another edit of the same change tells. */
  readonly change?: Change;
}

/** One statement of a text. */
export interface Statement {
  /** As in a command tag, from a bounded set: SELECT, INSERT, COPY, SET, BEGIN, CREATE TABLE, OTHER … */
  readonly command: string;
  readonly kind: StatementKind;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** Classes whose columns the statement named or gave out in masked form. */
  readonly masked: readonly string[];
  /** Classes whose values its reader learns; left out where nobody has looked (a role that sees all). */
  readonly revealed?: Revealed;
  /** How many exact look-ups of masked columns it makes. */
  readonly lookups: number;
  /** Look-ups whose number, or whether they are any, only the values of parameters tell. */
  readonly asks?: readonly BoundAsk[];
  /** Told beside its result: what it does may not be what was meant. */
  readonly notices?: readonly Refusal[];
  /** Told when it fails because it would change a column that the role may not change. */
  readonly keeps?: Refusal;
  /** What the rows that its tag says are written are: of a table with people, or of another. */
  readonly changes?: "people" | "rows";
  /** The role's row and byte limits hold for what it returns. */
  readonly limited: boolean;
  /** Names a column that the catalog does not have: it may be new. */
  readonly namesUnknown?: true;
  /** Its plan, as it was prepared, would show what is not for the role. */
  readonly hidesPlan?: true;
  /** A write that gives no rows. */
  readonly silent?: true;
  /** It calls what may write: where its answer may not leave, what it did is taken back. */
  readonly acts?: true;
  /** What its rows tell the meter; undefined when they speak of no person. */
  readonly metering?: Metering;
  /** What it does to the session once it has completed. */
  readonly effect?: Effect;
  /** Of a watched role: whom it shows cannot be named in full, and what it shows is charged by its size. */
  readonly uncounted?: true;
  /** Of a watched role: what it may change for the statements after it. */
  readonly touch?: SessionTouch;
}

/** What a statement leaves behind in its session, as far as later statements hang on it. */
export interface SessionTouch {
  /** Settings or temporary relations may be others, so that the server has to be asked. */
  readonly session: boolean;
  /** Relations that outlive the session may be others. */
  readonly defines: boolean;
  /** Relations that it names without a schema: a temporary one goes before all others. */
  readonly bareNames: readonly string[];
  /** The prepared statement that it runs within itself: CREATE TABLE AS EXECUTE, EXPLAIN EXECUTE. */
  readonly runs?: string;
}

/** A parameter (from 1) that holds an array of values to look up, or a pattern that must have no wildcard. */
export interface BoundAsk {
  readonly parameter: number;
  readonly as: "array" | "pattern";
}

/** By class: what a statement tells its reader of the real values. */
export interface Revealed {
  /** Named in the clear. */
  readonly shown: readonly string[];
  /** In the clear in the rows where a condition of the policy holds, masked in the others. */
  readonly shownWhere: readonly string[];
  /** People were looked up by their exact value: whoever asks has it. */
  readonly found: readonly string[];
}

export type StatementKind =
  | "read"
  | "write"
  | "copyIn"
  | "copyOut"
  | "explain"
  | "cursor"
  | "transaction"
  | "session"
  | "definition"
  | "other";

export interface Metering {
  /**
   * Fields that the rewrite appended to the end of the target list, in order: the proxy takes them off
   * RowDescription and DataRow. Each is a person's identity as text, in the given name space.
   */
  readonly subjects: readonly { readonly namespace: string }[];
  /** Guarded references that no subject field covers: each output row counts one unknown person for each. */
  readonly unknown: number;
  /** For how many people each of them counts; 1 if left out. */
  readonly cost?: number;
  /** One more field at the very end says whether all these people have to do with the reader's work: "t" or "f". */
  readonly purpose?: true;
  /** Each row is made of several people's, and fields at the end say whose. Then there are no `subjects`. */
  readonly groups?: Groups;
  /** What a role with a budget of people pays; left out for other roles, and where nothing can be learned. */
  readonly price?: StatementPrice;
}

/** Fields at the end of each row of groups, one for each reference: how many people, or a JSON array of who they are. */
export interface Groups {
  readonly namespaces: readonly string[];
  readonly tell: "number" | "people";
  /** Nothing in the statement names a protected column. */
  readonly isPlain: boolean;
  /** For how many people a row counts at most: one that shows only what they have in common is one of each reference. */
  readonly most?: number;
}

/** See docs/metering.md, "What a statement costs", and prices.ts for the units. */
export interface StatementPrice {
  /** Units for each execution, before it runs. */
  readonly execution: number;
  /**
   * The people of whom alone its answer can tell. Where all of them can be named before it runs they are charged, and
   * `pinned` units, in place of all else.
   */
  readonly pins?: readonly PinnedPerson[];
  readonly pinned: number;
  /** Units of `execution` that are paid for the first rows. */
  readonly prepaid?: number;
  /** Rows may be made of more people than `unknown` says: they are charged by their size. */
  readonly bySize: boolean;
}

/** A person who is named by a constant or a parameter. */
export interface PinnedPerson {
  readonly namespace: string;
  /** How its values read as text. */
  readonly type: "integer" | "text" | "uuid";
  /**
   * A parameter's number from 1, and whether it stands nowhere else (its type is then the subject's), or an index into the verdict's `places`: byte
   * offsets of constants in the text.
   */
  readonly from: { readonly parameter: number; readonly isAlone: boolean } | { readonly place: number };
}

/** How many fields the client did not ask for. */
export function extraFields({ metering }: Statement): number {
  if (metering === undefined) return 0;
  const { subjects, purpose, groups } = metering;
  return subjects.length + (purpose === true ? 1 : 0) + (groups?.namespaces.length ?? 0);
}

/** Session effects, applied when the statement's CommandComplete arrives. */
export type Effect =
  | { readonly kind: "prepare"; readonly name: string; readonly inner: Statement }
  | { readonly kind: "execute"; readonly name: string }
  /** EXPLAIN of what is prepared under this name. */
  | { readonly kind: "explainExecute"; readonly name: string }
  | { readonly kind: "deallocate"; readonly name: string | undefined }
  | { readonly kind: "declare"; readonly name: string; readonly hold: boolean; readonly inner: Statement }
  /** `seeks`: by place, or backwards; `most`: how many rows it asks for, undefined for all. */
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
  /** `header`: the first line holds the columns' names (HEADER). */
  | { readonly kind: "copyOut"; readonly header?: boolean };
