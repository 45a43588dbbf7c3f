import type { PersonSource } from "../../policy/policy.ts";
import { commentsOf } from "../../sql/comments.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import { countingScope, UNREAD } from "../../sql/watched.ts";
import type { Judged, Kept } from "../judged.ts";
import { personBehind, settingsOf } from "../person/person.ts";
import { type ProbeMessages, probeMessages } from "./probe.ts";
import type { Reader } from "./readers.ts";
import { plainly, type WatchedState } from "./state.ts";

/** What texts show, and whether the server has said all that this hangs on; asks it otherwise. */
export class Judgement {
  readonly #state: WatchedState;
  #messages: ProbeMessages | undefined;
  #asked: readonly string[] = [];
  #ofPerson: { readonly person: string; readonly base: Scope; readonly own: Scope } | undefined;
  /** The catalog is being read anew. */
  #looking: Promise<void> | undefined;

  constructor(state: WatchedState) {
    this.#state = state;
  }

  /** Undefined: an answer of the server, or of the catalog, is waited for. */
  of(text: Buffer): Judged | undefined {
    const { judging } = this.#state;
    const inForce = judging.scope();
    if (inForce === undefined) return undefined;
    const scope = judging.observes ? countingScope(inForce) : inForce;
    if (!this.#isReadable(text)) return { text, scope, verdict: UNREAD };
    const would = judging.observes ? judging.judge(text, inForce).verdict : undefined;
    const judged = { ...judging.judge(text, scope), would };
    // A verdict of refusal is for a text that is no UTF-8.
    if (judged.verdict.kind === "refuse") return { text, scope, verdict: UNREAD, would };
    const { statements } = judged.verdict;
    if (!this.isCertain(statements)) return undefined;
    const own = this.#scopeOf(scope, this.readerOf(judged));
    if (own !== scope) return this.#settled({ ...judging.judge(text, own), would });
    return this.#settled(judged);
  }

  /** By whom the text is read, as far as the server has said. */
  readerOf({ text, verdict }: Judged): Reader {
    const { readers, judging, certainty } = this.#state;
    const { peopleBehind } = judging.role;
    const { known } = certainty;
    if (peopleBehind === undefined || known === undefined) return readers.of(undefined);
    // Who is named may change within the text.
    if (verdict.statements.slice(0, -1).some(mayRename)) return readers.of(undefined);
    const comments = hasComment(peopleBehind) ? commentsOf(text) : NO_COMMENTS;
    return readers.of(personBehind(peopleBehind, { settings: known.settings, comments }));
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
    return this.#mustStay(statements) ? plainly(judged) : judged;
  }

  /** What was prepared long ago, by the policy of now. */
  remembered({ text, verdict, would }: Kept): Judged | undefined {
    const scope = this.#state.judging.scope();
    return scope && { text, verdict, scope, would };
  }

  /** Whether all is known that decides whose rows these are and who reads them. */
  isCertain(statements: readonly Statement[]): boolean {
    if (!statements.some(mayHang)) return true;
    const { certainty, ledger } = this.#state;
    if (this.#looking !== undefined || (this.#state.defined && !this.#looksAgain())) return false;
    if (certainty.known !== undefined) return true;
    if (!ledger.isSettled) {
      this.#state.flush();
      return false;
    }
    // In a failed block nothing runs, and the question would fail as well.
    if (ledger.transaction === "E" && ledger.intake === "ready") return true;
    this.#probe();
    return false;
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

  /** The parser reads UTF-8 and standard strings; in plain ASCII all of Postgres's encodings agree. */
  #isReadable(text: Buffer): boolean {
    const { clientEncoding, standardStrings } = this.#state.established.parameters;
    if (standardStrings === "off") return false;
    return clientEncoding === undefined || clientEncoding === "UTF8" || text.every((byte) => byte < 0x80);
  }

  /** Once no transaction is open the catalog is read anew. False: that is under way. */
  #looksAgain(): boolean {
    const { ledger, parts } = this.#state;
    if (!ledger.isIdle) return true;
    const look = parts.catalog.lookAgain();
    if (look === undefined) return true;
    this.#state.defined = false;
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
    const settings = settingsOf(this.#state.judging.role.peopleBehind ?? []);
    if (this.#messages === undefined || !isSame(this.#asked, settings)) {
      this.#asked = settings;
      this.#messages = probeMessages(settings);
    }
    const { parse, bind, execute, closePortal, closeStatement } = this.#messages;
    const hidden = { at, hidden: true } as const;
    this.#state.send(parse, { kind: "parse", ...hidden, judged: undefined, change: undefined });
    this.#state.send(bind, { kind: "bind", ...hidden, judged: undefined, change: undefined });
    this.#state.send(execute, { kind: "ownExecute", ...hidden, settings });
    for (const message of [closePortal, closeStatement])
      this.#state.send(message, { kind: "close", ...hidden, statement: undefined, portal: undefined });
    if (isInPipeline) this.#state.flush();
    else this.#state.sync("hidden");
  }
}

const NO_COMMENTS: readonly string[] = [];

function hasComment(sources: readonly PersonSource[]): boolean {
  return sources.some(({ kind }) => kind === "comment");
}

function mayRename({ touch, effect }: Statement): boolean {
  return touch?.session === true || (effect?.kind === "transaction" && effect.ends);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}

/** A name without a schema may mean a table of people once search_path has moved. */
function mayHang(statement: Statement): boolean {
  const names = statement.touch?.bareNames.length ?? 0;
  return showsPeople(statement) || (names > 0 && statement.kind !== "definition");
}

function showsPeople({ metering, effect }: Statement): boolean {
  if (metering !== undefined || effect?.kind === "fetch" || effect?.kind === "execute") return true;
  return (effect?.kind === "declare" || effect?.kind === "prepare") && showsPeople(effect.inner);
}
