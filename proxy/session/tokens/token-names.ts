import { NAME_BYTES, refuseWeight } from "../../protocol/most-named.ts";
import { type Change, Names } from "../../protocol/object-names.ts";
import type { NameUse } from "../../sql/tokens/name-uses.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { FieldOrigin } from "../../wire/rows.ts";
import { PREPARE_AGAIN, type Sent } from "./texts.ts";
import type { FieldColumns } from "./token-rows.ts";

/** What a name stands for: one statement of a text. */
export interface Named {
  readonly sent: Sent;
  readonly index: number;
  /** A cursor that outlives its transaction. */
  readonly isHeld: boolean;
  /** It is the query inside of the statement: what DECLARE opens, and PREPARE prepares. */
  readonly isInner: boolean;
  /** Of its rows, once the server has described them. */
  origins?: readonly FieldOrigin[];
}

/** What a message will have done to a name once the server has run the statement of this index. */
export interface Naming {
  readonly of: "statements" | "portals";
  readonly change: Change<Named>;
  readonly index: number;
}

/** What a text does with names, as far as what was sent before it has decided that. */
export interface Followed {
  readonly namings: readonly Naming[];
  /** What its FETCH and EXECUTE give rows of: by the index of the statement. */
  readonly rows: ReadonlyMap<number, FieldColumns>;
  /** Why one of its EXECUTE may not run. */
  readonly refusal: Refusal | undefined;
}

export const NOTHING_FOLLOWED: Followed = { namings: [], rows: new Map(), refusal: undefined };

/**
 * The prepared statements and the portals of a session. The protocol and SQL share their names: EXECUTE runs what Parse has
 * prepared, FETCH gives the rows of what Bind has made, and the other way round (Postgres docs, "PREPARE", "DECLARE").
 */
export class TokenNames {
  readonly #names = { statements: new Names(weightOf), portals: new Names(weightOf) };
  /** Sent, and not answered. */
  readonly #open = new Set<Naming>();
  /** Why something may not run that was prepared while nothing was stored as tokens, and is not known. */
  #unknown: Refusal | undefined;
  /** Something was prepared whose parameters become tokens. */
  #areSealed = false;

  /** Something is sent that is not followed, because nothing is stored as tokens yet. */
  missed(): void {
    this.#unknown = PREPARE_AGAIN;
  }

  get unknown(): Refusal | undefined {
    return this.#unknown;
  }

  /** As it will be if all that was sent succeeds. */
  expected(of: Naming["of"], name: string): Named | undefined {
    return this.#names[of].expected(name);
  }

  /** Otherwise each name is settled. */
  get arePending(): boolean {
    return this.#names.statements.arePending || this.#names.portals.arePending;
  }

  /** False: whether a name is given depends on answers that are to come. */
  isSettled(of: Naming["of"], name: string, pipeline: number): boolean {
    return this.#names[of].find(name, pipeline) !== "unsettled";
  }

  areSettled(uses: Sent["uses"], pipeline: number, depth = 0): boolean {
    return uses.every((use) => {
      if (use === undefined || !isFollowed(use)) return true;
      const found = this.#names[placeOf(use)].find(use.key, pipeline);
      if (found === "unsettled") return false;
      return found === "absent" || depth >= DEEPEST || this.areSettled(found.sent.uses, pipeline, depth + 1);
    });
  }

  /** A message has been sent that gives the name, or frees it. */
  propose(of: Naming["of"], name: string, named: Named | undefined, pipeline: number, index = 0): Naming {
    this.#areSealed ||= named !== undefined && named.sent.text.parameters.size > 0;
    const naming = { of, change: this.#names[of].propose(name, named, pipeline), index };
    this.#open.add(naming);
    return naming;
  }

  /** Why no more names are given; undefined: there is room for one. */
  get crowded(): Refusal | undefined {
    return refuseWeight(this.#names.statements.weight + this.#names.portals.weight);
  }

  /** A text is about to run. `renew`: why what was prepared may not run as it was prepared. */
  follow(sent: Sent, pipeline: number, renew: (sent: Sent) => Refusal | undefined): Followed {
    const namings: Naming[] = [];
    const rows = new Map<number, FieldColumns>();
    let refusal = sent.isUnclear && this.#areSealed ? UNCLEAR : undefined;
    sent.uses.forEach((use, index) => {
      if (use === undefined) return;
      if (!isFollowed(use)) {
        refusal ??= this.crowded;
        const named = { sent, index, isHeld: use.isHeld, isInner: true };
        namings.push(this.propose(placeOf(use), use.key, named, pipeline, index));
        return;
      }
      const source = this.#source(use, renew);
      if ("sqlstate" in source) refusal ??= source;
      else if (use.givesRows) rows.set(index, source);
    });
    return { namings, rows, refusal };
  }

  /** The columns of the rows of what is named, which may name something else. */
  #source(use: NameUse, renew: (sent: Sent) => Refusal | undefined, depth = 0): FieldColumns | Refusal {
    const named = this.expected(placeOf(use), use.key);
    // If the server has it, a function has prepared it: its parameters may be values of columns with tokens.
    if (named === undefined && use.does === "executes") return this.#unknown ?? NOT_PREPARED;
    // Otherwise the server does not have it either, or gives up at such a ring.
    if (named === undefined || depth > DEEPEST) return [];
    const refusal = use.does === "executes" ? (renew(named.sent) ?? refuseParameters(named.sent)) : undefined;
    if (refusal !== undefined) return refusal;
    const { text, uses } = named.sent;
    const inner = uses[named.index];
    if (inner !== undefined && isFollowed(inner)) return this.#source(inner, renew, depth + 1);
    return text.statements[named.index]?.outputs ?? [];
  }

  confirm(namings: readonly Naming[]): void {
    for (const naming of namings)
      if (this.#open.delete(naming)) this.#names[naming.of].confirm(naming.change);
  }

  /** The server has refused something, and drops the rest of its pipeline. */
  withdraw(pipeline: number): void {
    // They stand in the order in which they were sent: those behind are not looked at.
    for (const naming of this.#open) {
      if (naming.change.pipeline > pipeline) return;
      if (naming.change.pipeline === pipeline) this.#undo(naming);
    }
  }

  /** All has been answered: what the answers have not confirmed will not be. */
  withdrawAll(): void {
    for (const naming of this.#open) this.#undo(naming);
  }

  #undo(naming: Naming): void {
    this.#open.delete(naming);
    this.#names[naming.of].withdraw(naming.change);
  }

  /** Portals end with their transaction. */
  transactionEnded(): void {
    this.#names.portals.clear(({ isHeld }) => isHeld);
  }
}

/** EXECUTE can name an EXECUTE that Parse has prepared; the server ends such a ring by its stack depth. */
const DEEPEST = 8;

function placeOf({ does }: NameUse): Naming["of"] {
  return does === "prepares" || does === "executes" ? "statements" : "portals";
}

/** It runs what has the name, and does not give it. */
function isFollowed({ does }: NameUse): boolean {
  return does === "executes" || does === "fetches";
}

function refuseParameters({ text }: Sent): Refusal | undefined {
  return text.parameters.size === 0 ? undefined : PARAMETERS;
}

const PARAMETERS = refuse("42501", "what EXECUTE gives for parameters cannot be turned into tokens", {
  hint: "Execute it by the driver, as it was prepared, or write constants in the statement itself.",
});

const NOT_PREPARED = refuse("26000", "the client has prepared no statement of this name", {
  hint: "What a function prepares in a database with tokens is not run by EXECUTE: prepare it as the client.",
});

const UNCLEAR = refuse(
  "42501",
  "this may execute what was prepared, and has syntax that Sluice does not know",
  {
    hint: "Values of columns with tokens may be among its parameters: send EXECUTE in a statement of its own.",
  },
);

function weightOf({ sent }: Named): number {
  return NAME_BYTES + sent.weight;
}
