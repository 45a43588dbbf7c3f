import { type Charged, refusalOf } from "../../meter/budget-refusal.ts";
import type { Account, Grant } from "../../meter/meter.ts";
import type { Effect, Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { PinnedPeople } from "../statement/pinned.ts";
import { REPEATED, type Repeat, repeatOf } from "../statement/repeats.ts";
import { UNKNOWN_STATEMENT as NO_STATEMENT } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";

/** One execution of a statement, as its price must know it. */
export interface Execution {
  /** Whose rows it gives. */
  readonly shape: Statement;
  /** Of the statement that was sent: a FETCH has one of its own. */
  readonly effect: Effect | undefined;
  /** A portal that continues where it stopped makes no new lookup. */
  readonly goesOn: boolean;
  readonly pinned: PinnedPeople | undefined;
  /** It has run, and failed: what is charged is the error. */
  readonly isError?: true;
  /** Made by its parameters, beside those of the text. */
  readonly lookups?: number;
  /** What it asks, where the same may be asked again: see `repeats.ts`. */
  readonly question?: string | undefined;
}

/** What was paid for, and for which answer if one is expected. */
export interface Paid {
  readonly repeat: Repeat | undefined;
}

/** What all executions of one message cost together. */
interface Bill {
  readonly lookups: number;
  readonly units: number;
  readonly cost: number;
  readonly people: readonly string[];
  readonly namespaces: readonly string[];
}

/**
 * What statements cost before they run: exact lookups, and prices of executions. One that finds nobody, or fails, tells
 * something and gives no row to count.
 */
export class Tolls {
  readonly #exchange: Exchange;
  #isAsking = false;
  /** Of the message that waits. */
  #answer: { readonly grant: Grant; readonly of: Account } | undefined;
  #repeat: Repeat | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** The price of a message has been asked for, and is not known yet. */
  get isAsking(): boolean {
    return this.#isAsking;
  }

  /** "unsettled": the message must be handed in again after a `wake`. */
  charge(executions: readonly Execution[]): Refusal | Paid | "unsettled" {
    const { role } = this.#exchange.judging;
    if (role.budget.length === 0) return NOTHING_PAID;
    if (this.#isAsking) return "unsettled";
    const { account } = this.#exchange.counting;
    // A claim may have expired while the counters were asked: what one has paid is not another's.
    const grant = this.#answer?.of === account ? this.#answer.grant : this.#ask(executions);
    this.#answer = undefined;
    if (grant instanceof Promise) {
      this.#wait(grant, account);
      return "unsettled";
    }
    const repeat = this.#repeat;
    this.#repeat = undefined;
    if (grant.kind === "all") return { repeat };
    return refusalOf(grant, this.#exchange.counting.account, { charged: chargedBy(executions) });
  }

  /**
   * Charges an error, in addition to what was owed for a different answer; see `charge`. The number of rows before the
   * error is information of its own: rows of people already counted are free, and the statement chooses the row at
   * which it fails.
   */
  chargeError(owed: number, rows: number): Refusal | Paid | "unsettled" {
    const units = ERROR + owed + unitsOfNumber(rows);
    return this.charge([{ ...executionOf(units), isError: true }]);
  }

  /** Charges a Bind, because it plans its statement. */
  chargePlan(statement: Statement | undefined): Refusal | Paid | "unsettled" {
    const units = statement?.metering?.price?.planning;
    return units === undefined ? NOTHING_PAID : this.charge([executionOf(units)]);
  }

  #ask(executions: readonly Execution[]): Grant | Promise<Grant> {
    this.#repeat = this.#repeatOf(executions);
    const bill = billOf(executions, this.#repeat);
    return bill === undefined ? ALL : this.#pay(bill);
  }

  /** Only of one execution alone it is known which answer it brings. */
  #repeatOf([execution, ...more]: readonly Execution[]): Repeat | undefined {
    const price = execution?.shape.metering?.price?.execution ?? 0;
    if (execution?.question === undefined || more.length > 0 || price <= REPEATED) return undefined;
    return repeatOf(execution.question, price, this.#exchange.counting.meter);
  }

  #pay(bill: Bill): Grant | Promise<Grant> {
    const { meter } = this.#exchange.counting;
    const looked = meter.amount("lookups", bill.lookups);
    if (looked instanceof Promise)
      return looked.then((grant) => (grant.kind === "all" ? meter.price(bill) : grant));
    return looked.kind === "all" ? meter.price(bill) : looked;
  }

  #wait(grant: Promise<Grant>, account: Account): void {
    this.#isAsking = true;
    this.#exchange.counting.awaits(grant, (answer) => {
      this.#isAsking = false;
      this.#answer = { grant: answer, of: account };
      this.#exchange.wake();
    });
  }
}

function executionOf(units: number): Execution {
  const price = { execution: units, pinned: 0, bySize: false };
  const shape = { ...NO_STATEMENT, metering: { subjects: [], unknown: 0, price } };
  return { shape, effect: undefined, goesOn: false, pinned: undefined };
}

function chargedBy(executions: readonly Execution[]): Charged {
  if (executions.some(({ isError }) => isError)) return "error";
  return executions.some(({ shape: { kind } }) => kind === "write" || kind === "copyIn") ? "write" : "read";
}

const ALL: Grant = { kind: "all" };
const NOTHING_PAID: Paid = { repeat: undefined };

/** Undefined where nothing is to be paid. */
function billOf(executions: readonly Execution[], repeat: Repeat | undefined): Bill | undefined {
  let lookups = 0;
  let units = 0;
  let cost = 1;
  const people: string[] = [];
  const namespaces: string[] = [];
  for (const execution of executions) {
    const { shape, goesOn, pinned } = execution;
    if (!goesOn) lookups += shape.lookups + (execution.lookups ?? 0);
    const price = shape.metering?.price;
    if (price === undefined) continue;
    if (pinned !== undefined) {
      people.push(...pinned.identities);
      namespaces.push(...pinned.namespaces);
      cost = Math.max(cost, shape.metering?.cost ?? 1);
    }
    const whole = pinned === undefined ? price.execution : price.pinned;
    units += repeat?.expected === undefined ? whole + unitsOfFetch(execution) : REPEATED;
  }
  if (lookups === 0 && units === 0 && people.length === 0) return undefined;
  return { lookups, units, cost, people, namespaces };
}

/**
 * A cursor that seeks passes rows that are not counted, and the tag of MOVE reports their number. If all rows are about
 * people who are already paid for, neither reveals more.
 */
function unitsOfFetch({ effect, pinned }: Execution): number {
  if (effect?.kind !== "fetch" || pinned !== undefined) return 0;
  const { move, seeks, most = MANY } = effect;
  return (seeks ? unitsOfSeek(most) : 0) + (move ? unitsOfNumber(most) : 0);
}

/** What a number of any size reveals: smaller ones need fewer bits (an Elias gamma code has as many). */
export function unitsOfNumber(number: number): number {
  return Math.ceil(2 * Math.log2(number + 1)) * BIT;
}

const BIT = 8;
/** The further away a place is, the more places it could be. */
function unitsOfSeek(most: number): number {
  return most === MANY ? SEEK : Math.max(SEEK, Math.ceil(Math.log2(most + 1)) * BIT);
}

/** The same as for LIMIT after ORDER BY (sql/rules/prices.ts). */
const SEEK = 16 * BIT;
/** Rows that a cursor may pass where nothing says how many. */
const MANY = 2 ** 31;

/** An error says which of some hundred SQLSTATEs: eight bits beside the two of its execution. */
const ERROR = 8 * BIT;
