import type { Ledger } from "../protocol/ledger.ts";
import type { Change } from "../protocol/names.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { ClientStatement } from "./server-statements.ts";

interface Step {
  /** What the client's name of a prepared statement means once it has succeeded. */
  readonly change?: Change<ClientStatement>;
  /** Told in place of the server's error: a message that surely fails was sent. */
  readonly refusal?: Refusal;
}

/** A query of the pool's own. */
export interface OwnQuery {
  readonly kind: "ownQuery";
  /** Fields of the last row, a character a byte; undefined: NULL. */
  row: readonly (string | undefined)[];
  failed: boolean;
  readonly done: (query: OwnQuery) => void;
}

/** A query of the client's. `drops`: with it the unnamed statement goes. */
export interface QuerySent extends Step {
  readonly kind: "query";
  readonly drops: Change<ClientStatement>;
  /** DEALLOCATE, in whose place an empty query was sent. */
  readonly forgets?: true;
}

export interface ParseSent extends Step {
  readonly kind: "parse";
  /** The client has not asked for it. */
  readonly hidden: boolean;
  /** What the connection has prepared once it has succeeded. */
  readonly prepares?: { readonly statement: ClientStatement; readonly isUnnamed: boolean };
  /** Told in place of the server's own words when it says that there is a statement of this name. */
  readonly taken?: Refusal;
}

export interface NamingSent extends Step {
  readonly kind: "bind" | "describe";
  /** By the client's name. */
  readonly of?: { readonly name: string; readonly statement: ClientStatement };
}

/** What the server is to answer, or what the client is told in its place. */
export type Expected =
  | OwnQuery
  | QuerySent
  | ParseSent
  | NamingSent
  /** `unwanted`: a name of ours that has to give way. */
  | (Step & { readonly kind: "close"; readonly hidden: boolean; readonly unwanted?: string })
  /** Nothing was sent: the client gets this in its turn. */
  | (Step & { readonly kind: "local"; readonly message: Buffer })
  /** `forgets`: DEALLOCATE, in whose place an empty query was prepared. */
  | (Step & { readonly kind: "execute"; readonly forgets?: true })
  | { readonly kind: "sync" };

/** The conversation of one client with the connection that it holds. */
export type PoolLedger = Ledger<Expected>;

export const EXECUTE: Expected = { kind: "execute" };
export const SYNC: Expected = { kind: "sync" };
