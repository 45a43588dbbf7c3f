import type { CatalogParts } from "../catalog/assembled.ts";
import type { Scope } from "../sql/scope.ts";
import type { Residue } from "../sql/session-residue.ts";
import type { Verdict } from "../sql/verdict.ts";

/** A scope as sent: without its catalog, which has been sent before, and without parts that contain functions. */
export interface SentScope extends Omit<Scope, "catalog" | "maskKey"> {
  readonly maskKey: Uint8Array | undefined;
}

/** The long lists of a catalog, which are sent in pieces. */
export const CATALOG_LISTS = ["relations", "functions", "types"] as const;
export type CatalogList = (typeof CATALOG_LISTS)[number];

/** Messages to the thread, in this order: a catalog once, then texts to analyse with it. */
export type ToThread =
  | {
      readonly kind: "catalog";
      readonly id: number;
      readonly rest: Omit<CatalogParts, CatalogList>;
      /** Catalogs that no further text will use. */
      readonly forget: readonly number[];
    }
  | {
      readonly kind: "piece";
      readonly id: number;
      readonly list: CatalogList;
      readonly piece: readonly object[];
    }
  | { readonly kind: "text"; readonly text: string; readonly catalog: number; readonly scope: SentScope }
  | { readonly kind: "residue"; readonly text: string; readonly catalog: number };

/** The answer to each text whose residue is asked for. */
export interface ResidueFromThread {
  readonly residue: Residue;
}

/** The answer to each other text. */
export interface FromThread {
  readonly verdict: Verdict;
  /** The text as the audit log stores it. */
  readonly stored: string;
  /** Texts of the same shape have the same verdict. */
  readonly isShared: boolean;
  /** Faults found by the verification. */
  readonly leftovers: readonly string[];
}
