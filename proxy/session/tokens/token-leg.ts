import type { Ledger } from "../../protocol/ledger.ts";
import type { Request } from "../../protocol/requests.ts";
import type { LegUser, OpenedValue, ServerLeg } from "../../protocol/server-leg.ts";
import { nameUses } from "../../sql/tokens/name-uses.ts";
import { tokenColumnsOf } from "../../sql/tokens/token-columns.ts";
import { type TokenStatement, type TokenText, UNTOUCHED } from "../../sql/tokens/token-text.ts";
import { decodeReadyForQuery } from "../../wire/backend-messages.ts";
import { errorResponse } from "../../wire/errors.ts";
import { type Frame, FrameReader, frameOf, MalformedMessage } from "../../wire/frames.ts";
import {
  copyFailMessage,
  declaredTypes,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  decodeQuery,
  queryMessage,
  withSql,
} from "../../wire/frontend-messages.ts";
import { Backend, Frontend, isRow, message } from "../../wire/messages.ts";
import { poisonedBind, poisonedExecute, poisonedParse, poisonedQuery } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { type FieldOrigin, fieldOrigins } from "../../wire/rows.ts";
import { CopyIn, CopyOut } from "./copy-data.ts";
import { sealBind, wrongType } from "./parameters.ts";
import type { Reader } from "./shown-values.ts";
import {
  isPlain,
  mayMove,
  type Sent,
  type Standing,
  Texts,
  type TokenParts,
  UNREADABLE,
  UNSURE,
} from "./texts.ts";
import { type Followed, type Named, type Naming, NOTHING_FOLLOWED, TokenNames } from "./token-names.ts";
import { type FieldColumns, fieldColumns, hasTokens, turnRow } from "./token-rows.ts";

/** What is known of a message whose answer is outstanding. */
interface Note {
  readonly sent?: Sent | undefined;
  /** What is described, bound or executed. */
  readonly named?: Named | undefined;
  readonly namings?: readonly Naming[];
  /** What its FETCH and EXECUTE give rows of, as it was when they were sent: by the index of the statement. */
  readonly rows?: ReadonlyMap<number, FieldColumns>;
  /** Of the rows of an Execute. */
  fields?: FieldColumns;
  pipeline?: number;
  /** It was sent poisoned, and this is told in place of the server's error. */
  refusal?: Refusal;
}

/**
 * The way to a server that holds tokens: what the relays send and get holds values, what the server gets and sends holds
 * tokens (docs/decisions/038-tokens-at-rest.md). Texts and parameters are turned on their way in, rows on their way out.
 */
export class TokenLeg implements ServerLeg {
  readonly #inner: ServerLeg;
  readonly #standing: Standing;
  readonly #parts: TokenParts;
  readonly #texts: Texts;
  readonly #notes = new WeakMap<Request, Note>();
  readonly #names = new TokenNames();
  #ledger: Ledger | undefined;
  /** The server's message as it was turned. */
  #turned: FrameReader | undefined;
  #opened: OpenedValue[] | undefined;
  #refusal: Refusal | undefined;
  #rows: FieldColumns = [];
  /** Relations that have been defined, and the catalog may not have in their new shape. */
  readonly #defined = new Set<string>();
  #isLooking = false;
  /** Messages that ReadyForQuery answers: sent, and answered so far. */
  #cycles = 0;
  #ended = 0;
  /** In which of them something was last sent that may change how texts are read, or that defines. */
  #movedIn: number | undefined;
  #definedIn = 0;
  #wake: () => void = () => {};
  #copyIn: CopyIn | undefined;
  /** The client's message, or its pieces, are rows of `#copyIn`. */
  #takesRows = false;
  #copyOut: CopyOut | undefined;

  constructor(inner: ServerLeg, standing: Standing, parts: TokenParts) {
    this.#inner = inner;
    this.#standing = standing;
    this.#parts = parts;
    this.#texts = new Texts(standing, parts);
  }

  begin(ledger: Ledger, user: LegUser): void {
    this.#ledger = ledger;
    this.#wake = () => user.wake();
    this.#inner.begin(ledger, {
      arrived: () => user.arrived(),
      wake: () => user.wake(),
      mayStream: (type, length) =>
        !(isRow(type) && this.#isActive && this.#turnsRows()) && user.mayStream(type, length),
    });
  }

  /** Whether a long message of the client's must be seen as a whole. */
  wantsWhole(type: number): boolean {
    if (!this.#isActive) return false;
    return WHOLE.has(type);
  }

  get #isActive(): boolean {
    return this.#parts.policy().tokenCanary !== undefined;
  }

  isReady(): boolean {
    return this.#inner.isReady();
  }

  admits(frame: Frame): boolean {
    if (!this.#isActive || frame.piece !== "whole" || !ASKING.has(frame.type) || this.#isDropped)
      return this.#inner.admits(frame);
    // What has been defined decides what the text means.
    if (this.#isLooking) return false;
    try {
      if (this.#isUnderstood(frame)) return this.#inner.admits(frame);
      // The server may keep to itself what is waited for.
      if (this.#ledger?.mustFlush === true) this.flush();
      return false;
    } catch (error) {
      if (error instanceof MalformedMessage) return this.#inner.admits(frame);
      throw error;
    }
  }

  /** False: what the message means hangs on what has not been answered, or has to be looked up. */
  #isUnderstood(frame: Frame): boolean {
    if (this.#lacks(frame)) {
      const look = this.#parts.doubt();
      if (look !== undefined) {
        this.#await(look);
        return false;
      }
    }
    // The answer comes soon, and until then it is not known how the server reads this.
    if (!this.#isSure && this.#movedIn !== this.#cycles && this.#needsSettings(frame)) return false;
    return this.#areNamesSettled(frame);
  }

  /** Which values become tokens, and what its rows hold, may depend on names that have not been answered. */
  #areNamesSettled(frame: Frame): boolean {
    if (!this.#names.arePending) return true;
    if (this.#ledger?.isSettled === true) {
      this.#names.withdrawAll();
      return true;
    }
    const pipeline = this.#pipeline;
    switch (frame.type) {
      case Frontend.Query: {
        const { sqlStart, sqlEnd } = decodeQuery(frame);
        const uses = nameUses(frame.buffer.toString("utf8", sqlStart, sqlEnd));
        return uses === "unknown" || this.#names.areSettled(uses, pipeline);
      }
      case Frontend.Bind:
        return this.#names.isSettled("statements", decodeBind(frame).statement, pipeline);
      case Frontend.Execute: {
        const { portal } = decodeExecute(frame);
        if (!this.#names.isSettled("portals", portal, pipeline)) return false;
        return this.#names.areSettled(this.#names.expected("portals", portal)?.sent.uses ?? [], pipeline);
      }
      default:
        return true;
    }
  }

  get #pipeline(): number {
    return this.#ledger?.pipeline ?? 0;
  }

  #lacks(frame: Frame): boolean {
    if (frame.type !== Frontend.Query && frame.type !== Frontend.Parse) return false;
    const { sqlStart, sqlEnd } = frame.type === Frontend.Query ? decodeQuery(frame) : decodeParse(frame);
    return this.#texts.lacks(frame.buffer.subarray(sqlStart, sqlEnd), this.#defined);
  }

  #await(look: Promise<void>): void {
    this.#isLooking = true;
    void look.then(() => {
      this.#isLooking = false;
      this.#wake();
    });
  }

  #needsSettings(frame: Frame): boolean {
    const body = frame.buffer.subarray(frame.start + HEADER, frame.end);
    if (frame.type === Frontend.Execute)
      return copies(this.#names.expected("portals", decodeExecute(frame).portal)?.sent.text.statements ?? []);
    return !isPlain(body) || (frame.type !== Frontend.Bind && /copy/i.test(body.toString("latin1")));
  }

  /** What the server has told of its settings holds for what is sent next. */
  get #isSure(): boolean {
    if (this.#isAnswered) this.#ended = this.#cycles;
    return this.#movedIn === undefined || this.#ended > this.#movedIn;
  }

  /** Nothing that was sent will be answered any more: what is not counted by now the server has dropped. */
  get #isAnswered(): boolean {
    const ledger = this.#ledger;
    if (ledger?.isSettled !== true) return false;
    // The Sync of a COPY that failed may yet have an answer.
    return ledger.intake === "ready" || (ledger.intake === "pipeline" && !ledger.isInDoubt);
  }

  send(given: Buffer | Frame, request: Request): void {
    const isActive = this.#isActive;
    if (!isActive) this.#names.missed();
    const frame = isActive ? asFrame(given) : undefined;
    if (frame === undefined || frame.piece !== "whole") {
      this.#inner.send(given, request);
      return;
    }
    try {
      this.#send(given, frame, request);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      const poisoned = frame.type === Frontend.Query ? poisonedQuery : poisonedExecute;
      this.#put(poisoned, request, { refusal: error.error });
    }
  }

  #send(given: Buffer | Frame, frame: Frame, request: Request): void {
    switch (frame.type) {
      case Frontend.Query:
        this.#query(given, frame, request);
        break;
      case Frontend.Parse:
        this.#parse(given, frame, request);
        break;
      case Frontend.Bind:
        this.#bind(given, frame, request);
        break;
      case Frontend.Describe: {
        const { target, name } = decodeDescribe(frame);
        const named = this.#names.expected(target === "statement" ? "statements" : "portals", name);
        this.#put(given, request, { named });
        break;
      }
      case Frontend.Execute:
        this.#execute(given, frame, request);
        break;
      case Frontend.Close: {
        const { target, name } = decodeClose(frame);
        const of = target === "statement" ? "statements" : "portals";
        this.#put(given, request, { namings: this.#propose(of, name, undefined) });
        break;
      }
      case Frontend.FunctionCall:
        this.#asked(true);
        this.#inner.send(given, request);
        break;
      case Frontend.Sync:
        this.#cycles++;
        this.#inner.send(given, request);
        break;
      default:
        this.#inner.send(given, request);
    }
  }

  #put(sent: Buffer | Frame, request: Request, note: Note): void {
    note.pipeline = this.#pipeline;
    this.#notes.set(request, note);
    this.#inner.send(sent, request);
  }

  #query(given: Buffer | Frame, frame: Frame, request: Request): void {
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const bytes = frame.buffer.subarray(sqlStart, sqlEnd);
    const text = this.#textOf(bytes);
    this.#asked(text.refusal === undefined && mayMove(bytes));
    const sent = this.#texts.prepared(bytes, text);
    const { rows, namings, refusal: stale } = this.#follow(sent);
    const refusal = text.refusal ?? stale;
    if (refusal !== undefined) this.#put(poisonedQuery, request, { refusal });
    else if (text === UNTOUCHED && rows.size === 0 && namings.length === 0) this.#inner.send(given, request);
    else {
      this.#put(text.sql === undefined ? given : queryMessage(text.sql), request, { sent, rows, namings });
    }
  }

  #parse(given: Buffer | Frame, frame: Frame, request: Request): void {
    const parse = decodeParse(frame);
    const bytes = frame.buffer.subarray(parse.sqlStart, parse.sqlEnd);
    const text = this.#textOf(bytes);
    const sent = this.#texts.prepared(bytes, text);
    const namings = this.#propose("statements", parse.statement, {
      sent,
      index: 0,
      isHeld: false,
      isInner: false,
    });
    const crowded = parse.statement === "" ? undefined : this.#names.crowded;
    const types = declaredTypes(frame.buffer, parse.typesStart);
    const refusal = text.refusal ?? wrongType(types, text.parameters) ?? crowded;
    if (refusal !== undefined) {
      this.#put(poisonedParse(parse.statement), request, { namings, refusal });
      return;
    }
    this.#put(text.sql === undefined ? given : withSql(frame, parse, text.sql), request, { namings, sent });
  }

  #bind(given: Buffer | Frame, frame: Frame, request: Request): void {
    const bind = decodeBind(frame);
    const named = this.#names.expected("statements", bind.statement);
    const sent = named?.sent;
    const namings = this.#propose("portals", bind.portal, named);
    const crowded = bind.portal === "" ? undefined : this.#names.crowded;
    const stale = sent === undefined ? this.#names.unknown : this.#texts.renew(sent, this.#defined);
    const refusal = stale ?? crowded;
    if (refusal !== undefined) {
      this.#put(poisonedBind(bind.portal), request, { namings, refusal });
      return;
    }
    const parameters = sent?.text.parameters;
    if (parameters === undefined || parameters.size === 0) {
      this.#put(given, request, { namings });
      return;
    }
    const doubt = this.#isSure ? undefined : UNSURE;
    const sealed = this.#texts.isReadable
      ? sealBind(frame, bind, parameters, this.#parts.sealer, doubt)
      : UNREADABLE;
    if ("sqlstate" in sealed) this.#put(poisonedBind(bind.portal), request, { namings, refusal: sealed });
    else this.#put(sealed, request, { namings });
  }

  #execute(given: Buffer | Frame, frame: Frame, request: Request): void {
    const named = this.#names.expected("portals", decodeExecute(frame).portal);
    if (named === undefined) {
      const { unknown } = this.#names;
      if (unknown === undefined) this.#put(given, request, {});
      else this.#put(poisonedExecute, request, { refusal: unknown });
      return;
    }
    const { sent } = named;
    const { rows, namings, refusal: stale } = named.isInner ? NOTHING_FOLLOWED : this.#follow(sent);
    // Its rows are read as the server reads them.
    const refusal = stale ?? (copies(sent.text.statements) ? this.#doubt() : undefined);
    if (refusal !== undefined) {
      this.#put(poisonedExecute, request, { refusal });
      return;
    }
    if (sent.isMover && !this.#isDropped) this.#movedIn = this.#cycles;
    this.#define(sent.text.defines ?? []);
    this.#put(given, request, { named, rows, namings });
  }

  /** Why it is not known how the server will read something that is not plain. */
  #doubt(bytes?: Buffer): Refusal | undefined {
    if (!this.#texts.isReadable) return UNREADABLE;
    return this.#isSure || (bytes !== undefined && isPlain(bytes)) ? undefined : UNSURE;
  }

  #define(names: readonly string[]): void {
    if (names.length === 0) return;
    for (const name of names) this.#defined.add(name);
    this.#definedIn = this.#cycles;
  }

  #textOf(bytes: Buffer): TokenText {
    const text = this.#texts.analyse(bytes, this.#defined);
    if (text === UNTOUCHED || text.refusal !== undefined) return text;
    const refusal = this.#doubt(copies(text.statements) ? undefined : bytes);
    if (refusal !== undefined) return { ...UNTOUCHED, refusal };
    this.#define(text.defines ?? []);
    return text;
  }

  #propose(of: Naming["of"], name: string, named: Named | undefined): readonly Naming[] {
    return this.#isDropped ? [] : [this.#names.propose(of, name, named, this.#pipeline)];
  }

  #follow(sent: Sent): Followed {
    const renew = (each: Sent) => this.#texts.renew(each, this.#defined);
    return this.#isDropped ? NOTHING_FOLLOWED : this.#names.follow(sent, this.#pipeline, renew);
  }

  /** A message that ReadyForQuery answers. `moves`: how texts are read may be another from then on. */
  #asked(moves: boolean): void {
    if (this.#isDropped) return;
    if (moves) this.#movedIn = this.#cycles;
    this.#cycles++;
  }

  /** The server drops what is sent now. */
  get #isDropped(): boolean {
    return this.#ledger?.intake === "skipping";
  }

  pass(given: Buffer | Frame): void {
    const frame = asFrame(given);
    // A message that the client sent before the server asked for rows may come in pieces. They go the way of the first
    // one: the server has not been told that such a message began, also where the COPY has failed meanwhile.
    const isBegun = frame?.piece === "middle" || frame?.piece === "last";
    if (!isBegun) this.#takesRows = this.#copyIn !== undefined && frame?.type === Frontend.CopyData;
    if (frame === undefined || !this.#takesRows) {
      this.#inner.pass(given);
      return;
    }
    const rows = frame.buffer.subarray(isBegun ? frame.start : frame.start + HEADER, frame.end);
    const made = this.#copyIn?.take(rows);
    if (made !== undefined && made.length > 0) this.#inner.pass(made);
  }

  endCopy(given: Buffer | Frame): void {
    const copy = this.#copyIn;
    this.#copyIn = undefined;
    const frame = asFrame(given);
    if (copy === undefined || frame?.type !== Frontend.CopyDone) {
      this.#inner.endCopy(given);
      return;
    }
    const rest = copy.finish();
    if (copy.refusal === undefined) {
      if (rest.length > 0) this.#inner.pass(rest);
      this.#inner.endCopy(given);
      return;
    }
    const note = this.#note;
    if (note !== undefined) note.refusal = copy.refusal;
    this.#inner.endCopy(copyFailMessage("refused by the proxy"));
  }

  next(): boolean {
    this.#turned = undefined;
    this.#opened = undefined;
    this.#refusal = undefined;
    if (!this.#inner.next()) return false;
    if (this.#isActive) this.#answered(this.#inner.frame);
    return true;
  }

  get frame(): FrameReader {
    return this.#turned ?? this.#inner.frame;
  }

  get opened(): readonly OpenedValue[] | undefined {
    return this.#opened;
  }

  get refusal(): Refusal | undefined {
    return this.#refusal;
  }

  #answered(frame: FrameReader): void {
    switch (frame.type) {
      case Backend.DataRow:
        if (frame.piece === "whole") this.#row(frame);
        break;
      case Backend.CopyData:
        if (frame.piece === "whole") this.#copied(frame);
        break;
      case Backend.RowDescription:
        this.#described(frame);
        break;
      case Backend.ParseComplete:
      case Backend.BindComplete:
      case Backend.CloseComplete:
        this.#confirm();
        break;
      case Backend.CopyInResponse:
      case Backend.CopyOutResponse:
        this.#copies(frame.type);
        break;
      case Backend.CommandComplete:
        this.#confirm(this.#statementIndex);
        this.#rows = [];
        this.#copyOut = undefined;
        break;
      case Backend.PortalSuspended:
        this.#rows = [];
        this.#copyOut = undefined;
        break;
      case Backend.ErrorResponse:
        this.#failed();
        break;
      case Backend.ReadyForQuery:
        this.#ready(frame);
        break;
    }
  }

  get #note(): Note | undefined {
    const head = this.#ledger?.head;
    return head && this.#notes.get(head);
  }

  /** The place of the statement that is being answered in its message. */
  get #statementIndex(): number {
    return this.#ledger?.head?.kind === "query" ? this.#ledger.statementIndex : 0;
  }

  get #statement(): TokenStatement | undefined {
    const { sent, named } = this.#note ?? {};
    return (named?.sent ?? sent)?.text.statements[named?.index ?? this.#statementIndex];
  }

  /** The columns of its rows, as the analysis has them. */
  get #outputs(): FieldColumns {
    return this.#note?.rows?.get(this.#statementIndex) ?? this.#statement?.outputs ?? [];
  }

  /** Whether rows of what is being answered may hold tokens. */
  #turnsRows(): boolean {
    return this.#copyOut !== undefined || hasTokens(this.#fieldsNow());
  }

  /** The fields of the rows that come now: those of an Execute have been described before, or are as the analysis has them. */
  #fieldsNow(): FieldColumns {
    if (this.#ledger?.head?.kind !== "execute") return this.#rows;
    const note = this.#note;
    if (note === undefined) return [];
    const origins = note.named?.origins;
    note.fields ??= origins === undefined ? this.#outputs : this.#fieldsOf(origins);
    return note.fields;
  }

  #fieldsOf(origins: readonly FieldOrigin[]): FieldColumns {
    const scope = this.#standing.scope();
    const columns = scope && tokenColumnsOf(scope);
    return columns === undefined ? [] : fieldColumns(origins, columns, this.#outputs);
  }

  #row(frame: FrameReader): void {
    const fields = this.#fieldsNow();
    const reader = hasTokens(fields) ? this.#reader() : undefined;
    if (reader !== undefined) this.#give(turnRow(frame, fields, reader));
  }

  #copied(frame: FrameReader): void {
    const reader = this.#copyOut && this.#reader();
    if (this.#copyOut === undefined || reader === undefined) return;
    const line = this.#copyOut.turn(frame.buffer.subarray(frame.start + HEADER, frame.end), reader);
    this.#give(message(Backend.CopyData, line));
  }

  /** Undefined where the client reads another encoding: tokens are ASCII, and stay. */
  #reader(): Reader | undefined {
    const scope = this.#texts.isReadable ? this.#standing.scope() : undefined;
    if (scope === undefined) return undefined;
    const { sealer } = this.#parts;
    if (this.#standing.treatment !== "guarded") return { scope, isGuarded: false, sealer };
    this.#opened = [];
    return { scope, isGuarded: true, sealer, opened: this.#opened };
  }

  #described(frame: FrameReader): void {
    const { named } = this.#note ?? {};
    const origins = fieldOrigins(frame, 0);
    if (this.#ledger?.head?.kind === "query") this.#rows = this.#fieldsOf(origins);
    else if (named !== undefined) named.origins = origins;
  }

  #copies(type: number): void {
    const copy = this.#statement?.copy;
    if (copy === undefined) return;
    if (type === Backend.CopyInResponse)
      this.#copyIn = new CopyIn(copy, this.#parts.sealer, this.#parts.longestLine);
    else this.#copyOut = new CopyOut(copy);
  }

  #confirm(index = 0): void {
    this.#names.confirm((this.#note?.namings ?? []).filter((naming) => naming.index === index));
  }

  #failed(): void {
    this.#rows = [];
    this.#copyIn = undefined;
    this.#copyOut = undefined;
    const note = this.#note;
    this.#refusal = note?.refusal;
    if (note?.refusal !== undefined) this.#give(errorResponse(note.refusal));
    // The server drops the rest of the pipeline.
    if (note?.pipeline !== undefined) this.#names.withdraw(note.pipeline);
  }

  #ready(frame: Frame): void {
    this.#ended = Math.min(this.#ended + 1, this.#cycles);
    const isIdle = decodeReadyForQuery(frame) === "I";
    if (isIdle) this.#names.transactionEnded();
    const isOver = isIdle && this.#ended > this.#definedIn;
    if (!isOver || this.#defined.size === 0 || this.#isLooking) return;
    this.#isLooking = true;
    void Promise.resolve(this.#parts.lookAgain()).then(() => {
      this.#isLooking = false;
      this.#defined.clear();
      this.#wake();
    });
  }

  #give(bytes: Buffer): void {
    const reader = new FrameReader(bytes.length, NEVER);
    reader.push(bytes);
    reader.next();
    this.#turned = reader;
  }

  askAboutCopy(): void {
    this.#inner.askAboutCopy();
  }

  flush(frame?: Frame): void {
    this.#inner.flush(frame);
  }

  terminate(): void {
    this.#inner.terminate();
  }

  passesText(type: number): boolean {
    return !this.#isActive && this.#inner.passesText(type);
  }

  hangUp(): void {
    this.#inner.hangUp();
  }

  flow(wanted: boolean): void {
    this.#inner.flow(wanted);
  }

  get hasEnded(): boolean {
    return this.#inner.hasEnded;
  }

  get isRunning(): boolean {
    return this.#inner.isRunning;
  }

  get isIdle(): boolean {
    return this.#inner.isIdle;
  }

  write(): void {
    this.#inner.write();
  }

  get isFull(): boolean {
    return this.#inner.isFull;
  }

  get holds(): boolean {
    return this.#inner.holds;
  }

  leave(): void {
    this.#inner.leave();
  }

  destroy(): void {
    this.#inner.destroy();
  }
}

const NEVER = () => false;

/** Type byte and length word. */
const HEADER = 5;

const WHOLE: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse, Frontend.Bind]);

/** Messages that say what to do. */
const ASKING: ReadonlySet<number> = new Set([...WHOLE, Frontend.Execute]);

/** Rows come or go as COPY data. */
function copies(statements: readonly TokenStatement[]): boolean {
  return statements.some(({ copy }) => copy !== undefined);
}

/** Undefined for several messages of the proxy's own in one buffer. */
function asFrame(given: Buffer | Frame): Frame | undefined {
  if (!Buffer.isBuffer(given)) return given;
  const isOne = given.length >= 5 && given.readInt32BE(1) === given.length - 1;
  return isOne ? frameOf(given) : undefined;
}
