import type { Reveal } from "../../meter/meter.ts";
import { PERSON } from "../../policy/price-units.ts";
import type { Scope } from "../../sql/scope.ts";
import { extraFields, type Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "./decision.ts";
import type { PinnedPeople } from "./pinned.ts";
import { Answer, type Repeat } from "./repeats.ts";

/** How many people a statement's event names at most. */
export const NAMED = 5_000;
/** How many are distinguished; beyond it each sighting counts as someone new. */
const TOLD_APART = 20_000;

/** A batch of rows has no more people than this of each name space. */
const PREPARED_AT_ONCE = 1_000;

/** So few are compared one by one. */
const FEW = 8;

type Hash = (namespace: string, identity: string) => string;

/** The people whose rows one statement gave out. */
export class People {
  /** Who they are, in the order in which they came. */
  readonly #namespaces: string[] = [];
  readonly #identities: string[] = [];
  /** What events call them, as far as that has been asked for. */
  readonly #names: (string | undefined)[] = [];
  #prepared = 0;
  /** None while they are few: most statements show one. */
  #seen: Map<string, Set<string>> | undefined;
  #purposeless: Set<string> | undefined;
  #unnamed = 0;

  /** "" is a subject that was NULL: no person. */
  add(namespace: string, identity: string): void {
    if (identity === "" || this.#has(namespace, identity)) return;
    if (this.known >= TOLD_APART) {
      this.#unnamed++;
      return;
    }
    this.#namespaces.push(namespace);
    this.#identities.push(identity);
    if (this.#seen !== undefined) note(this.#seen, namespace, identity);
  }

  #has(namespace: string, identity: string): boolean {
    if (this.known < FEW) {
      for (let at = 0; at < this.known; at++)
        if (this.#identities[at] === identity && this.#namespaces[at] === namespace) return true;
      return false;
    }
    if (this.#seen === undefined) {
      this.#seen = new Map();
      for (const [of, each] of this.since(0)) note(this.#seen, of, each);
    }
    return this.#seen.get(namespace)?.has(identity) === true;
  }

  /** One of them has nothing to do with the reader's work, as far as the policy can say. */
  lacksPurpose(namespace: string, identity: string): void {
    if (identity !== "" && this.purposeless < TOLD_APART) {
      this.#purposeless ??= new Set();
      this.#purposeless.add(`${namespace}\0${identity}`);
    }
  }

  /** One character for each of those whom `named` gives: "1" for whoever has nothing to do with the reader's work. */
  unexplained(after = 0): string {
    const end = Math.min(this.known, after + NAMED);
    const purposeless = this.#purposeless;
    if (purposeless === undefined) return "0".repeat(Math.max(0, end - after));
    let text = "";
    for (let at = after; at < end; at++) {
      const key = `${this.#namespaces[at] ?? ""}\0${this.#identities[at] ?? ""}`;
      text += purposeless.has(key) ? "1" : "0";
    }
    return text;
  }

  get purposeless(): number {
    return this.#purposeless?.size ?? 0;
  }

  /** All of these as well. */
  addAll(others: People): void {
    for (let at = 0; at < others.known; at++) {
      const { known } = this;
      this.add(others.#namespaces[at] ?? "", others.#identities[at] ?? "");
      // A name is the same in all events.
      if (this.known > known) this.#names[known] = others.#names[at];
    }
    for (const key of others.#purposeless ?? []) {
      if (this.purposeless >= TOLD_APART) break;
      this.#purposeless ??= new Set();
      this.#purposeless.add(key);
    }
    this.#unnamed += others.#unnamed;
  }

  addUnknown(count: number): void {
    this.#unnamed += count;
  }

  /** Those who came after so many. */
  *since(after: number): Generator<readonly [namespace: string, identity: string]> {
    for (let at = after; at < this.known; at++) {
      yield [this.#namespaces[at] ?? "", this.#identities[at] ?? ""];
    }
  }

  /** Where those who are distinguished are named. */
  get namespaces(): readonly string[] {
    return [...new Set(this.#namespaces)];
  }

  /** How many are distinguished. */
  get known(): number {
    return this.#identities.length;
  }

  get count(): number {
    return this.known + this.#unnamed;
  }

  /** The first of them, or those who came after so many, each made into what an event may hold. */
  named(hash: Hash, after = 0): readonly string[] {
    const end = Math.min(this.known, after + NAMED);
    const names: string[] = [];
    for (let at = after; at < end; at++) names.push(this.#nameOf(at, hash));
    return names;
  }

  /**
   * Makes names that an event will hold, for a thousand people at most: five thousand at once take ten milliseconds, in
   * which no other session is answered. `after`: so many are named in events already.
   */
  prepare(hash: Hash, after: number): void {
    const end = Math.min(this.known, after + NAMED, this.#prepared + PREPARED_AT_ONCE);
    while (this.#prepared < end) this.#nameOf(this.#prepared++, hash);
  }

  #nameOf(at: number, hash: Hash): string {
    this.#names[at] ??= hash(this.#namespaces[at] ?? "", this.#identities[at] ?? "");
    return this.#names[at];
  }
}

function note(seen: Map<string, Set<string>>, namespace: string, identity: string): void {
  const known = seen.get(namespace);
  if (known === undefined) seen.set(namespace, new Set([identity]));
  else known.add(identity);
}

/** What a portal has given out over its life. */
export interface Counts {
  rows: number;
  bytes: number;
}

/** Text that could not be parsed, or a statement that the text did not seem to have. */
export const UNKNOWN_STATEMENT: Statement = {
  command: "OTHER",
  kind: "other",
  reads: [],
  writes: [],
  masked: [],
  lookups: 0,
  limited: false,
  readsMore: true,
};

/** What a run was asked with, beside its statement. */
interface RunOptions {
  readonly pinned?: PinnedPeople | undefined;
  /** Lookups that its parameters make. */
  readonly lookups?: number;
  readonly repeat?: Repeat | undefined;
}

/** People by class. */
export type Reveals = Readonly<Record<string, number>>;

interface Recorded {
  readonly rows: number;
  readonly bytes: number;
  readonly known: number;
  readonly people: number;
  readonly reveals: Reveals;
}

/** One statement while it is answered. */
export class Run {
  readonly judged: Judged;
  readonly statement: Statement;
  /** The statement whose rows come: of a FETCH or an EXECUTE, the one behind it. */
  readonly shape: Statement;
  /** By which `shape` was judged. */
  scope: Scope;
  /** Shared by all that reads from the same portal. */
  readonly counts: Counts;
  /** `performance.now()` at the client's message. */
  readonly startedAt: number;
  /** Released by this answer. */
  rows = 0;
  bytes = 0;
  readonly people = new People();
  /** By class: the people whose values were shown because tokens were turned back. */
  readonly reveals = new Map<string, People>();
  /** How many rows its tag says that it wrote. */
  written: number | undefined;
  /** How many of its people have been held against the canaries. */
  looked = 0;
  /** What is in events already, while the result goes on. */
  recorded: Recorded = { rows: 0, bytes: 0, known: 0, people: 0, reveals: {} };
  /** The rest of the result is dropped, and the client gets this in its place. */
  cut: Refusal | undefined;
  /** Past the limit rows are dropped, and the result ends with a warning in place of an error. */
  truncates = false;
  truncated = false;
  /** Of COPY TO: how the data is laid out, from CopyOutResponse. */
  copy: { readonly binary: boolean; headerLine: boolean } | undefined;
  /** When the server was asked to stop it, by `performance.now()`. */
  cancelledAt: number | undefined;
  /** The server has said what its rows hold, and that has been looked at. */
  isDescribed = false;
  /** How long its rows have waited for the meter, in milliseconds. */
  waited = 0;

  /** For a watched role: the one row that it names by its key. */
  row: string | undefined;
  /** The person the account read for, if any. */
  person: string | undefined;
  /** Set where the answer is remembered, and may be the one that was expected. */
  readonly answer: Answer | undefined;
  /** Its answer has come to its end. */
  isConcluded = false;
  /** What is owed for another answer than the one that was expected has been asked of the meter. */
  isSettled = false;
  /** How many values it looks up. */
  readonly lookups: number;
  /** The people that its price covers: its answer reveals nothing about others. */
  readonly pinned: PinnedPeople | undefined;
  /** What is left of the units that were paid for its first rows before it ran. */
  prepaid: number;

  constructor(
    judged: Judged,
    statement: Statement,
    shape: Statement,
    counts: Counts,
    startedAt: number,
    { pinned, lookups = 0, repeat }: RunOptions = {},
  ) {
    this.judged = judged;
    this.person = judged.person;
    this.statement = statement;
    this.shape = shape;
    this.counts = counts;
    this.startedAt = startedAt;
    this.scope = judged.scope;
    this.pinned = pinned;
    this.lookups = shape.lookups + lookups;
    this.answer = repeat && new Answer(repeat);
    this.prepaid = shape.metering?.price?.prepaid ?? 0;
    this.people.addUnknown(this.prepaid / (shape.metering?.cost ?? 1) / PERSON);
    for (const [i, namespace] of pinned?.namespaces.entries() ?? [])
      this.people.add(namespace, pinned?.identities[i] ?? "");
  }

  revealed({ of, namespace, identity }: Pick<Reveal, "of" | "namespace" | "identity">): void {
    const people = this.reveals.get(of) ?? new People();
    this.reveals.set(of, people);
    if (identity === undefined) people.addUnknown(1);
    else people.add(namespace, identity);
  }

  /** How many people's values of each class were turned back, less those of before. */
  revealsSince(before: Reveals): Reveals {
    return Object.fromEntries(
      [...this.reveals].flatMap(([of, { count }]) => {
        const fresh = count - (before[of] ?? 0);
        return fresh > 0 ? [[of, fresh]] : [];
      }),
    );
  }

  /** Fields at the end of each row that the client did not ask for. */
  get extraFields(): number {
    return extraFields(this.shape);
  }

  /** The role's limits and budgets hold for what it returns. */
  get isLimited(): boolean {
    return isLimited(this.shape);
  }
}

/** Whether a role's limits and budgets hold for what the statement returns. */
export function isLimited({ limited, metering }: Statement): boolean {
  if (limited || metering === undefined) return limited;
  return metering.subjects.length > 0 || metering.unknown > 0 || metering.groups !== undefined;
}
