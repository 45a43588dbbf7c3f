import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import { nameKey } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Protocol } from "../decide/naming.ts";
import { PROBE, pathProbe } from "../decide/probe.ts";
import { type Judged, Kept } from "../statement/decision.ts";
import { Description } from "../statement/described.ts";
import { pinnedIn } from "../statement/pinned.ts";
import {
  isSource,
  judgeAnew,
  type Lookup,
  nameOf,
  type Portal,
  type Prepared,
  portalOf,
  preparedBy,
  preparedBySql,
  type Source,
  sourceOf,
  textOf,
} from "../statement/prepared.ts";
import { preparingAgain, TRIAL } from "../statement/preparing-again.ts";
import type { Acting } from "./acting.ts";
import type { Exchange } from "./exchange.ts";

const PATH_PROBE = pathProbe();

/**
 * What the client's messages will mean to the server when it comes to them. "unsettled" and undefined: that
 * depends on answers that are still to come; the server has been asked for them.
 */
export class Foresight {
  readonly #exchange: Exchange;
  #hasBegun = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Asks for search_path where the server does not tell of it by itself: before the client's first message, as
   * later the question could fall into a transaction that is not the client's. False: it cannot be asked yet.
   */
  begin(): boolean {
    if (this.#hasBegun) return true;
    const isKnown = this.#exchange.judging.path.known;
    if (!isKnown && !this.#exchange.leg.isReady()) return false;
    this.#hasBegun = true;
    if (!isKnown) this.#probe();
    return true;
  }

  /** What a text is judged by when the server comes to it. */
  scopeFor(text: Buffer, by: Protocol): Scope | undefined {
    if (!this.#knowsPath() || !this.standsFor(text, by)) return undefined;
    return this.#exchange.judging.scope();
  }

  /** Undefined while the text is being analysed, or the catalog looked at again. */
  decide(text: Buffer, scope: Scope): Judged | undefined {
    const { judging, acting, fencing } = this.#exchange;
    const judged = judging.judge(text, scope);
    if (judged === undefined) return undefined;
    if (isDoubtful(judged) && judging.doubt()) return undefined;
    const refusal = acting?.refusal ?? fencing.refusal(judged);
    return acting === undefined && refusal === undefined ? judged : forPerson(judged, acting, refusal);
  }

  /**
   * Makes sure that the text is judged for the person it names when the server comes to it. True at once where no
   * people are behind the session. False: the server, or the verifier of claims, has yet to answer.
   */
  standsFor(text: Buffer, by: Protocol): boolean {
    const { acting, fencing, judging, ledger } = this.#exchange;
    if (acting === undefined) return true;
    if (!acting.take(text, by)) return false;
    if (acting.isAside) return true;
    if (acting.certainty.known === undefined && !this.#knowsNobody(by)) {
      if (this.isSettled() && this.#exchange.leg.isReady()) this.#probe();
      return false;
    }
    if (!acting.isKnown) return false;
    const { person } = acting;
    // A running statement is counted, cut off and reported by the role of the person it was begun for.
    const sight = acting.sightBy(fencing);
    if (judging.actsFor(person, sight)) return true;
    if (!ledger.isSettled) return this.isSettled();
    judging.actFor(person, sight);
    return true;
  }

  /** The server cannot be asked now: in a failed block, or where the question would make an open pipeline a transaction. */
  #knowsNobody(by: Protocol): boolean {
    const { ledger } = this.#exchange;
    if (!ledger.isSettled) return false;
    return (
      ledger.transaction === "E" ||
      ledger.intake === "skipping" ||
      (by === "simple" && ledger.intake === "pipeline")
    );
  }

  /** Whether the policy and the role of now are known. */
  isReady(): boolean {
    return this.#exchange.judging.scope() !== undefined;
  }

  /** Whether all that was sent has been answered. */
  isSettled(): boolean {
    if (this.#exchange.ledger.isSettled) return true;
    this.#wait();
    return false;
  }

  prepared(key: string): Prepared | "absent" | "unsettled" {
    const { names, ledger } = this.#exchange;
    return this.#certain(names.statements.find(key, ledger.pipeline));
  }

  portal(key: string): Portal | "absent" | "unsettled" {
    const { names, ledger } = this.#exchange;
    return this.#certain(names.portals.find(key, ledger.pipeline));
  }

  /** Whose rows a statement gives. `running`: the portal that is about to run it. */
  source(
    statement: Statement,
    counts = { rows: 0, bytes: 0 },
    running?: string,
  ): Source | "unsettled" | Refusal {
    return sourceOf(statement, counts, this.#lookup, running);
  }

  /** Whose rows each statement of a text gives; what earlier ones name is known to later ones. */
  sources(judged: Judged): readonly Source[] | "unsettled" | Refusal {
    const prepared = new Map<string, Prepared>();
    const portals = new Map<string, Portal>();
    const lookup: Lookup = {
      statement: (key) => prepared.get(key) ?? this.#lookup.statement(key),
      portal: (key) => portals.get(key) ?? this.#lookup.portal(key),
    };
    const sources: Source[] = [];
    for (const [index, statement] of judged.verdict.statements.entries()) {
      const source = sourceOf(statement, { rows: 0, bytes: 0 }, lookup);
      if (!isSource(source)) return source;
      sources.push(source);
      const { effect } = statement;
      if (effect?.kind === "prepare") prepared.set(nameKey(effect.name), preparedBySql(judged, index));
      if (effect?.kind === "declare") {
        const pinned = pinnedIn(judged, effect.inner);
        portals.set(nameKey(effect.name), portalOf(judged, effect.inner, { pinned }));
      }
    }
    return sources;
  }

  /**
   * A statement that was prepared under another policy, catalog or search_path is judged again before it runs;
   * if its text must be another now, the server gets that first.
   */
  renew(prepared: Prepared, key: string): Prepared | "unsettled" | Refusal {
    const change = this.#rejudge(prepared);
    if (change === "same") return prepared;
    if (change === "unsettled" || "sqlstate" in change) return change;
    if (prepared.parse === undefined) return outdated(nameOf(key));
    if (!this.isSettled()) return "unsettled";
    return this.#prepareAgain(change, key, prepared.parse);
  }

  #rejudge(prepared: Prepared): "same" | "unsettled" | Refusal | Judged {
    const { judging } = this.#exchange;
    if (!this.#knowsPath()) return "unsettled";
    const scope = judging.scope();
    if (scope === undefined) return "unsettled";
    if (prepared.kept.scope === scope) return "same";
    const judged = judging.judge(prepared.kept.text, scope);
    if (judged === undefined) return "unsettled";
    if (judged.verdict.kind === "refuse") return judged.verdict.refusal;
    if (!textOf(judged).equals(textOf(prepared.kept))) return judged;
    prepared.kept = new Kept(judged);
    prepared.description = new Description();
    prepared.statement = prepared.pick(judged.verdict.statements);
    return "same";
  }

  #prepareAgain(judged: Judged, key: string, own: Buffer): Prepared {
    const { names, ledger } = this.#exchange;
    const { pipeline } = ledger;
    const fresh = preparedBy(judged, own);
    const { trial, close, parse, closeTrial } = preparingAgain(key, own, judged);
    const hidden = { at: performance.now(), hidden: true } as const;
    const nothing = { portal: undefined, statement: undefined } as const;
    this.#exchange.sendStep(trial, { kind: "parse", ...hidden, name: TRIAL, judged, change: undefined });
    this.#exchange.sendStep(close, {
      ...{ kind: "close", ...hidden, portal: undefined },
      statement: names.statements.propose(key, undefined, pipeline),
    });
    this.#exchange.sendStep(parse, {
      ...{ kind: "parse", ...hidden, name: key, judged },
      change: names.statements.propose(key, fresh, pipeline),
    });
    this.#exchange.sendStep(closeTrial, { kind: "close", ...hidden, ...nothing });
    return fresh;
  }

  /** For names in SQL. What is being run may give them to others: DEALLOCATE, PREPARE, CLOSE, DECLARE, COMMIT. */
  readonly #lookup: Lookup = {
    statement: (key) => {
      if (this.#exchange.ledger.isRunning) return this.#wait();
      const prepared = this.prepared(key);
      if (prepared === "absent" || prepared === "unsettled") return prepared;
      const change = this.#rejudge(prepared);
      if (change === "same") return prepared;
      // Only a Bind can have it prepared again on the way.
      return change === "unsettled" || "sqlstate" in change ? change : outdated(nameOf(key));
    },
    portal: (key) => {
      if (this.#exchange.ledger.isRunning) return this.#wait();
      const portal = this.portal(key);
      if (typeof portal !== "object") return portal;
      return this.outlived(portal) ?? portal;
    },
  };

  /**
   * Why no more rows may come of a portal or cursor: it was opened under another policy, and what it gives is not
   * what it would give now.
   */
  outlived(portal: Portal): Refusal | "unsettled" | undefined {
    const { judging, acting } = this.#exchange;
    const { judged } = portal;
    if (acting?.isAside === false && judged.person !== judging.person) return OF_ANOTHER;
    const now = judging.scope();
    const { scope } = judged;
    if (now === undefined || (now.policy === scope.policy && now.role === scope.role)) return undefined;
    // Its names meant what they meant when it was opened, whatever search_path is now.
    const { policy, role } = now;
    const anew = judging.judge(judged.text, this.#exchange.parts.scopes.of({ ...scope, policy, role }));
    if (anew === undefined) return "unsettled";
    if (anew.verdict.kind === "refuse") return anew.verdict.refusal;
    if (!textOf(anew).equals(textOf(judged))) return OUTLIVED;
    judgeAnew(portal, anew);
    return undefined;
  }

  /** A name that is free may yet be given by a statement on its way: only silence is certain. */
  #certain<T extends object>(found: T | "absent" | "unsettled"): T | "absent" | "unsettled" {
    if (typeof found === "object" || (found === "absent" && this.#exchange.ledger.isSettled)) return found;
    return this.#wait();
  }

  /** Whether it is known where the server will look for names; asks it if need be. */
  #knowsPath(): boolean {
    const { judging, ledger } = this.#exchange;
    const mayEnd = judging.path.hasMoved && ledger.isEnding;
    if (judging.path.known && !mayEnd) return true;
    if (!this.isSettled()) return false;
    // In a failed block nothing is looked up, and the question would fail as well.
    if (ledger.transaction === "E" || ledger.intake === "skipping") return true;
    if (!this.#exchange.leg.isReady()) return false;
    this.#probe();
    return false;
  }

  /** In the extended protocol, under names of its own: a simple query would end the client's unnamed statement. */
  #probe(): void {
    const exchange = this.#exchange;
    const inPipeline = exchange.ledger.intake === "pipeline";
    // Inside a pipeline a failure makes the server skip what follows, and the client must hear why.
    const common = { at: performance.now(), hidden: true, ...(inPipeline ? {} : { quiet: true }) } as const;
    const none = { judged: undefined, change: undefined };
    const { parse, bind, execute, closePortal, closeStatement } = exchange.acting?.probe ?? PATH_PROBE;
    exchange.sendStep(parse, { kind: "parse", ...common, name: PROBE, ...none });
    exchange.sendStep(bind, { kind: "bind", ...common, statement: PROBE, ...none });
    exchange.sendStep(execute, { kind: "ownExecute", ...common });
    for (const message of [closePortal, closeStatement])
      exchange.sendStep(message, { kind: "close", ...common, statement: undefined, portal: undefined });
    if (inPipeline) exchange.flush();
    else exchange.sendSync("hidden");
  }

  #wait(): "unsettled" {
    this.#exchange.flush();
    return "unsettled";
  }
}

/** What does not exist may have been made since the last look at the catalog. */
function isDoubtful({ verdict }: Judged): boolean {
  return verdict.kind === "refuse"
    ? DOES_NOT_EXIST.has(verdict.refusal.sqlstate)
    : verdict.statements.some(({ namesUnknown }) => namesUnknown === true);
}

/** Of a relation, a column, a function. */
const DOES_NOT_EXIST: ReadonlySet<string> = new Set(["42P01", "42703", "42883"]);

const OF_ANOTHER = refuse("42501", "this cursor was opened for another person", { hint: "Open it again." });

const OUTLIVED = refuse("42501", "this cursor was opened under another policy", { hint: "Open it again." });

/** `refusal`: nothing of it may be run for them. */
function forPerson(judged: Judged, acting: Acting | undefined, refusal: Refusal | undefined): Judged {
  const own = { ...judged, ...acting?.onRecord };
  if (refusal === undefined) return own;
  const { statements } = judged.verdict;
  return { ...own, verdict: { kind: "refuse", statements, refusal } };
}

function outdated(name: string): Refusal {
  return refuse(
    "26000",
    `prepared statement "${name}" was made under another policy, catalog or search_path`,
    {
      hint: "Prepare it again.",
    },
  );
}
