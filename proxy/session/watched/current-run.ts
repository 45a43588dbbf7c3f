import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import { ofUnknownRows } from "../../sql/watched-text.ts";
import { SessionEnd } from "../context/parts.ts";
import { COMMITTING, commitIn } from "../judged/committing.ts";
import { hasSource } from "../statement/described.ts";
import { asAnswered, isSource, sourceOf } from "../statement/prepared.ts";
import { Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import type { Reader } from "./charged-readers.ts";
import { rowInText, rowOf } from "./rows-before.ts";
import type { ShownRows } from "./shown-rows.ts";
import { isRunRequest, type RunRequest, type WatchedRequest } from "./watched-requests.ts";
import { type WatchedState, withCopiesOf } from "./watched-state.ts";

/** The statement that is being answered, from its first row on. */
export class CurrentRun {
  readonly #state: WatchedState;
  readonly #rows: ShownRows;
  #run: Run | undefined;
  #isOver = false;
  /** What ran last, and for whom: a Sync commits it. */
  #last: { readonly scope: Scope; readonly reader: Reader } | undefined;

  constructor(state: WatchedState, rows: ShownRows) {
    this.#state = state;
    this.#rows = rows;
  }

  /** Undefined before its first row. */
  get known(): Run | undefined {
    return this.#run;
  }

  /** Undefined where it is not known what runs. */
  get(): Run | undefined {
    const { head } = this.#state.ledger;
    if (!isRunRequest(head)) return undefined;
    if (head.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    this.#run ??= this.#runOf(head);
    return this.#run;
  }

  /** The statement at an error, also one that has had no row. */
  failing(head: RunRequest): Run | undefined {
    this.#run ??= this.#runOf(head);
    this.#isOver = true;
    return this.#run;
  }

  /** A step that fails and is no statement of its own: a Bind, whose planning runs functions, or the commit at a Sync. */
  failingStep(head: WatchedRequest | undefined): Run | undefined {
    this.#run ??= this.#stepOf(head);
    this.#isOver = true;
    return this.#run;
  }

  #stepOf(head: WatchedRequest | undefined): Run | undefined {
    if (head === undefined || head.refusal !== undefined) return undefined;
    const reader = this.#last?.reader ?? this.#state.readers.of(undefined);
    if (head.kind === "bind" && head.judged !== undefined) {
      const [statement = UNKNOWN_STATEMENT] = head.judged.verdict.statements;
      return this.#begun(new Run(head.judged, statement, statement, NO_ROWS, head.at), reader);
    }
    if (head.kind !== "sync" || head.hidden === true || this.#last === undefined) return undefined;
    const judged = commitIn(this.#last.scope);
    return this.#begun(new Run(judged, COMMITTING, COMMITTING, NO_ROWS, head.at), reader);
  }

  /** The server has ended it, and that has not left yet: there is nothing to cancel. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** It has come to its end, and what it has stored is being charged. */
  ending(): void {
    this.#isOver = true;
  }

  /** Its answer is over. */
  end(): void {
    this.#run = undefined;
    this.#isOver = false;
  }

  /** Whose rows a statement gives, by what the server has answered. */
  shapeOf(statement: Statement): Statement {
    const lookup = asAnswered(this.#state.names);
    if (!hasSource(statement)) {
      const own = withCopiesOf(statement, lookup);
      return own === "unsettled" ? statement : own;
    }
    const source = sourceOf(statement, NO_ROWS, lookup);
    return isSource(source) ? source.shape : statement;
  }

  /** A cursor may have been opened for somebody else: the policy's reasons to read were theirs. */
  #shapeFor({ person }: Reader, statement: Statement, own: Scope): Statement {
    const { established, names } = this.#state;
    const shape = this.shapeOf(statement);
    if (shape.metering?.purpose === undefined) return shape;
    const source = sourceOf(statement, NO_ROWS, asAnswered(names));
    const { user } = (isSource(source) ? source.scope : undefined) ?? own;
    return user === undefined || user === (person ?? established.user) ? shape : ofAnotherReader(shape);
  }

  #runOf(request: RunRequest): Run | undefined {
    const { ledger, names } = this.#state;
    if (request.kind === "functionCall") {
      const { judged, reader } = request.called;
      const [call = UNKNOWN_STATEMENT] = judged.verdict.statements;
      return this.#begun(new Run(judged, call, call, { rows: 0, bytes: 0 }, request.at), reader);
    }
    const portal = request.kind === "execute" ? names.portals.get(request.portal) : undefined;
    const judged = request.kind === "query" ? request.judged : (portal?.judged ?? request.judged);
    if (judged === undefined) return undefined;
    if (request.kind === "query" && ledger.statementIndex === 0) this.#dropUnnamed();
    const index = request.kind === "query" ? ledger.statementIndex : 0;
    const own = portal === undefined ? judged.verdict.statements[index] : portal.statement;
    const row = portal === undefined ? own && rowInText(judged, own) : rowOf(portal.pinned);
    const statement = this.#state.readers.due(request.reader, own ?? UNKNOWN_STATEMENT, row);
    const counts = portal?.counts ?? { rows: 0, bytes: 0 };
    const known = this.#shapeFor(request.reader, statement, judged.scope);
    // It may have waited for a lock, or behind another statement of its text, while somebody gave a name other rows.
    const isOld = judged.scope.catalog.version !== this.#state.parts.catalog.current.version;
    const shape = isOld ? ofUnknownRows(known) : known;
    const run = new Run(judged, statement, shape, counts, request.at);
    run.row = row;
    return this.#begun(run, request.reader);
  }

  #begun(run: Run, reader: Reader): Run {
    run.person = reader.person;
    this.#last = { scope: run.scope, reader };
    this.#rows.begin(run, reader);
    return run;
  }

  /** A simple query ends the unnamed statement and the unnamed portal (exec_simple_query of tcop/postgres.c). */
  #dropUnnamed(): void {
    this.#state.names.statements.delete("");
    this.#state.names.portals.delete("");
  }
}

const ofOthers = new WeakMap<Statement, Statement>();

/** The same statement: what it says of reasons is not known of whoever gets its rows. */
function ofAnotherReader(statement: Statement): Statement {
  const { metering } = statement;
  if (metering === undefined) return statement;
  const known = ofOthers.get(statement);
  if (known !== undefined) return known;
  const made: Statement = { ...statement, metering: { ...metering, purpose: "of another reader" } };
  ofOthers.set(statement, made);
  return made;
}

const NO_ROWS = { rows: 0, bytes: 0 } as const;
