import { randomBytes } from "node:crypto";
import type { Statement } from "../sql/verdict.ts";
import { bindMessage, closeMessage, executeMessage, parseMessage } from "../wire/frontend-messages.ts";
import { nameKey } from "../wire/messages.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { Description } from "./described.ts";
import type { Exchange } from "./exchange.ts";
import { type Judged, Kept } from "./judged.ts";
import { pinnedIn } from "./pinned.ts";
import {
  isSource,
  type Lookup,
  nameOf,
  type Portal,
  type Prepared,
  parseAgain,
  portalOf,
  preparedBy,
  preparedBySql,
  type Source,
  sourceOf,
  textOf,
} from "./prepared.ts";

/** Our own question, under a name that no client has by chance. */
const PROBE = {
  name: `sluice ${randomBytes(8).toString("hex")}`,
  sql: Buffer.from("SHOW search_path"),
} as const;

/**
 * What the client's messages will mean to the server when it comes to them. "unsettled" and undefined: that
 * hangs on answers which are still to come; the server has been asked to give them.
 */
export class Foresight {
  readonly #exchange: Exchange;
  #hasBegun = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Asks for search_path where the server does not tell of it by itself: before the client's first message, as
   * later the question could stand in a transaction that is not the client's.
   */
  begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    if (!this.#exchange.judging.path.known) this.#probe();
  }

  /** Judges a text by the scope of now. */
  judge(text: Buffer): Judged | undefined {
    const { judging } = this.#exchange;
    if (!this.#knowsPath()) return undefined;
    const scope = judging.scope();
    if (scope === undefined) return undefined;
    const judged = judging.judge(text, scope);
    return isDoubtful(judged) && judging.doubt() ? undefined : judged;
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

  /** Whose rows a statement gives. */
  source(statement: Statement, counts = { rows: 0, bytes: 0 }): Source | "unsettled" | Refusal {
    return sourceOf(statement, counts, this.#lookup);
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
   * A statement that was prepared under another policy, catalog or search_path is judged anew before it runs;
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
    if (judged.verdict.kind === "refuse") return judged.verdict.refusal;
    if (!textOf(judged).equals(textOf(prepared.kept))) return judged;
    prepared.kept = new Kept(judged);
    prepared.description = new Description();
    prepared.statement = prepared.pick(judged.verdict.statements);
    return "same";
  }

  #prepareAgain(judged: Judged, key: string, parse: Buffer): Prepared {
    const { names, ledger } = this.#exchange;
    const { pipeline } = ledger;
    const at = performance.now();
    const fresh = preparedBy(judged, parse);
    this.#exchange.sendStep(closeMessage({ target: "statement", name: key }), {
      kind: "close",
      at,
      hidden: true,
      statement: names.statements.propose(key, undefined, pipeline),
      portal: undefined,
    });
    this.#exchange.sendStep(parseAgain(parse, judged), {
      kind: "parse",
      at,
      hidden: true,
      name: key,
      judged,
      change: names.statements.propose(key, fresh, pipeline),
    });
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
  outlived({ judged }: Portal): Refusal | undefined {
    const { judging } = this.#exchange;
    const now = judging.scope();
    const { scope } = judged;
    if (now === undefined || (now.policy === scope.policy && now.role === scope.role)) return undefined;
    // Its names meant what they meant when it was opened, whatever search_path is now.
    const { policy, role } = now;
    const anew = judging.judge(judged.text, this.#exchange.parts.scopes.of({ ...scope, policy, role }));
    if (anew.verdict.kind === "refuse") return anew.verdict.refusal;
    return textOf(anew).equals(textOf(judged)) ? undefined : OUTLIVED;
  }

  /** A name that is free may yet be given by a statement on its way: only silence is certain. */
  #certain<T extends object>(found: T | "absent" | "unsettled"): T | "absent" | "unsettled" {
    if (typeof found === "object" || (found === "absent" && this.#exchange.ledger.isSettled)) return found;
    return this.#wait();
  }

  /** Whether it is known where the server will look for names; asks it if need be. */
  #knowsPath(): boolean {
    const { judging, ledger } = this.#exchange;
    if (judging.path.known) return true;
    if (!this.isSettled()) return false;
    // In a failed block nothing is looked up, and the question would fail as well.
    if (ledger.transaction === "E" || ledger.intake === "skipping") return true;
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
    exchange.sendStep(parseMessage(PROBE.name, PROBE.sql), {
      kind: "parse",
      ...common,
      name: PROBE.name,
      ...none,
    });
    exchange.sendStep(bindMessage(PROBE.name, PROBE.name), {
      kind: "bind",
      ...common,
      statement: PROBE.name,
      ...none,
    });
    exchange.sendStep(executeMessage(PROBE.name, 0), { kind: "ownExecute", ...common });
    for (const target of ["portal", "statement"] as const) {
      const reply = { kind: "close", ...common, statement: undefined, portal: undefined } as const;
      exchange.sendStep(closeMessage({ target, name: PROBE.name }), reply);
    }
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

const OUTLIVED = refuse("42501", "this cursor was opened under another policy", { hint: "Open it anew." });

function outdated(name: string): Refusal {
  return refuse(
    "26000",
    `prepared statement "${name}" was made under another policy, catalog or search_path`,
    {
      hint: "Prepare it again.",
    },
  );
}
