import type { Scope } from "../../sql/scope.ts";
import { unnamedCode } from "../../sql/unnamed-code.ts";
import type { SessionTouch, Statement } from "../../sql/verdict.ts";
import { countingScope, type Doubt, doubted, unreadable } from "../../sql/watched-text.ts";
import { typesDeclaredIn } from "../../wire/frontend-messages.ts";
import type { Surroundings } from "../decide/certainty.ts";
import type { Naming, Protocol } from "../decide/naming.ts";
import { type ProbeMessages, probeMessages } from "../decide/probe.ts";
import { isReadable } from "../decide/readable.ts";
import { isForbidden, touchesData } from "../decide/touching.ts";
import { settingsOf } from "../person/person.ts";
import type { Judged, Kept } from "../statement/decision.ts";
import type { Prepared } from "../statement/prepared.ts";
import type { Reader } from "./charged-readers.ts";
import { hasLongRows } from "./long-rows.ts";
import { plainly, type WatchedState } from "./watched-state.ts";

/** What texts show, and whether the server has said all that this depends on; asks it otherwise. */
export class Judgement {
  readonly #state: WatchedState;
  readonly #naming: Naming;
  #messages: ProbeMessages | undefined;
  #asked: readonly string[] = [];
  /** By what the server had said each statement was judged. */
  readonly #judged = new WeakMap<Prepared, Surroundings>();
  /** Of what types each statement's parameters are declared to be. */
  readonly #declared = new WeakMap<Prepared, readonly number[]>();
  #ofPerson: { readonly person: string; readonly base: Scope; readonly own: Scope } | undefined;
  /** The catalog is being read again. */
  #looking: Promise<void> | undefined;

  constructor(state: WatchedState, naming: Naming) {
    this.#state = state;
    this.#naming = naming;
  }

  /** Undefined: an answer of the server, or of the catalog, is waited for. */
  of(text: Buffer, by: Protocol, inForce: Scope): Judged | undefined {
    const { judging } = this.#state;
    const scope = judging.observes ? countingScope(inForce) : inForce;
    if (!isReadable(text, this.#state.established.parameters))
      return { text, scope, verdict: unreadable(text, scope) };
    const found = judging.judge(text, scope);
    if (found === undefined) return undefined;
    const { statements } = found.verdict;
    // A verdict of refusal is for a text that is no UTF-8.
    const isText = found.verdict.kind !== "refuse";
    if (isText && (!this.isCertain(statements, by) || !this.#naming.isKnown(found, by))) return undefined;
    const reader = this.#state.readers.of(isText ? this.#naming.personOf(found, by) : undefined);
    const strict = judging.observes ? judging.judge(text, this.#strictScope(inForce, reader)) : undefined;
    if (judging.observes && strict === undefined) return undefined;
    const would = strict && { verdict: strict.verdict, role: reader.role.name };
    if (!isText) return { text, scope, verdict: unreadable(text, scope), would };
    const judged = { ...found, would };
    const own = this.#scopeOf(scope, reader);
    if (own === scope) return this.#settled(judged);
    const personal = judging.judge(text, own);
    return personal && this.#settled({ ...personal, would });
  }

  /** Whether nothing has changed since the statement was judged last: most are run over and over. */
  stillHolds(prepared: Prepared): boolean {
    const { certainty, judging, defined } = this.#state;
    const { known } = certainty;
    const scope = judging.scope();
    const isShared = scope !== undefined && scope.user === undefined && !judging.observes && !defined;
    if (!isShared || known === undefined || prepared.kept.scope !== scope) return false;
    if (hasLongRows(prepared.kept)) return false;
    return this.#judged.get(prepared) === known;
  }

  /** It has been judged by all that is known now. */
  holds(prepared: Prepared): void {
    const { known } = this.#state.certainty;
    if (known !== undefined) this.#judged.set(prepared, known);
  }

  /** Whether a parameter is declared to be of a type whose values are read by somebody's code. */
  readsByCode(prepared: Prepared): boolean {
    let declared = this.#declared.get(prepared);
    if (declared === undefined) {
      declared = prepared.parse === undefined ? NO_TYPES : typesDeclaredIn(prepared.parse);
      this.#declared.set(prepared, declared);
    }
    if (declared.length === 0) return false;
    const scope = this.#state.judging.scope();
    return scope === undefined || declared.some((oid) => oid !== 0 && unnamedCode(scope.catalog).makes(oid));
  }

  /** By what the policy would judge, if it did more than observe: perhaps by the role of the person. */
  #strictScope(inForce: Scope, { person, role }: Reader): Scope {
    if (role === inForce.role) return inForce;
    const { parts, established } = this.#state;
    return parts.scopes.of({ ...inForce, role, user: person ?? established.user });
  }

  /** Conditions of the policy may speak of the reader. */
  #scopeOf(scope: Scope, { person }: Reader): Scope {
    if (person === undefined || scope.user === undefined) return scope;
    if (this.#ofPerson?.person !== person || this.#ofPerson.base !== scope) {
      const own = this.#state.parts.scopes.of({ ...scope, user: person });
      this.#ofPerson = { person, base: scope, own };
    }
    return this.#ofPerson.own;
  }

  #settled(judged: Judged): Judged {
    const { statements } = judged.verdict;
    const settled = hasLongRows(judged) || this.#mustStay(statements) ? plainly(judged) : judged;
    const doubts = this.#doubts(statements);
    return doubts === undefined ? settled : { ...settled, verdict: doubted(settled.verdict, doubts) };
  }

  /** What was prepared long ago, by the policy of now. */
  remembered({ text, verdict, would }: Kept): Judged | undefined {
    const scope = this.#state.judging.scope();
    return scope && { text, verdict, scope, would };
  }

  /** Whether all is known that decides whose rows these are and who reads them. */
  isCertain(statements: readonly Statement[], by: Protocol): boolean {
    const { certainty, ledger } = this.#state;
    // Before the next transaction, in which it could not be done.
    if (this.#state.remeant && ledger.isIdle) this.#looksAgain();
    const isRemeant = this.#state.remeant || this.#looking !== undefined;
    const isHanging = statements.some((each) => mayHang(each) || (isRemeant && namesTables(each)));
    if (!isHanging && !this.#concernsReader(statements)) return true;
    if (isHanging && (this.#looking !== undefined || (this.#state.defined && !this.#looksAgain())))
      return false;
    if (certainty.known !== undefined) return true;
    if (!ledger.isSettled) {
      this.#state.flush();
      return false;
    }
    // In a failed block nothing runs, and the question would fail as well.
    if (ledger.transaction === "E" && ledger.intake === "ready") return true;
    // A simple query ends what an open pipeline has begun, which a question in between would make a transaction.
    if (by === "simple" && ledger.intake === "pipeline") return true;
    if (!this.#state.leg.isReady()) return false;
    this.#probe();
    return false;
  }

  /**
   * Who is named goes on record, and may be suspended. Some statements do not run in a pipeline (VACUUM, CREATE INDEX CONCURRENTLY), which a
   * question right before them would begin: they run for whoever is known.
   */
  #concernsReader(statements: readonly Statement[]): boolean {
    if (this.#state.judging.account.peopleBehind === undefined) return false;
    const { intake, transaction, isBegunByClient } = this.#state.ledger;
    const isFirst = intake === "pipeline" && transaction === "I" && !isBegunByClient;
    const mayStandAlone = (each: Statement) => each.kind === "definition" || !touchesData(each);
    return statements.some((each) => isForbidden(each) && !(isFirst && mayStandAlone(each)));
  }

  /** Whether a column must not be added: a name may mean a temporary relation, or what the catalog does not know yet. */
  #mustStay(statements: readonly Statement[]): boolean {
    const { certainty, defined } = this.#state;
    const { known } = certainty;
    if (known === undefined || defined) return true;
    const earlier = statements.slice(0, -1);
    if (earlier.some(({ touch }) => touch?.session || touch?.defines)) return true;
    return statements.some(({ touch }) => touch?.bareNames.some((name) => known.temporary.has(name)));
  }

  /** For each statement, whether its names may mean others than the catalog has. Undefined: none of them. */
  #doubts(statements: readonly Statement[]): readonly Doubt[] | undefined {
    const { remeant, certainty } = this.#state;
    const { temporary = NO_NAMES, temporaryViews = NO_NAMES } = certainty.known ?? {};
    const { madeTables } = this.#state;
    const isPlain = !remeant && temporary.size === 0 && statements.length <= 1;
    // Most statements write to no table that the catalog does not have.
    if (isPlain && !statements.some(({ touch }) => touch?.unsure?.unknown.length)) return undefined;
    const made = new Set([
      ...madeTables,
      ...temporary,
      ...statements.flatMap(({ touch }) => touch?.makes ?? []),
    ]);
    const isUnknown = (touch: SessionTouch | undefined) =>
      touch?.unsure?.unknown.some((name) => !made.has(name)) === true;
    if (isPlain && !statements.some(({ touch }) => isUnknown(touch))) return undefined;
    let after = remeant;
    let hasMoved = false;
    let isBack = false;
    return statements.map(({ touch, effect }) => {
      const isIn = (names: ReadonlySet<string>) => touch?.bareNames.some((name) => names.has(name)) === true;
      const isMoved = (hasMoved && touch?.isAmbiguous === true) || (isBack && touch?.bareNames.length !== 0);
      const isAnother = after || isMoved || isUnknown(touch);
      const doubt: Doubt = isAnother || isIn(temporaryViews) ? "all" : isIn(temporary) ? "rows" : "none";
      after ||= touch?.remeans === true;
      hasMoved ||= touch?.moves === true;
      const goesBack = effect?.kind === "transaction" && (effect.ends || touch?.session === true);
      isBack ||= goesBack && (hasMoved || this.#state.hasMoved);
      return doubt;
    });
  }

  /** Once no transaction is open the catalog is read again. False: that is under way. */
  #looksAgain(): boolean {
    const { ledger, parts } = this.#state;
    if (!ledger.isIdle) return true;
    const look = parts.catalog.lookAgain();
    if (look === undefined) return true;
    this.#state.defined = false;
    this.#state.remeant = false;
    this.#state.madeTables.clear();
    this.#looking = look;
    void look.then(() => {
      this.#looking = undefined;
      this.#state.wake();
    });
    return false;
  }

  /** In the extended protocol, under names of its own: a simple query would end the client's unnamed statement. */
  #probe(): void {
    const { ledger } = this.#state;
    const at = performance.now();
    const isInPipeline = ledger.intake === "pipeline";
    const settings = settingsOf(this.#state.judging.account.peopleBehind ?? []);
    if (this.#messages === undefined || !isSame(this.#asked, settings)) {
      this.#asked = settings;
      this.#messages = probeMessages(settings);
    }
    const { parse, bind, execute, closePortal, closeStatement } = this.#messages;
    const hidden = { at, hidden: true, ...(isInPipeline ? {} : ({ quiet: true } as const)) } as const;
    this.#state.send(parse, { kind: "parse", ...hidden, judged: undefined, change: undefined });
    this.#state.send(bind, { kind: "bind", ...hidden, judged: undefined, change: undefined });
    this.#state.send(execute, { kind: "ownExecute", ...hidden, settings });
    for (const message of [closePortal, closeStatement])
      this.#state.send(message, { kind: "close", ...hidden, statement: undefined, portal: undefined });
    if (isInPipeline) this.#state.flush();
    else this.#state.sync("hidden");
  }
}

const NO_TYPES: readonly number[] = [];
const NO_NAMES: ReadonlySet<string> = new Set();

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}

function namesTables({ reads, writes }: Statement): boolean {
  return reads.length + writes.length > 0;
}

/** A name without a schema may mean a table of people once search_path has moved. */
function mayHang(statement: Statement): boolean {
  const names = statement.touch?.bareNames.length ?? 0;
  const isStored = statement.touch?.stores === true;
  return showsPeople(statement) || (names > 0 && (statement.kind !== "definition" || isStored));
}

function showsPeople({ metering, effect }: Statement): boolean {
  if (metering !== undefined || effect?.kind === "fetch" || effect?.kind === "execute") return true;
  return (effect?.kind === "declare" || effect?.kind === "prepare") && showsPeople(effect.inner);
}
